"""Rules with a PIN, as the edge serves them: who is let in, who is not, and what is written down."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import jwt
import pytest

from sip.service import control
from sip.service.bus import messages as rpc
from sip.service.calls import pin
from tests.stack.edge_kit import OFFER, RULE, SECRET, TRUNK, FakeMedia, Phone, World, world

PIN = "86420"
ROOM = "behind-the-pin"


def asks(around: World) -> None:
    """The trunk's first rule wants a PIN; behind it is a room, and there is another without a PIN."""
    around.bus.dispatch = rpc.EvaluateSIPDispatchRulesResponse(
        result=rpc.REQUEST_PIN, request_pin=True, sip_trunk_id=TRUNK, sip_dispatch_rule_id="SDR_pin"
    )
    for typed, room in ((PIN, ROOM), ("", "open")):
        around.bus.pins[typed] = rpc.EvaluateSIPDispatchRulesResponse(
            result=rpc.ACCEPT,
            room_name=room,
            participant_identity="sip_alice",
            sip_trunk_id=TRUNK,
            sip_dispatch_rule_id=RULE,
            participant_attributes={"sip.phoneNumber": "alice"},
            headers={"X-Fixed": "fixed"},
            headers_to_attributes={"X-Account": "account"},
        )


async def info(phone: Phone, keys: str) -> None:
    """Press keys by SIP INFO."""
    for key in keys:
        message = phone.build("INFO", body=f"Signal={key}\r\nDuration=160\r\n".encode())
        message.headers.set("Content-Type", "application/dtmf-relay")
        phone.send(message)
        await phone.response(200, "INFO")


def press(media: FakeMedia, keys: str) -> None:
    """Press keys by RFC 4733, as the media process tells of them."""
    for key in keys:
        media.channel.send(control.Digits(next(iter(media.specs)), key))


async def sounds(media: FakeMedia, *names: str) -> None:
    """Wait for these sounds, one after the other; silence between them is skipped."""
    for name in names:
        while not (sound := (await media.until(control.Play)).sound):
            pass
        assert sound == name


@pytest.mark.parametrize("by_info", [True, False])
async def test_right_pin_leads_into_the_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by_info: bool
) -> None:
    """200 comes first, in no room; the PIN brings the room with all that a rule gives, and is written
    nowhere."""
    caplog.set_level("DEBUG")
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call(headers={"X-Account": "42"})
        expected = (await media.until(control.Expect)).spec
        assert (expected.asks_pin, expected.room) == (True, control.RoomSpec("", "", ""))
        await sounds(media, "enter_pin")
        if by_info:
            await info(phone, f"{PIN}#")
        else:
            press(media, f"{PIN}#")
        spec = (await media.until(control.Admit)).spec
        assert (spec.key, spec.room.name) == (expected.key, ROOM)
        claims = jwt.decode(spec.room.token, SECRET, algorithms=["HS256"])
        assert (claims["sub"], claims["video"]["room"]) == ("sip_alice", ROOM)
        assert claims["attributes"]["account"] == "42"
        press(media, "9")
        await info(phone, "7")
        assert (await media.until(control.Digits)).digits == "7", "now keys are the room's"
        media.channel.send(control.Active(spec.key))
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")
        summary = await around.summary(phone)
        assert summary["pin"] == {"outcome": "right", "wrong_tries": 0}
        assert (summary["code"], summary["rule_id"], summary["room"]) == (200, RULE, ROOM)
        times = summary["times"]
        assert times["ringing"] <= times["answered"] <= times["pin_asked"] <= times["pin_accepted"]
        written = around.ladder()
        assert PIN not in f"{written} {summary} {caplog.text}"
        assert not any(f"Signal={key}" in line["text"] for line in written for key in PIN)


async def test_wrong_then_right(tmp_path: Path) -> None:
    """The caller hears that it was wrong, may type at once, and is let in."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call()
        press(media, "1111#")
        await sounds(media, "enter_pin", "wrong_pin")
        press(media, f"{PIN}#")
        assert (await media.until(control.Admit)).spec.room.name == ROOM
        phone.send(phone.build("BYE"))
        assert (await around.summary(phone))["pin"] == {"outcome": "right", "wrong_tries": 1}


async def test_three_wrong_pins_end_the_call(tmp_path: Path) -> None:
    """A farewell, BYE with a reason, and a record that says why; no room was ever named."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call()
        await sounds(media, "enter_pin")
        for keys, sound in (("1111", "wrong_pin"), ("9" * 40, "wrong_pin"), (f"{PIN}1", "goodbye")):
            press(media, f"{keys}#")
            await sounds(media, sound)
        bye = await phone.request("BYE")
        assert "SIP;cause=403" in (bye.headers.get("Reason") or "")
        summary = await around.summary(phone)
        assert summary["pin"] == {"outcome": "wrong pin", "wrong_tries": 3}
        assert (summary["ended_by"], summary["reason"], summary["q850"]) == ("service", "wrong pin", 21)
        assert (summary["code"], summary["room"]) == (200, "")
        assert sum(isinstance(each, rpc.EvaluateSIPDispatchRulesRequest) for each in around.bus.asked) == 3


async def test_silence_ends_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing typed in time: a farewell, BYE, `no pin`."""
    monkeypatch.setattr(pin, "KEY_TIMEOUT", 0.3)
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        began = time.monotonic()
        await phone.call()
        await sounds(media, "enter_pin", "goodbye")
        assert time.monotonic() - began >= 0.3
        assert "SIP;cause=408" in ((await phone.request("BYE")).headers.get("Reason") or "")
        summary = await around.summary(phone)
        assert (summary["reason"], summary["q850"]) == ("no pin", 102)
        assert summary["pin"] == {"outcome": "no pin", "wrong_tries": 0}


async def test_hang_up_in_the_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The caller goes while he is asked: the media process is told, nothing is left over."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call()
        await sounds(media, "enter_pin")
        press(media, PIN)
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")
        await media.until(control.End)
        summary = await around.summary(phone)
        assert (summary["ended_by"], summary["pin"]["outcome"]) == ("far", "hung up")
        assert not around.edge.calls
        assert not [each for each in caplog.records if each.levelname in ("ERROR", "WARNING")]


async def test_pound_key_alone_leads_where_no_pin_is_wanted(tmp_path: Path) -> None:
    """As in livekit-sip: beside a rule with a PIN the trunk may have one without."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call()
        press(media, "#")
        assert (await media.until(control.Admit)).spec.room.name == "open"
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")


async def test_late_offer(tmp_path: Path) -> None:
    """A caller whose INVITE has no SDP is asked, too."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        assert (await phone.call(body=b"")).body == OFFER
        await sounds(media, "enter_pin")
        press(media, f"{PIN}#")
        assert (await media.until(control.Admit)).spec.room.name == ROOM
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")


async def test_server_that_is_gone_is_no_wrong_pin(tmp_path: Path) -> None:
    """livekit-server does not answer when the PIN is to be checked: BYE says 503, the record says why."""
    async with world(tmp_path) as around:
        asks(around)
        phone, media = await around.phone(), around.media[0]
        await phone.call()
        await sounds(media, "enter_pin")
        around.bus.down = True
        press(media, f"{PIN}#")
        bye = await asyncio.wait_for(phone.request("BYE"), 5)
        assert "SIP;cause=503" in (bye.headers.get("Reason") or "")
        assert "does not answer" in (await around.summary(phone))["reason"]
