"""A kit for testing a media process alone: a scripted edge on its control channel, people in rooms."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from baresip import Account, Config
from baresip.runtime import Runtime
from baresip.ua import UserAgent
from livekit import api, rtc
from numpy.typing import NDArray

from sip.local import LocalStack
from sip.service import control

WAIT = 15.0
HOST = "127.0.0.1"
M = TypeVar("M", bound=control.Message)


class FakeEdge:
    """The edge's end of the control channel. What it hears is acknowledged, unless `deaf` names its kind."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.heard: list[control.Message] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the media process; returns when it is ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sip.service.media.process",
                "--fd",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        self.channel = control.Channel(reader, writer, self._hear)
        self.running = asyncio.create_task(self.channel.run())
        self.port = (await self.wait(control.Ready)).sip_port

    async def wait(self, kind: type[M], key: str = "", timeout: float = WAIT) -> M:
        """The first message of this kind (and call), also one that came before."""

        def found() -> M | None:
            for message in self.heard:
                if isinstance(message, kind) and (not key or getattr(message, "key", "") == key):
                    return message
            return None

        async with self._news, asyncio.timeout(timeout):
            await self._news.wait_for(lambda: found() is not None)
        message = found()
        assert message is not None
        return message

    def says(self, kind: type[control.Message], key: str) -> bool:
        """Whether it has said this of the call."""
        return any(isinstance(message, kind) and getattr(message, "key", "") == key for message in self.heard)

    def spec(self, name: str, direction: str = "inbound", **changes: Any) -> control.CallSpec:
        """A call into the room of this name."""
        key = secrets.token_hex(6)
        values: dict[str, Any] = {
            "key": key,
            "call_id": f"SCL_{key}",
            "direction": direction,
            "room": control.RoomSpec(self.stack.livekit_url, self.token(name, f"sip_{key}", "sip"), name),
            "ringing_timeout": 10.0,
            "max_call_duration": 0.0,
        }
        return control.CallSpec(**(values | changes))

    def uri(self, spec: control.CallSpec) -> str:
        """What the near leg's INVITE goes to."""
        return f"sip:{spec.key}@{HOST}:{self.port}"

    def token(self, room: str, identity: str, kind: Any = "standard") -> str:
        """A token to join a room."""
        grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
        token = api.AccessToken(self.stack.api_key, self.stack.api_secret)
        return token.with_identity(identity).with_kind(kind).with_grants(grants).to_jwt()

    def api(self) -> api.LiveKitAPI:
        """livekit-server's API."""
        url = self.stack.livekit_url.replace("ws", "http", 1)
        return api.LiveKitAPI(url, self.stack.api_key, self.stack.api_secret)

    async def stop(self) -> None:
        """Close the channel, which ends the process."""
        self.channel.close()
        try:
            await asyncio.wait_for(self.process.wait(), WAIT)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise
        finally:
            await self.running

    def _hear(self, message: control.Message, answer: Callable[[str], None]) -> None:
        self.heard.append(message)
        answer("")
        task = asyncio.create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


class Somebody:
    """A participant who says a steady tone and keeps what he hears of one track, at 8 kHz."""

    def __init__(self, edge: FakeEdge, room: str, identity: str = "agent", tone_hz: int = 0) -> None:
        self._edge, self._room_name, self.identity, self._tone = edge, room, identity, tone_hz
        self.room = rtc.Room()
        self.heard = bytearray()
        self.digits: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.publication: rtc.LocalTrackPublication | None = None

    async def __aenter__(self) -> Somebody:
        self.room.on("track_subscribed", self._subscribed)
        self.room.on("sip_dtmf_received", lambda dtmf: self.digits.append(dtmf.digit))
        await self.room.connect(
            self._edge.stack.livekit_url, self._edge.token(self._room_name, self.identity)
        )
        if self._tone:
            await self.speak(self._tone)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    async def speak(self, tone_hz: int) -> None:
        """Publish a microphone that says the tone."""
        source = rtc.AudioSource(8000, 1, 100)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        self.publication = await self.room.local_participant.publish_track(track, options)
        self._tasks.append(asyncio.create_task(_say(source, tone_hz)))

    async def caller(self, key: str) -> rtc.RemoteParticipant:
        """The call's participant, once he is here."""
        here = asyncio.Event()
        self.room.on("participant_connected", lambda _: here.set())
        async with asyncio.timeout(WAIT):
            while (found := self.room.remote_participants.get(f"sip_{key}")) is None:
                await here.wait()
                here.clear()
        return found

    def _subscribed(self, track: rtc.Track, *_: object) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            self._tasks.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        async for event in rtc.AudioStream(track, sample_rate=8000, num_channels=1):
            self.heard += event.frame.data.tobytes()


async def _say(source: rtc.AudioSource, tone_hz: int) -> None:
    tone = (8000 * np.sin(2 * np.pi * tone_hz * np.arange(800) / 8000)).astype(np.int16)
    at = 0
    while True:
        await source.capture_frame(rtc.AudioFrame(tone[at : at + 80].tobytes(), 8000, 1, 80))
        at = (at + 80) % 800


@asynccontextmanager
async def phone(*codecs: str, port: int = 0) -> AsyncGenerator[UserAgent]:
    """A baresip user agent in this process; with a port it takes calls there."""
    runtime = Runtime()
    listen = f"sip_listen {HOST}:{port}\nsip_transports udp\n" if port else ""
    await runtime.start(Config(net_interface=HOST, max_concurrent_calls=None, extra_config_text=listen))
    try:
        account = Account(
            f"phone{os.getpid()}",
            HOST,
            "",
            reg_interval=0,
            audio_codecs=codecs or ("PCMU",),
            extra_params=("catchall=yes",),
        )
        yield await UserAgent.create(runtime, account)
    finally:
        await runtime.close()


def loudness(pcm: bytes | bytearray, tone_hz: int, rate: int = 8000) -> float:
    """Amplitude of a tone in the last half second, in 16-bit steps."""
    samples: NDArray[np.float64] = np.frombuffer(bytes(pcm[-rate:]), np.int16).astype(np.float64)
    if not len(samples):
        return 0.0
    wave = np.exp(-2j * np.pi * tone_hz * np.arange(len(samples)) / rate)
    return float(2 * abs(np.mean(samples * wave)))
