"""Rules with a PIN through the whole service and a real livekit-server, typed on a telephone of our own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from livekit import api
from livekit.protocol import sip

from lab.caller.codec import codec_named
from lab.caller.line import Line
from lab.caller.phone import Phone, address, local_address
from lab.speech.recognizer import Recognizer
from lab.stack import Options, background
from sip.local import LocalStack
from sip.model import record_stem
from tests.stack.media_kit import loudness
from tests.stack.rig import Talker

pytestmark = pytest.mark.stack

NUMBER, SECOND = "+15550142", "+15550143"
"""The first has a rule with a PIN and one without, the second only one without."""
PIN = "73190"


@pytest.fixture(scope="module")
def local(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker and speech servers."""
    directory = tmp_path_factory.mktemp("pin")
    with background(Options(name="pin", directory=directory, agent=False, speech=False)) as stack:
        asyncio.run(_provision(stack))
        yield stack


async def _provision(stack: LocalStack) -> None:
    """One trunk, three rules."""
    async with _api(stack) as livekit:
        wanted = sip.SIPInboundTrunkInfo(name="pin", numbers=[NUMBER, SECOND])
        wanted.ringing_timeout.FromSeconds(20)
        trunk = await livekit.sip.create_inbound_trunk(sip.CreateSIPInboundTrunkRequest(trunk=wanted))
        for room, pin, number in (("vault", PIN, NUMBER), ("lobby", "", NUMBER), ("shop", "", SECOND)):
            direct = sip.SIPDispatchRuleDirect(room_name=room, pin=pin)
            rule = sip.SIPDispatchRuleInfo(
                name=room,
                trunk_ids=[trunk.sip_trunk_id],
                numbers=[number],
                rule=sip.SIPDispatchRule(dispatch_rule_direct=direct),
                attributes={"rule": room},
            )
            await livekit.sip.create_dispatch_rule(sip.CreateSIPDispatchRuleRequest(dispatch_rule=rule))


def _api(stack: LocalStack) -> api.LiveKitAPI:
    return api.LiveKitAPI(stack.livekit_url, stack.api_key, stack.api_secret)


async def rooms(stack: LocalStack) -> set[str]:
    """Names of the rooms that exist."""
    async with _api(stack) as livekit:
        return {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}


async def joined(stack: LocalStack, room: str) -> api.ParticipantInfo:
    """Wait for the caller in a room."""
    async with _api(stack) as livekit, asyncio.timeout(10):
        while True:
            if room in await rooms(stack):
                people = await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
                if people.participants:
                    return people.participants[0]
            await asyncio.sleep(0.02)


async def deleted(stack: LocalStack, room: str) -> None:
    """Delete a room."""
    async with _api(stack) as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room))


def talker(stack: LocalStack, room: str) -> Talker:
    """Somebody in the room who says a tone of 400 Hz."""
    return Talker(stack.livekit_url, stack.api_key, stack.api_secret, room)


class Caller:
    """A telephone with a keypad and an ear."""

    def __init__(self, stack: LocalStack, codec: str = "PCMU", number: str = NUMBER) -> None:
        self._stack, self._uri = stack, f"sip:{number}@{stack.sip_address}"
        self.line = Line(local_address(*address(self._uri)), codec_named(codec), lambda frame, at: None)
        self.phone = Phone("+15550199", self.line.codec, self.line.port, self.line.connect)

    async def __aenter__(self) -> Caller:
        self.line.start()
        await self.phone.dial(self._uri)
        await self.within(self.phone.answered)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.phone.ended.is_set():
            await self.phone.hang_up()
        await self.phone.close()
        await asyncio.to_thread(self.line.close)

    async def within(self, event: asyncio.Event, seconds: float = 5.0) -> None:
        """Wait for something of the phone's."""
        await asyncio.wait_for(event.wait(), seconds)

    async def press(self, keys: str) -> None:
        """Press keys; returns when the last is released."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.line.press(keys, lambda at: loop.call_soon_threadsafe(over.set) and None)
        await self.within(over, 10)

    async def hears(self, words: str, since: float) -> None:
        """Wait until these words were heard."""
        heard, deadline = "", time.monotonic() + 8
        while words not in heard.lower():
            assert time.monotonic() < deadline, f"heard {heard!r} in place of {words!r}"
            await asyncio.sleep(0.5)
            pcm = self.line.heard_since(since)
            heard = (await asyncio.to_thread(_ears().transcribe, pcm, self.line.rate)).text

    async def hears_tone(self) -> None:
        """Wait for the talker's tone."""
        loud, deadline = 0.0, time.monotonic() + 8
        while loud < 2000:
            assert time.monotonic() < deadline, f"a tone of {loud}"
            await asyncio.sleep(0.05)
            pcm = self.line.heard_since(time.monotonic() - 0.5)
            loud = loudness(pcm.tobytes(), 400, self.line.rate)

    async def record(self) -> dict[str, Any]:
        """The call's summary, once it is written."""
        path = Path(self._stack.directory, "records", f"{record_stem(self.phone.call_id)}.signal.json")
        deadline = time.monotonic() + 8
        while not await asyncio.to_thread(path.exists):
            assert time.monotonic() < deadline, "no record"
            await asyncio.sleep(0.02)
        return json.loads(await asyncio.to_thread(path.read_text))


_made: list[Recognizer] = []


