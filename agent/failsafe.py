"""A provider that fails never ends in silence.

Three things are watched: errors that the framework gives up on; the time between the end of the caller's
turn and the agent's voice; and speech that the caller's voice activity shows but no transcript does. A slow
or broken turn gets one more try after a recorded "one moment"; an unheard one, a recorded "please say that
again". After that, or at once when a provider is certainly dead, the caller hears a recorded sentence that
needs no provider, and is transferred to the persona's fallback or the call ends.

Usable in anybody's worker: `Failsafe(session).start()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession, JobContext, get_job_context
from livekit.agents.llm import ChatMessage
from livekit.agents.voice import SpeechHandle
from livekit.agents.voice.events import (
    AgentStateChangedEvent,
    CloseEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    FunctionToolsExecutedEvent,
    SpeechCreatedEvent,
    ToolCallEnded,
    ToolCallStarted,
    ToolExecutionUpdatedEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)

from agent.errors import TransferError
from agent.hangup import TRANSIT, ending, hangup
from agent.sounds import Recording, recording
from agent.transfer import transfer

logger = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds from the end of the caller's turn to the agent's voice before the turn is tried once more."""
PATIENCE_AGAIN = 0.6
"""Seconds of silence after the recorded "one moment", during which the second try is already under way
(1.3 s). With the recorded goodbye (2.5 s) a call ends within 5 s of the first sign of failure."""
UNHEARD_AFTER = 2.0
"""Seconds after the caller fell silent in which a transcript has to come."""
UNHEARD_SPEECH = 0.7
"""Seconds of voice below which no transcript is expected: a cough, a click."""

TROUBLED_TURNS = 3
"""So many turns in a row that were only answered at the second try, and the call is not worth going on."""

OnFailure = Callable[[str, str], None]
"""Told what failed (`stt`, `llm`, `tts`, `turn`, `session`) and why."""


