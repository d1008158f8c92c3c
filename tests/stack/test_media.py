"""A media process alone: a scripted edge, a real livekit-server, a baresip phone as the near leg."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from baresip import AudioNotActive, AudioRestarted, CallFailed
from baresip.call import Call, CallState
from baresip.ua import UserAgent
from livekit import api, rtc

from lab.stack import Options, background
from lab.stack.ports import free_port
from sip.local import LocalStack
from sip.service import control
from tests.stack.media_kit import HOST, WAIT, FakeEdge, Somebody, loudness, phone

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def server(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A livekit-server and its store, without any service of ours."""
    options = Options(
        name="media", directory=tmp_path_factory.mktemp("media"), service=False, agent=False, speech=False
    )
    with background(options) as local:
        yield local


@pytest_asyncio.fixture
async def edge(server: LocalStack) -> AsyncGenerator[FakeEdge]:
    """A media process under a scripted edge; afterwards it is gone, and well."""
    edge = FakeEdge(server)
    await edge.start()
    yield edge
    await edge.stop()
    assert edge.process.returncode == 0


async def answered(edge: FakeEdge, agent: UserAgent, spec: control.CallSpec) -> Call:
    """A call that is announced, made and active."""
    await edge.channel.request(control.Expect(spec))
    call = await agent.dial(edge.uri(spec))
    await call.wait_established(WAIT)
    await edge.wait(control.Active, spec.key)
    return call


async def until(true: Callable[[], object], what: str, timeout: float = WAIT) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


class Ear:
    """Reads a call's audio while the block runs, as a phone does."""

    def __init__(self, call: Call, says: bytes = b"") -> None:
        self._call, self._says = call, says
        self.pcm = bytearray()

    async def __aenter__(self) -> Ear:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                self.pcm += self._call.audio.read(64_000)
                if self._says:
                    self._call.audio.write(self._says)
            except (AudioNotActive, AudioRestarted):
                pass
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))