def _ears() -> Recognizer:
    if not _made:
        _made.append(Recognizer())
    return _made[0]


@pytest.mark.parametrize("codec", ["PCMU", "G722"])
async def test_right_pin(local: LocalStack, codec: str) -> None:
    """The caller is asked, and nobody is in a room; the PIN lets him in, and he hears who comes later."""
    async with Caller(local, codec) as caller:
        await caller.hears("followed by the pound key", since=0.0)
        assert "vault" not in await rooms(local)
        await caller.press(PIN)
        assert "vault" not in await rooms(local)
        await caller.press("#")
        participant = await joined(local, "vault")
        assert participant.attributes["rule"] == "vault"
        assert participant.attributes["sip.callIDFull"] == caller.phone.call_id
        assert participant.kind == api.ParticipantInfo.SIP
        async with talker(local, "vault") as somebody:
            await caller.hears_tone()
            assert somebody.room.remote_participants["sip_+15550199"].attributes["sip.callStatus"] == "active"
            keys: list[str] = []
            somebody.room.on("sip_dtmf_received", lambda dtmf: keys.append(dtmf.digit))
            await caller.press("5")
            await deleted(local, "vault")
            await caller.within(caller.phone.ended)
        assert keys == ["5"], "the room hears keys, but not those of the PIN"
        record = await caller.record()
    assert record["pin"] == {"outcome": "right", "wrong_tries": 0}
    assert (record["room"], record["reason"], record["code"]) == ("vault", "room_deleted", 200)
    _is_secret(local)


async def test_wrong_then_right_while_it_is_said(local: LocalStack) -> None:
    """Who types at once need not listen to the end, neither to the question nor to what was wrong."""
    async with Caller(local) as caller:
        await caller.press("0000#")
        began = time.monotonic()
        await caller.hears("not right", since=began)
        await caller.press(f"{PIN}#")
        await joined(local, "vault")
        await deleted(local, "vault")
        await caller.within(caller.phone.ended)
        assert (await caller.record())["pin"] == {"outcome": "right", "wrong_tries": 1}


async def test_three_wrong(local: LocalStack) -> None:
    """Goodbye, BYE, and a record that says why; no room was made."""
    async with Caller(local) as caller:
        for wrong in ("0000#", f"{PIN}0#", "1#"):
            before = time.monotonic()
            await caller.press(wrong)
        await caller.hears("goodbye", since=before)
        await caller.within(caller.phone.ended)
        assert caller.phone.ending.by == "agent"
        record = await caller.record()
    assert (record["ended_by"], record["reason"], record["q850"]) == ("service", "wrong pin", 21)
    assert record["pin"] == {"outcome": "wrong pin", "wrong_tries": 3}
    assert not await rooms(local) & {"vault", "lobby"}
    _is_secret(local)


async def test_silence(local: LocalStack) -> None:
    """Ten seconds after the question the caller is said goodbye."""
    async with Caller(local) as caller:
        answered = time.monotonic()
        await caller.within(caller.phone.ended, 20)
        assert 12 < time.monotonic() - answered < 17
        record = await caller.record()
    assert (record["reason"], record["pin"]["outcome"], record["q850"]) == ("no pin", "no pin", 102)
    assert not await rooms(local)


async def test_hang_up_in_the_prompt(local: LocalStack) -> None:
    """The caller goes while he is asked: a clean end, and the next caller is asked again."""
    async with Caller(local) as caller:
        await caller.press(PIN[:2])
        await caller.phone.hang_up()
        record = await caller.record()
    assert (record["ended_by"], record["pin"]["outcome"]) == ("far", "hung up")
    async with Caller(local) as caller:
        await caller.hears("enter your pin", since=0.0)
    assert not await rooms(local)


async def test_rules_without_a_pin_on_the_same_trunk(local: LocalStack) -> None:
    """`#` alone leads to the rule without a PIN; a number that has no PIN is not asked for one."""
    async with Caller(local) as caller:
        await caller.press("#")
        assert (await joined(local, "lobby")).attributes["rule"] == "lobby"
        await deleted(local, "lobby")
        await caller.within(caller.phone.ended)
    async with talker(local, "shop"), Caller(local, number=SECOND) as caller:
        await caller.hears_tone()
        await caller.phone.hang_up()
        assert "pin" not in await caller.record()


async def test_nobody_comes(local: LocalStack) -> None:
    """Who is in the room by a PIN waits for the agent as long as others hear it ring, and then is let go."""
    async with _api(local) as livekit:
        trunks = await livekit.sip.list_inbound_trunk(sip.ListSIPInboundTrunkRequest())
        trunk = next(each for each in trunks.items if each.name == "pin")
        trunk.ringing_timeout.FromSeconds(1)
        await livekit.sip.update_inbound_trunk(trunk.sip_trunk_id, trunk)
    async with Caller(local) as caller:
        await caller.press(f"{PIN}#")
        await joined(local, "vault")
        await caller.within(caller.phone.ended)
        record = await caller.record()
    assert record["reason"] == "nobody in the room can be heard"
    assert record["pin"]["outcome"] == "right"


def _is_secret(stack: LocalStack) -> None:
    """The PIN is in no file that the service wrote."""
    files = [*Path(stack.directory).rglob("records/*"), *Path(stack.directory).rglob("sip.log")]
    assert len(files) >= 3
    assert not [file for file in files if PIN in file.read_text(errors="replace")]
