"""The end of a call, in one place: last words, records, the SIP leg, the room, the job.

Usable in anybody's worker: `await hangup(session, reason="done")` from a tool or a task, and
`follow_caller(session)` once at the start, so that a job ends with its caller. Both find the job context
themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import aiohttp
from livekit import api, rtc
from livekit.agents import AgentSession, JobContext, get_job_context
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS

logger = logging.getLogger(__name__)

By = Literal["caller", "agent", "system"]
BeforeRoomGoes = Callable[[By, str], Awaitable[None] | None]
"""Called with who ended the call and why, while the room still stands."""

LAST_WORDS_LIMIT = 15.0
"""Seconds that unfinished speech may still take."""
TRANSIT = 0.4
"""Seconds between the last sample leaving us and its sound in the caller's ear: the room's and the
telephone's jitter buffers. Nothing reports its arrival, and a room deleted earlier cuts the last
syllable."""
_DELETE_TRIES = 3


@dataclass
class _Ending:
    callbacks: list[BeforeRoomGoes] = field(default_factory=list[BeforeRoomGoes])
    expected: tuple[By, str] | None = None
    task: asyncio.Task[None] | None = None


_endings: WeakKeyDictionary[JobContext, _Ending] = WeakKeyDictionary()


async def hangup(
    session: AgentSession[Any] | None = None,
    *,
    ctx: JobContext | None = None,
    by: By = "agent",
    reason: str = "",
    say: str = "",
) -> None:
    """End the call: play out what is being said (and `say`), then delete the room and end the job.

    Whoever calls it again, or while it runs, waits for the same end; the first caller's words and reason
    count. From inside a function tool use `hangup_soon`, since a tool cannot wait for the speech that it
    belongs to.
    """
    ctx = ctx or get_job_context()
    ending = _ending(ctx)
    if ending.task is None:
        ending.task = asyncio.create_task(_end(ctx, session, by, reason, say), name="hangup")
    await asyncio.shield(ending.task)


def hangup_soon(
    session: AgentSession[Any] | None = None,
    *,
    ctx: JobContext | None = None,
    by: By = "agent",
    reason: str = "",
) -> None:
    """Begin `hangup` and return at once: for event handlers, and for function tools (await
    `RunContext.wait_for_playout()` before it)."""
    ctx = ctx or get_job_context()
    ending = _ending(ctx)
    if ending.task is None:
        ending.task = asyncio.create_task(_end(ctx, session, by, reason, ""), name="hangup")


def ending(ctx: JobContext) -> bool:
    """Whether the call is being ended or has ended."""
    return _ending(ctx).task is not None


def before_room_goes(ctx: JobContext, callback: BeforeRoomGoes) -> None:
    """Have this called once, when the last words are out and before the room is deleted."""
    _ending(ctx).callbacks.append(callback)


def expect_end(ctx: JobContext, by: By, reason: str) -> None:
    """The far end is about to leave for this reason (a transfer); an empty reason takes it back."""
    _ending(ctx).expected = (by, reason) if reason else None


def follow_caller(session: AgentSession[Any], ctx: JobContext | None = None) -> None:
    """End the job when the last person has left the room, for whatever reason, or when the room is gone."""
    ctx = ctx or get_job_context()
    context = ctx

    def on_left(who: rtc.RemoteParticipant) -> None:
        others = context.room.remote_participants.values()
        if any(p.kind in DEFAULT_PARTICIPANT_KINDS and p.identity != who.identity for p in others):
            return
        if who.kind in DEFAULT_PARTICIPANT_KINDS:
            code = who.disconnect_reason or rtc.DisconnectReason.UNKNOWN_REASON
            name = rtc.DisconnectReason.Name(code).lower()
            by, reason = _ending(context).expected or ("caller", name)
            hangup_soon(session, ctx=context, by=by, reason=reason)

    def on_disconnected(_: object) -> None:
        hangup_soon(session, ctx=context, by="system", reason="room disconnected")

    ctx.room.on("participant_disconnected", on_left)
    ctx.room.on("disconnected", on_disconnected)


async def play_out(session: AgentSession[Any]) -> None:
    """Wait until all that was to be said has reached the telephone; nothing can be said afterwards."""
    try:
        async with asyncio.timeout(LAST_WORDS_LIMIT):
            await session.drain()
    except TimeoutError:
        logger.warning("last words took longer than %s s", LAST_WORDS_LIMIT)
    await asyncio.sleep(TRANSIT)


def _ending(ctx: JobContext) -> _Ending:
    return _endings.setdefault(ctx, _Ending())


async def _end(ctx: JobContext, session: AgentSession[Any] | None, by: By, reason: str, say: str) -> None:
    try:
        if session is not None and by == "caller":
            await _cut_short(session)
        elif session is not None and (ctx.is_fake_job() or ctx.room.isconnected()):
            await _last_words(session, say)
        for callback in _ending(ctx).callbacks:
            try:
                outcome = callback(by, reason)
                if outcome is not None:
                    await outcome
            except Exception:  # a stranger's callback must not keep the line open
                logger.exception("a callback failed at the end of the call")
        await _end_legs(ctx)
    finally:
        ctx.shutdown(reason or f"hung up by {by}")


async def _last_words(session: AgentSession[Any], say: str) -> None:
    # The caller is heard no more, so that a "bye" of his starts no new turn.
    session.input.set_audio_enabled(False)
    try:
        if say:
            session.say(say, allow_interruptions=False)
        await play_out(session)
    except RuntimeError as error:  # the session was closed meanwhile: nothing is left to be said
        logger.info("no last words", extra={"reason": str(error)})


async def _cut_short(session: AgentSession[Any]) -> None:
    """Nobody listens any more: stop speaking, so that the records say how far it came."""
    try:
        async with asyncio.timeout(0.5):
            await session.interrupt(force=True)
    except (RuntimeError, TimeoutError) as error:  # closed already, or a provider that does not let go
        logger.info("speech not cut short", extra={"reason": repr(error)})


async def delete_room(livekit: api.LiveKitAPI, room: str) -> bool:
    """Delete a room, which ends every SIP leg in it with BYE; False when three tries have failed."""
    for attempt in range(1, _DELETE_TRIES + 1):
        try:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=room))
            return True
        except api.TwirpError as error:
            if error.code == api.TwirpErrorCode.NOT_FOUND:
                return True
            logger.warning("the room could not be deleted", extra={"attempt": attempt, "error": error.code})
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("the room could not be deleted", extra={"attempt": attempt, "error": repr(error)})
    return False


async def _end_legs(ctx: JobContext) -> None:
    """End every SIP leg: with the room, or one by one if it cannot be deleted."""
    if ctx.is_fake_job() or await delete_room(ctx.api, ctx.room.name):
        return
    for who in list(ctx.room.remote_participants.values()):
        try:
            await ctx.api.room.remove_participant(
                api.RoomParticipantIdentity(room=ctx.room.name, identity=who.identity)
            )
        except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
            logger.error("a participant could not be removed", extra={"error": repr(error)})