def tone(hertz: int, rate: int = 8000) -> bytes:
    """20 ms of a tone that has whole periods in them."""
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(rate // 50) / rate)).astype(np.int16).tobytes()


async def test_audio_passes_both_ways(edge: FakeEdge) -> None:
    """The caller hears the agent, the room hears the caller, and the end tells what was received."""
    async with phone() as agent, Somebody(edge, "both", tone_hz=600) as somebody:
        spec = edge.spec("both")
        call = await answered(edge, agent, spec)
        async with Ear(call, tone(400)) as ear:
            await until(lambda: loudness(ear.pcm, 600) > 4000, "the caller hears the agent")
            await until(lambda: loudness(somebody.heard, 400) > 4000, "the room hears the caller")
        participant = await somebody.caller(spec.key)
        assert participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP
        assert participant.attributes["sip.callStatus"] == "active"
        assert (await edge.wait(control.Joined, spec.key)).participant_id == participant.sid
        await call.hangup()
        ended = await edge.wait(control.Ended, spec.key)
        assert ended.reason == "hung up"
        quality = ended.quality
        assert quality["packets"] > 5 and quality["lost"] == 0 and quality["mos"] > 4
        await until(lambda: not somebody.room.remote_participants, "the participant leaves")


@pytest.mark.skipif(not shutil.which("ss"), reason="needs ss(8)")
async def test_nothing_is_open_to_the_network(edge: FakeEdge) -> None:
    """While a call stands, no socket of baresip's is reached through another interface than loopback."""
    async with phone() as agent, Somebody(edge, "open", tone_hz=600):
        spec = edge.spec("open")
        call = await answered(edge, agent, spec)
        process = await asyncio.create_subprocess_exec("ss", "-uanpH", stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        lines = [line for line in output.decode().splitlines() if f"pid={edge.process.pid}," in line]
        addresses = [line.split()[3] for line in lines]
        assert sum("%lo:" in address for address in addresses) >= 2, "its RTP and RTCP"
        assert not [each for each in addresses if each.startswith(("0.0.0.0:", "*:", "[::]:"))], addresses
        await call.hangup()
        await edge.wait(control.Ended, spec.key)


async def test_wideband(edge: FakeEdge) -> None:
    """With G.722 the room hears what lies above 4 kHz: nothing is brought down to 8 kHz on the way."""
    async with phone("G722/16000/1") as agent, Somebody(edge, "wide", tone_hz=600) as somebody:
        spec = edge.spec("wide")
        call = await answered(edge, agent, spec)
        assert call.audio.info().rx_sample_rate == 16_000
        async with Ear(call, tone(1000, 16_000)) as ear:
            await until(lambda: loudness(ear.pcm, 600, 16_000) > 3000, "the caller hears the agent")
            await until(lambda: loudness(somebody.heard, 1000) > 3000, "the room hears the caller")
        await call.hangup()
        assert (await edge.wait(control.Ended, spec.key)).quality["codec"] == "G722"


async def test_several_speakers_are_mixed_and_unsubscription_is_honoured(edge: FakeEdge) -> None:
    """The caller hears both; after the server unsubscribed him from one, only the other; then both again."""
    async with (
        phone() as agent,
        Somebody(edge, "mix", "one", 500) as one,
        Somebody(edge, "mix", "two", 1300),
        edge.api() as livekit,
    ):
        spec = edge.spec("mix")
        call = await answered(edge, agent, spec)
        async with Ear(call) as ear:
            await until(lambda: loudness(ear.pcm, 500) > 3000 and loudness(ear.pcm, 1300) > 3000, "both")
            assert one.publication

            async def subscribe(on: bool) -> None:
                assert one.publication
                await livekit.room.update_subscriptions(
                    api.UpdateSubscriptionsRequest(
                        room="mix",
                        identity=f"sip_{spec.key}",
                        track_sids=[one.publication.sid],
                        subscribe=on,
                    )
                )

            await subscribe(False)
            await until(lambda: loudness(ear.pcm, 500) < 300, "the unsubscribed one is silent")
            assert loudness(ear.pcm, 1300) > 3000
            await subscribe(True)
            await until(lambda: loudness(ear.pcm, 500) > 3000, "he is heard again")
        await call.hangup()
        await edge.wait(control.Ended, spec.key)


async def test_digits_both_ways(edge: FakeEdge) -> None:
    """RFC 4733 digits of the caller reach the room and the edge; the room's digits reach the caller."""
    async with phone() as agent, Somebody(edge, "keys", tone_hz=600) as somebody:
        spec = edge.spec("keys")
        call = await answered(edge, agent, spec)
        pressed: list[str] = []
        call.on_dtmf(lambda event: pressed.append(event.digit))
        await call.send_dtmf("1#")
        await until(lambda: somebody.digits == ["1", "#"], "the room hears the digits")
        assert [m.digits for m in edge.heard if isinstance(m, control.Digits)] == ["1", "#"]
        for code, digit in ((7, "7"), (10, "*")):
            await somebody.room.local_participant.publish_dtmf(code=code, digit=digit)
        await until(lambda: pressed == ["7", "*"], "the caller hears the digits")
        edge.channel.send(control.Digits(spec.key, "42"))
        await until(lambda: somebody.digits[2:] == ["4", "2"], "digits by SIP INFO reach the room")
        await call.hangup()
        await edge.wait(control.Ended, spec.key)


async def test_room_rpc(edge: FakeEdge) -> None:
    """`lk.sip.GetRemoteHeaders` tells the far end's headers; `lk.sip.EndCall` ends the call with headers."""
    async with phone() as agent, Somebody(edge, "rpc", tone_hz=600) as somebody:
        spec = edge.spec("rpc", remote_headers={"X-Account": "7", "Subject": "hello"})
        call = await answered(edge, agent, spec)
        participant = await somebody.caller(spec.key)

        async def rpc(method: str, payload: str) -> str:
            return await somebody.room.local_participant.perform_rpc(
                destination_identity=participant.identity, method=method, payload=payload
            )

        assert json.loads(await rpc("lk.sip.GetRemoteHeaders", "{}"))["headers"] == spec.remote_headers
        only = json.loads(await rpc("lk.sip.GetRemoteHeaders", '{"include": ["x-account"]}'))
        assert only["headers"] == {"X-Account": "7"}
        rest = json.loads(await rpc("lk.sip.GetRemoteHeaders", '{"exclude": ["X-Account"]}'))
        assert rest["headers"] == {"Subject": "hello"}
        with pytest.raises(rtc.RpcError):
            await rpc("lk.sip.EndCall", "[]")
        assert await rpc("lk.sip.EndCall", '{"headers": {"X-Why": "done"}}') == "{}"
        hangup = await edge.wait(control.Hangup, spec.key)
        assert (hangup.reason, hangup.headers) == ("end_call_rpc", {"X-Why": "done"})
        await edge.wait(control.Ended, spec.key)
        await until(lambda: call.state is CallState.CLOSED, "the near leg is hung up")


async def test_attributes_and_transfer_tone(edge: FakeEdge) -> None:
    """The edge sets attributes, and has ring-back played to the caller and stopped."""
    async with phone() as agent, Somebody(edge, "attributes", tone_hz=600) as somebody:
        spec = edge.spec("attributes")
        call = await answered(edge, agent, spec)
        edge.channel.send(control.Attributes(spec.key, {"sip.h.x-a": "1"}))
        participant = await somebody.caller(spec.key)
        await until(lambda: participant.attributes.get("sip.h.x-a") == "1", "the attribute is set")
        async with Ear(call) as ear:
            edge.channel.send(control.TransferTone(spec.key, True))
            await until(lambda: loudness(ear.pcm, 440) > 1000 and loudness(ear.pcm, 480) > 1000, "ring-back")
            assert loudness(ear.pcm, 600) > 3000
            edge.channel.send(control.TransferTone(spec.key, False))
            await until(lambda: loudness(ear.pcm, 440) < 300, "silence again")
        await call.hangup()
        await edge.wait(control.Ended, spec.key)


@pytest.mark.parametrize("how", ["room", "participant"])
async def test_room_puts_the_caller_out(edge: FakeEdge, how: str) -> None:
    """A deleted room and a removed participant are two reasons to hang up."""
    async with phone() as agent, Somebody(edge, f"out-{how}", tone_hz=600), edge.api() as livekit:
        spec = edge.spec(f"out-{how}")
        call = await answered(edge, agent, spec)
        if how == "room":
            await livekit.room.delete_room(api.DeleteRoomRequest(room=f"out-{how}"))
        else:
            await livekit.room.remove_participant(
                api.RoomParticipantIdentity(room=f"out-{how}", identity=f"sip_{spec.key}")
            )
        reason = {"room": "room_deleted", "participant": "participant_removed"}[how]
        assert (await edge.wait(control.Hangup, spec.key)).reason == reason
        assert (await edge.wait(control.Ended, spec.key)).reason == reason
        await until(lambda: call.state is CallState.CLOSED, "the near leg is hung up")


async def test_nobody_to_hear_is_busy(edge: FakeEdge) -> None:
    """Without anybody who publishes audio the call is refused with 486 once the ringing timeout is over."""
    async with phone() as agent, Somebody(edge, "silent"):
        spec = edge.spec("silent", ringing_timeout=0.6)
        await edge.channel.request(control.Expect(spec))
        call = await agent.dial(edge.uri(spec))
        with pytest.raises(CallFailed):
            await call.wait_established(WAIT)
        assert (await edge.wait(control.Refuse, spec.key)).code == 486
        await edge.wait(control.Ended, spec.key)
        assert not edge.says(control.Answering, spec.key)


async def test_second_caller_is_somebody(edge: FakeEdge) -> None:
    """Two SIP participants in one room are connected without any agent."""
    async with phone() as agent:
        first, second = edge.spec("two"), edge.spec("two")
        await edge.channel.request(control.Expect(first))
        one = await agent.dial(edge.uri(first))
        await edge.wait(control.Joined, first.key)
        assert not edge.says(control.Answering, first.key)
        two = await answered(edge, agent, second)
        await edge.wait(control.Active, first.key)
        for call, spec in ((one, first), (two, second)):
            await call.hangup()
            await edge.wait(control.Ended, spec.key)


async def test_cancel_while_ringing_leaves_the_room(edge: FakeEdge) -> None:
    """A caller who gives up while it rings leaves nothing in the room."""
    async with phone() as agent, Somebody(edge, "cancel") as somebody:
        spec = edge.spec("cancel")
        await edge.channel.request(control.Expect(spec))
        call = await agent.dial(edge.uri(spec))
        await somebody.caller(spec.key)
        await call.hangup()
        await edge.wait(control.Ended, spec.key)
        await until(lambda: not somebody.room.remote_participants, "the participant leaves")
        assert not edge.says(control.Hangup, spec.key)


async def test_end_while_joining(edge: FakeEdge) -> None:
    """A call that the edge ends before the room is joined leaves the room as soon as it is."""
    async with Somebody(edge, "early") as somebody:
        spec = edge.spec("early")
        await edge.channel.request(control.Expect(spec))
        edge.channel.send(control.End(spec.key, "cancelled"))
        assert (await edge.wait(control.Ended, spec.key)).reason == "cancelled"
        await asyncio.sleep(1)  # it joins meanwhile, if it does
        await until(lambda: not somebody.room.remote_participants, "the participant leaves")


async def test_room_that_cannot_be_joined(edge: FakeEdge) -> None:
    """A wrong token is a 503 that says so, and so is a server that accepts and never answers."""
    spec = edge.spec("x")
    wrong = edge.spec("x", room=control.RoomSpec(spec.room.url, "nonsense", "x"))
    await edge.channel.request(control.Expect(wrong))
    refuse = await edge.wait(control.Refuse, wrong.key)
    assert refuse.code == 503 and "cannot be joined" in refuse.reason
    await edge.wait(control.Ended, wrong.key)
    with socket.socket() as mute:
        mute.bind((HOST, 0))
        mute.listen()
        hung = edge.spec(
            "x",
            ringing_timeout=60.0,
            room=control.RoomSpec(f"ws://{HOST}:{mute.getsockname()[1]}", spec.room.token, "x"),
        )
        await edge.channel.request(control.Expect(hung))
        assert (await edge.wait(control.Refuse, hung.key, timeout=30)).code == 503
        await edge.wait(control.Ended, hung.key)


async def test_unannounced_calls_are_rejected(edge: FakeEdge) -> None:
    """Nobody who finds the private port gets a call through it."""
    async with phone() as agent:
        call = await agent.dial(f"sip:stranger@{HOST}:{edge.port}")
        with pytest.raises(CallFailed):
            await call.wait_established(WAIT)


async def test_unknown_call_ends_at_once(edge: FakeEdge) -> None:
    """An edge that ends a call which this process does not know is not left waiting."""
    edge.channel.send(control.End("unknown", "x"))
    assert (await edge.wait(control.Ended, "unknown")).quality == {}


async def test_hold_is_not_the_end(edge: FakeEdge) -> None:
    """A far end that holds the call and takes it back is heard again; no media timeout strikes meanwhile."""
    async with phone() as agent, Somebody(edge, "hold", tone_hz=600) as somebody:
        spec = edge.spec("hold", media_timeout=2.0)
        call = await answered(edge, agent, spec)
        async with Ear(call, tone(400)) as ear:
            await until(lambda: loudness(somebody.heard, 400) > 4000, "the room hears the caller")
            await call.hold()
            await until(lambda: loudness(somebody.heard, 400) < 300, "the held caller is silent")
            await asyncio.sleep(4)  # twice the media timeout
            assert call.state is CallState.ESTABLISHED
            await call.resume()
            await until(lambda: loudness(somebody.heard, 400) > 4000, "the room hears the caller again")
            await until(lambda: loudness(ear.pcm, 600) > 4000, "the caller hears the agent again")
        await call.hangup()
        await edge.wait(control.Ended, spec.key)


async def test_max_call_duration(edge: FakeEdge) -> None:
    """A call ends when its time is over."""
    async with phone() as agent, Somebody(edge, "long", tone_hz=600):
        spec = edge.spec("long", max_call_duration=1.0)
        await answered(edge, agent, spec)
        assert (await edge.wait(control.Hangup, spec.key)).reason == "max_call_duration"
        await edge.wait(control.Ended, spec.key)


async def test_caller_left_alone(edge: FakeEdge) -> None:
    """A caller whose agent is gone is hung up; not while he is transferred, nor if somebody comes in time."""
    async with phone() as agent:
        lone, kept, moved = (edge.spec(room, alone_timeout=4.0) for room in ("lone", "kept", "moved"))
        async with (
            Somebody(edge, "lone", tone_hz=600),
            Somebody(edge, "kept", tone_hz=600),
            Somebody(edge, "moved", tone_hz=600),
        ):
            calls = [await answered(edge, agent, spec) for spec in (lone, kept, moved)]
            edge.channel.send(control.Transferring(moved.key, True))
        async with Somebody(edge, "kept", "human"):
            assert (await edge.wait(control.Hangup, lone.key)).reason == "agent gone"
            await edge.wait(control.Ended, lone.key)
            await until(lambda: calls[0].state is CallState.CLOSED, "the near leg is hung up")
            edge.channel.send(control.Transferring(moved.key, False))
            assert (await edge.wait(control.Hangup, moved.key)).reason == "agent gone"
            assert calls[1].state is CallState.ESTABLISHED
        await calls[1].hangup()
        await edge.wait(control.Ended, kept.key)


async def test_media_timeout(edge: FakeEdge) -> None:
    """A caller whose audio stops coming is hung up; baresip stopped in its tracks is such a caller."""
    async with Somebody(edge, "gone", tone_hz=600):
        spec = edge.spec("gone", media_timeout=1.5)
        await edge.channel.request(control.Expect(spec))
        script = (
            "import asyncio, sys\n"
            "from tests.stack.media_kit import phone\n"
            "async def main():\n"
            "    async with phone() as agent:\n"
            "        call = await agent.dial(sys.argv[1])\n"
            "        await call.wait_established()\n"
            "        await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        caller = await asyncio.create_subprocess_exec(sys.executable, "-c", script, edge.uri(spec))
        try:
            await edge.wait(control.Active, spec.key)
            await asyncio.sleep(0.5)
            caller.send_signal(signal.SIGSTOP)
            assert (await edge.wait(control.Hangup, spec.key)).reason == "media_timeout"
            await edge.wait(control.Ended, spec.key)
        finally:
            caller.kill()
            await caller.wait()


async def test_outbound_call(edge: FakeEdge) -> None:
    """`Dial` joins the room, rings into it, calls the edge, sends the digits, and is active."""
    port = free_port(socket.SOCK_DGRAM)
    async with phone(port=port) as agent, Somebody(edge, "dial", tone_hz=600) as somebody:
        incoming: asyncio.Queue[Call] = asyncio.Queue()
        agent.on_incoming(incoming.put_nowait)
        spec = edge.spec("dial", "outbound", edge=f"{HOST}:{port}", play_dialtone=True, dtmf="1w2")
        await edge.channel.request(control.Dial(spec))
        assert edge.says(control.Joined, spec.key)
        call = await asyncio.wait_for(incoming.get(), WAIT)
        await until(lambda: loudness(somebody.heard, 440) > 1000, "ring-back in the room")
        pressed: list[str] = []
        call.on_dtmf(lambda event: pressed.append(event.digit))
        statuses: list[str] = []
        participant = await somebody.caller(spec.key)
        somebody.room.on(
            "participant_attributes_changed",
            lambda changed, _: statuses.append(changed.get("sip.callStatus", "")),
        )
        await call.answer(video=True)
        await edge.wait(control.Active, spec.key)
        await until(lambda: pressed == ["1", "2"], "the callee hears the digits")
        await until(lambda: participant.attributes.get("sip.callStatus") == "active", "the status is active")
        assert statuses[:2] == ["automation", "active"]
        async with Ear(call, tone(700)) as ear:
            await until(lambda: loudness(ear.pcm, 600) > 4000, "the callee hears the room")
            await until(lambda: loudness(somebody.heard, 700) > 4000, "the room hears the callee")
        edge.channel.send(control.End(spec.key, "the far end hung up"))
        assert (await edge.wait(control.Ended, spec.key)).reason == "the far end hung up"
        await until(lambda: call.state is CallState.CLOSED, "the near leg is hung up")


async def test_outbound_refused(edge: FakeEdge) -> None:
    """A refusal of the near leg ends the call; a room that cannot be joined refuses `Dial` itself."""
    port = free_port(socket.SOCK_DGRAM)
    async with phone(port=port) as agent:

        def refuse(call: Call) -> None:
            tasks.append(asyncio.create_task(call.reject()))

        tasks: list[asyncio.Task[None]] = []
        agent.on_incoming(refuse)
        spec = edge.spec("refused", "outbound", edge=f"{HOST}:{port}")
        await edge.channel.request(control.Dial(spec))
        assert "486" in (await edge.wait(control.Ended, spec.key)).reason
        wrong = edge.spec("refused", "outbound", room=control.RoomSpec(spec.room.url, "nonsense", "x"))
        with pytest.raises(RuntimeError, match="cannot be joined"):
            await edge.channel.request(control.Dial(wrong))
        await edge.wait(control.Ended, wrong.key)


async def test_drain(server: LocalStack) -> None:
    """After `Drain` the process goes when its last call does, and not before."""
    edge = FakeEdge(server)
    await edge.start()
    async with phone() as agent, Somebody(edge, "drain", tone_hz=600):
        spec = edge.spec("drain")
        call = await answered(edge, agent, spec)
        edge.channel.send(control.Drain())
        load = await edge.wait(control.Load)
        assert load.calls <= 1 and edge.process.returncode is None
        await call.hangup()
        assert await asyncio.wait_for(edge.process.wait(), WAIT) == 0
    await edge.stop()


async def test_edge_gone(server: LocalStack) -> None:
    """When the edge dies, calls are hung up, rooms left, and the process ends by itself."""
    edge = FakeEdge(server)
    await edge.start()
    async with phone() as agent, Somebody(edge, "orphan", tone_hz=600) as somebody:
        call = await answered(edge, agent, edge.spec("orphan"))
        await edge.stop()
        assert edge.process.returncode == 0
        await until(lambda: call.state is CallState.CLOSED, "the near leg is hung up")
        await until(lambda: not somebody.room.remote_participants, "the participant leaves")
