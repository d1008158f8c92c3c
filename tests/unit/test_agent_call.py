"""A call is read from participant attributes, whoever set them."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from livekit import rtc

from agent.call import Call, wait_until_answered

SIP = {
    "sip.callID": "SCL_1",
    "sip.callIDFull": "abc@far",
    "sip.callStatus": "active",
    "sip.trunkID": "ST_1",
    "sip.phoneNumber": "+15550111",
    "sip.trunkPhoneNumber": "+15550100",
    "sip.h.x-account": "42",
}


def test_an_inbound_call_has_a_rule():
    """The far end called us: its number is the caller, ours was dialled."""
    call = Call.of("room", "sip_x", SIP | {"sip.ruleID": "SDR_1"})
    assert (call.direction, call.caller, call.dialled) == ("inbound", "+15550111", "+15550100")
    assert (call.call_id, call.call_id_full, call.trunk_id, call.rule_id) == (
        "SCL_1",
        "abc@far",
        "ST_1",
        "SDR_1",
    )
    assert call.headers == {"x-account": "42"}


def test_an_outbound_call_has_none():
    """We called: the far end's number was dialled, ours is the caller."""
    call = Call.of("room", "callee", SIP)
    assert (call.direction, call.caller, call.dialled) == ("outbound", "+15550100", "+15550111")


@pytest.mark.parametrize("attributes", [None, {}, {"lk.agent.state": "listening"}])
def test_a_browser_or_the_console_has_no_numbers(attributes: dict[str, str] | None):
    """Without SIP attributes the call is direct, and nothing is missing that would be needed."""
    call = Call.of("room", "me", attributes)
    assert (call.direction, call.caller, call.dialled, call.call_id_full) == ("direct", "", "", "")
    assert call.log_fields == {"room": "room", "direction": "direct"}


def test_a_hidden_number_is_empty():
    """A trunk that hides numbers leaves the caller empty, not absent."""
    hidden = {k: v for k, v in SIP.items() if "Number" not in k} | {"sip.ruleID": "SDR_1"}
    assert Call.of("room", "sip_anonymous", hidden).caller == ""


def test_no_number_is_printed():
    """Neither the repr nor the log fields show whom the call is between."""
    call = Call.of("room", "sip_+15550111", SIP)
    assert "+1555" not in repr(call) + repr(call.log_fields)


class FakeRoom(rtc.EventEmitter[str]):
    """As much of a room as waiting for an answer needs."""

    def __init__(self, **attributes: str) -> None:
        super().__init__()
        self.caller = SimpleNamespace(identity="caller", attributes=attributes)
        self.remote_participants = {"caller": self.caller}

    def status(self, value: str, identity: str = "caller") -> None:
        self.caller.attributes["sip.callStatus"] = value
        who = self.caller if identity == "caller" else SimpleNamespace(identity=identity, attributes={})
        self.emit("participant_attributes_changed", {"sip.callStatus": value}, who)

    def wait(self) -> asyncio.Task[bool]:
        return asyncio.create_task(wait_until_answered(cast(Any, self), cast(Any, self.caller)))


async def test_an_answered_call_is_not_waited_for():
    """A participant that is active, or that has no call, hears us at once."""
    assert await FakeRoom(**{"sip.callStatus": "active"}).wait()
    assert await FakeRoom().wait()


async def test_ringing_is_waited_out():
    """Nothing is said while the phone rings or digits are sent, nor when somebody else becomes active."""
    room = FakeRoom(**{"sip.callStatus": "dialing"})
    waiting = room.wait()
    for status in ("ringing", "automation"):
        await asyncio.sleep(0)
        room.status(status)
    room.emit(
        "participant_attributes_changed",
        {},
        SimpleNamespace(identity="other", attributes={"sip.callStatus": "active"}),
    )
    await asyncio.sleep(0)
    assert not waiting.done()
    room.status("active")
    assert await waiting


@pytest.mark.parametrize("event", ["hangup", "gone", "disconnected"])
async def test_a_call_that_ends_first_is_not_answered(event: str):
    """Hang-up, a participant who leaves and a lost room all end the waiting with no."""
    room = FakeRoom(**{"sip.callStatus": "ringing"})
    waiting = room.wait()
    await asyncio.sleep(0)
    if event == "hangup":
        room.status("hangup")
    elif event == "gone":
        room.emit("participant_disconnected", room.caller)
    else:
        room.emit("disconnected", "reason")
    assert await waiting is False


async def test_a_caller_who_has_left_already_is_not_waited_for():
    """If the participant is no longer in the room when we begin to wait, the answer is no."""
    room = FakeRoom(**{"sip.callStatus": "ringing"})
    room.remote_participants.clear()
    assert await room.wait() is False
