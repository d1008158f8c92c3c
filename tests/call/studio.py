"""One call in process: the real session of `agent.pipeline`, with ears and mouth made by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from livekit import rtc
from livekit.agents import Agent, AgentSession, JobContext
from livekit.agents.testing import fake_job_context
from livekit.agents.utils import http_context
from livekit.agents.voice import io

from agent import pipeline
from agent.failsafe import PATIENCE, Failsafe
from agent.hangup import before_room_goes
from agent.settings import Settings, read_settings
from agent.tools import make_tools
from agent.turns import turn_options
from tests.call.providers import Providers


class Mouth(io.AudioOutput):
    """Plays at once what a telephone would play in its time; `heard` is seconds of audio."""

    def __init__(self) -> None:
        super().__init__(
            label="mouth",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=pipeline.SAMPLE_RATE,
        )
        self.heard = 0.0
        self._segment = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._segment:
            self.on_playback_started(created_at=time.time())
        self._segment += frame.duration
        self.heard += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._segment:
            played, self._segment = self._segment, 0.0
            self.on_playback_finished(playback_position=played, interrupted=False)

    def clear_buffer(self) -> None:
        self.flush()


class Ear(io.AudioInput):
    """Silence in real time, and speech where `say` puts it."""

    def __init__(self) -> None:
        super().__init__(label="ear")
        self._queue: list[rtc.AudioFrame] = []
        self._heard = asyncio.Event()
        self._due = 0.0

    async def say(self, frames: AsyncGenerator[rtc.AudioFrame] | Any) -> None:
        """Return when all of it has been heard."""
        self._queue += [frame async for frame in frames]
        self._heard.clear()
        await self._heard.wait()

    async def __anext__(self) -> rtc.AudioFrame:
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - 0.1) + 0.02
        await asyncio.sleep(max(self._due - now, 0))
        if self._queue:
            return self._queue.pop(0)
        self._heard.set()
        return rtc.AudioFrame(bytes(960), 24_000, 1, 480)


class Studio:
    """A running call. `ended` is set when it was hung up; `by` and `reason` then say why."""

    def __init__(self, ctx: JobContext, session: AgentSession[Any], settings: Settings) -> None:
        self.ctx, self.session, self.settings = ctx, session, settings
        self.mouth, self.ear = Mouth(), Ear()
        self.ended = asyncio.Event()
        self.by = self.reason = ""
        self.failures: list[str] = []
        self._changed = asyncio.Event()
        session.on("conversation_item_added", lambda _: self._changed.set())
        before_room_goes(ctx, self._on_end)

    def _on_end(self, by: str, reason: str) -> None:
        self.by, self.reason = by, reason
        self.ended.set()

    @property
    def said(self) -> list[str]:
        """What the agent has said so far."""
        messages = [item for item in self.session.history.items if item.type == "message"]
        return [(m.text_content or "").strip() for m in messages if m.role == "assistant"]

    def on_failure(self, what: str, why: str) -> None:
        """For the failsafe to call."""
        self.failures.append(what)
        self._changed.set()

    async def wait_for(self, condition: Callable[[], bool], within: float) -> None:
        """Return as soon as it holds; it is asked again after each thing said and each failure."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def wait_end(self, within: float) -> float:
        """Seconds until the call was ended; fails the test when it was not."""
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            await self.ended.wait()
        return asyncio.get_running_loop().time() - started


@asynccontextmanager
async def studio(
    providers: Providers, *, patience: float = PATIENCE, env: Mapping[str, str] | None = None
) -> AsyncGenerator[Studio]:
    """The worker's own session and failsafe, without a room."""
    settings = read_settings({**providers.env, **(env or {})}, need_livekit=False)
    with fake_job_context() as ctx:
        http_context._new_session_ctx()
        turns = turn_options()
        session = pipeline.make_session(settings, pipeline.load_vad(turns), turns)
        call = Studio(ctx, session, settings)
        session.input.audio, session.output.audio = call.ear, call.mouth
        failsafe = Failsafe(session, ctx=ctx, patience=patience, on_failure=call.on_failure)
        failsafe.start()
        agent = Agent(instructions="Be short.", tools=make_tools(settings.persona, ctx))
        try:
            await session.start(agent)
            yield call
        finally:
            await session.aclose()
            await http_context._close_http_ctx()


class FakeContext:
    """As much of a `JobContext` as ending and transferring a call need; writes down what was done."""

    def __init__(self, done: list[str], *, fails: Callable[[str], Exception | None] = lambda _: None) -> None:
        self.done, self._fails = done, fails
        self.room = FakeRoom()
        self.api = SimpleNamespace(
            room=SimpleNamespace(
                delete_room=self._verb("delete_room"), remove_participant=self._verb("remove_participant")
            ),
            sip=SimpleNamespace(transfer_sip_participant=self._verb("transfer_sip_participant")),
        )
        self.requests: list[Any] = []

    def _verb(self, name: str) -> Callable[[Any], Any]:
        async def call(request: Any) -> None:
            self.done.append(name)
            self.requests.append(request)
            error = self._fails(name)
            if error is not None:
                raise error

        return call

    def is_fake_job(self) -> bool:
        return False

    def shutdown(self, reason: str = "") -> None:
        self.done.append(f"shutdown: {reason}")

    def as_context(self) -> JobContext:
        return cast(JobContext, self)


def quiet_session(interrupt: Any = None) -> Any:
    """A session that has nothing to say."""

    async def nothing(**_: Any) -> None:
        pass

    ear = SimpleNamespace(set_audio_enabled=lambda on: None)
    return SimpleNamespace(interrupt=interrupt or nothing, drain=nothing, input=ear)


class FakeRoom(rtc.EventEmitter[str]):
    """A room with one telephone in it."""

    name = "a-room"

    def __init__(self) -> None:
        super().__init__()
        self.caller = SimpleNamespace(
            identity="sip_caller",
            kind=rtc.ParticipantKind.PARTICIPANT_KIND_SIP,
            disconnect_reason=rtc.DisconnectReason.CLIENT_INITIATED,
        )
        self.remote_participants = {"sip_caller": self.caller}

    def isconnected(self) -> bool:
        return True

    def leave(self, who: Any = None) -> None:
        """The caller (or somebody else) leaves."""
        who = who or self.caller
        self.remote_participants.pop(who.identity, None)
        self.emit("participant_disconnected", who)