class Failsafe:
    """Watches one session. `fallback` is a `sip:` or `tel:` address that takes the call instead of its
    end."""

    def __init__(
        self,
        session: AgentSession[Any],
        *,
        ctx: JobContext | None = None,
        fallback: str = "",
        on_failure: OnFailure | None = None,
        patience: float = PATIENCE,
        patience_again: float = PATIENCE_AGAIN,
        unheard_after: float = UNHEARD_AFTER,
    ) -> None:
        self._session = session
        self._ctx = ctx or get_job_context()
        self._fallback = fallback
        self._on_failure = on_failure
        self._patience, self._patience_again = patience, patience_again
        self._unheard_after = unheard_after
        self._answered = asyncio.Event()
        self._turn_timer: asyncio.TimerHandle | None = None
        self._unheard_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ours: SpeechHandle | None = None
        self._tools = 0
        self._trying_again = False
        self._tries = 0
        """Of the present turn of the caller."""
        self._troubled = 0
        """Turns since the last one that was answered without a failure."""
        self._unheard = 0
        self._ever_heard = False
        self._speech_began = 0.0
        self._heard_at = 0.0
        self._failed = False

    @property
    def failed(self) -> bool:
        """Whether the call is being ended because of a failure."""
        return self._failed

    def start(self, *, answered: bool = True) -> None:
        """Watch from now on. Before the far end has answered nothing is said; `answered()` tells."""
        if answered:
            self.answered()
        session = self._session
        session.on("error", self._on_error)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcript)
        session.on("speech_created", self._on_speech_created)
        session.on("tool_execution_updated", self._on_tool)
        session.on("function_tools_executed", self._on_tools_executed)
        session.on("conversation_item_added", self._on_item)
        session.on("close", self._on_close)

    def answered(self) -> None:
        """The far end can hear us from now on."""
        self._answered.set()

    def fail(self, what: str, why: str) -> None:
        """End the call with a recorded sentence; the first failure counts."""
        if self._failed or ending(self._ctx):
            return
        self._failed = True
        self._stop_timers()
        logger.error("call cannot go on: %s", what, extra={"why": why})
        if self._on_failure is not None:
            self._on_failure(what, why)
        self._spawn(self._give_up(what))

    # What is seen.

    def _on_error(self, event: ErrorEvent) -> None:
        if getattr(event.error, "recoverable", False):
            return
        kind = str(getattr(event.error, "type", "")).removesuffix("_error")
        cause = getattr(event.error, "error", event.error)
        why = f"{type(cause).__name__}: {cause}"
        if kind in ("llm", "tts") and not _final(cause) and self._in_talk():
            self._once_more(kind, why)
        elif kind in ("stt", "llm", "tts"):
            self.fail(kind, why)  # a dead recogniser stays dead: the framework makes no new one

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        if event.new_state in ("thinking", "speaking"):
            self._disarm_unheard()
        if event.new_state == "thinking":
            self._arm_turn()
        elif event.new_state == "speaking":
            self._disarm_turn()
            if self._ours is None:
                self._trying_again = False

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if not isinstance(item, ChatMessage):
            return
        if item.role == "user":
            self._tries, self._trying_again = 0, False
        elif item.role == "assistant" and not self._tries and not item.interrupted and self._ours is None:
            self._troubled = 0

    def _on_speech_created(self, event: SpeechCreatedEvent) -> None:
        if event.source == "say" and self._session.agent_state != "speaking":
            self._arm_turn()

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        loop = asyncio.get_running_loop()
        if event.new_state == "speaking":
            self._disarm_turn()
            self._disarm_unheard()
            self._speech_began = loop.time()
        elif event.old_state == "speaking":
            if self._session.agent_state == "thinking":
                self._arm_turn()
            if (
                loop.time() - self._speech_began >= UNHEARD_SPEECH
                and self._heard_at < self._speech_began
                # Over the agent's own speech an "mm-hm" is rightly not transcribed.
                and self._session.agent_state != "speaking"
                and self._session.stt is not None
            ):
                self._disarm_unheard()
                self._unheard_timer = loop.call_later(self._unheard_after, self._on_unheard)

    def _on_transcript(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final and event.transcript.strip():
            self._heard_at = asyncio.get_running_loop().time()
            self._ever_heard, self._unheard = True, 0
            self._disarm_unheard()

    def _on_tool(self, event: ToolExecutionUpdatedEvent) -> None:
        if isinstance(event.update, ToolCallStarted):
            self._tools += 1
            self._disarm_turn()
        elif isinstance(event.update, ToolCallEnded):
            self._tools = max(self._tools - 1, 0)
            if not self._tools:
                self._arm_turn()

    def _on_tools_executed(self, event: FunctionToolsExecutedEvent) -> None:
        if not event.has_tool_reply:
            self._disarm_turn()

    def _on_close(self, event: CloseEvent) -> None:
        if not ending(self._ctx):
            self.fail("session", f"closed: {event.reason.value}")
        self._stop_timers()

    # What is done.

    def _on_slow(self) -> None:
        self._turn_timer = None
        self._once_more("turn", "no answer in time")

    def _once_more(self, what: str, why: str) -> None:
        """Try the turn again; the second failure without an answer between ends the call."""
        if self._failed or ending(self._ctx):
            return
        self._tries += 1
        self._troubled += 1
        if self._tries > 1 or self._troubled >= TROUBLED_TURNS or not self._answered.is_set():
            self.fail(what, why)
            return
        self._disarm_turn()
        logger.warning("the turn failed and is tried once more", extra={"what": what, "why": why})
        if self._on_failure is not None:
            self._on_failure(what, f"{why}; tried once more")
        self._spawn(self._retry())

    def _in_talk(self) -> bool:
        """Whether the caller has said something that can be answered again."""
        return any(i.type == "message" and i.role == "user" for i in self._session.history.items)

    async def _retry(self) -> None:
        await self._interrupt()
        if self._failed or ending(self._ctx) or self._session.user_state == "speaking":
            return  # a new turn of the caller is the second try
        self._trying_again = True
        playing = asyncio.create_task(self._play("moment"))
        await asyncio.sleep(0)  # first in the queue
        try:
            self._session.generate_reply()  # thinks while the recording plays
        except RuntimeError as error:
            self.fail("session", repr(error))
        await playing
        if self._session.agent_state != "speaking" or self._session.current_speech is None:
            self._arm_turn()

    def _on_unheard(self) -> None:
        self._unheard_timer = None
        if self._failed or ending(self._ctx) or self._session.agent_state in ("speaking", "thinking"):
            return
        self._unheard += 1
        # Noise can look like speech; a recogniser that has shown that it works gets one more benefit of the
        # doubt.
        if self._unheard >= (3 if self._ever_heard else 2):
            self.fail("stt", "the caller speaks and no transcript comes")
            return
        self._spawn(self._ask_again())

    async def _ask_again(self) -> None:
        await self._play("again")

    async def _give_up(self, what: str) -> None:
        await self._answered.wait()
        await self._interrupt()
        session = self._session
        session.input.set_audio_enabled(False)
        if self._fallback and not self._ctx.is_fake_job():
            await self._play("transfer")
            try:
                await transfer(self._fallback, session, ctx=self._ctx, reason=f"{what} failed: transferred")
                return
            except TransferError as error:
                logger.error("the fallback did not take the call", extra={"why": error.why})
        await self._play("goodbye")
        await hangup(session, ctx=self._ctx, by="agent", reason=f"{what} failed")

    async def _interrupt(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._session.interrupt(force=True)
        except (RuntimeError, TimeoutError) as error:  # closed, or a provider that does not even let go
            logger.info("nothing to interrupt", extra={"why": repr(error)})

    async def _play(self, name: str) -> bool:
        """Play a recording through the session, or beside it when that is closed; False if neither could."""
        sound = recording(name)
        try:
            self._ours = self._session.say(sound.text, audio=sound.frames(), allow_interruptions=False)
            async with asyncio.timeout(sound.duration + 1.5):
                await self._ours.wait_for_playout()
        except (RuntimeError, TimeoutError) as error:
            logger.warning("recording not played by the session", extra={"why": repr(error)})
            return await play_beside(self._ctx.room, sound)
        finally:
            self._ours = None
            self._disarm_turn()
        return True

    def _arm_turn(self) -> None:
        if self._failed or self._tools or self._ours is not None or self._session.user_state == "speaking":
            return
        self._disarm_turn()
        patience = self._patience_again if self._trying_again else self._patience
        self._turn_timer = asyncio.get_running_loop().call_later(patience, self._on_slow)

    def _disarm_turn(self) -> None:
        if self._turn_timer is not None:
            self._turn_timer.cancel()
            self._turn_timer = None

    def _disarm_unheard(self) -> None:
        if self._unheard_timer is not None:
            self._unheard_timer.cancel()
            self._unheard_timer = None

    def _stop_timers(self) -> None:
        self._disarm_turn()
        self._disarm_unheard()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("failsafe", exc_info=error)


def _final(error: object) -> bool:
    """Whether the provider will say the same again: a refused key, a bad request; but not "too many"."""
    status = getattr(error, "status_code", 0)
    return 400 <= status < 500 and status not in (408, 429)


async def play_beside(room: rtc.Room, sound: Recording) -> bool:
    """Play a recording on a track of its own, for a room without a working session; False if that cannot
    be."""
    if not room.isconnected():
        return False
    source = rtc.AudioSource(sound.sample_rate, 1)
    track = rtc.LocalAudioTrack.create_audio_track("recording", source)
    try:
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await room.local_participant.publish_track(track, options)
        async with asyncio.timeout(sound.duration + 2.0):
            await publication.wait_for_subscription()
            async for frame in sound.frames():
                await source.capture_frame(frame)
            await source.wait_for_playout()
            await asyncio.sleep(TRANSIT)
    except (rtc.participant.PublishTrackError, TimeoutError) as error:
        logger.error("recording not played", extra={"why": repr(error)})
        return False
    finally:
        await source.aclose()
    return True
