"""One call in a media process: a near leg that baresip carries, a room participant, the bridge between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from baresip import BaresipError
from baresip.call import Call
from baresip.ua import UserAgent
from livekit import rtc

from sip.service.control import (
    Active,
    Answering,
    CallSpec,
    Channel,
    Digits,
    Ended,
    Hangup,
    Joined,
    Refuse,
    Strings,
)
from sip.service.media.bridge import Bridge, Clock
from sip.service.media.limits import NOBODY_HEARD, Limits
from sip.service.media.loopback import RTP_PORTS, confine
from sip.service.media.near_leg import NearLeg, place
from sip.service.media.participant import JoinError, RoomEvents, RoomParticipant
from sip.service.media.room_audio import Microphone

logger = logging.getLogger(__name__)

CALL_STATUS = "sip.callStatus"
JOIN_TIMEOUT = 10.0
"""Seconds in which a room must be joined."""
LEAVE_TIMEOUT = 3.0
NARROWBAND = 8_000
DTMF_PAUSE = 0.5
"""Seconds that a `w` stands for among digits."""

_T = TypeVar("_T")


class Host(Protocol):
    """What a call needs of its process."""

    agent: UserAgent
    channel: Channel
    clock: Clock


class Over(Exception):
    """The call ended while something waited."""


class Refused(Exception):
    """The call cannot stand: the code for the far end, and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class MediaCall:
    """One call. `run_inbound` or `run_outbound` carries it to its end, which is `Ended` on the channel."""

    def __init__(self, host: Host, spec: CallSpec) -> None:
        self._host, self.spec = host, spec
        self._loop = asyncio.get_running_loop()
        events = RoomEvents(
            on_speaker=self._on_speaker,
            on_silence=self._on_silence,
            on_caller=self._heard_somebody,
            on_digit=self._on_room_digit,
            on_end=self._hang_up,
            on_end_call=lambda headers: self._hang_up("end_call_rpc", headers),
        )
        self.room = RoomParticipant(spec.room, events, dict(spec.remote_headers))
        self._near: NearLeg | None = None
        self._invited: asyncio.Future[NearLeg] = self._loop.create_future()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._heard: asyncio.Future[None] = self._loop.create_future()
        self._microphone: asyncio.Task[Microphone] | None = None
        self._bridge: Bridge | None = None
        self._tracks: dict[str, rtc.RemoteAudioTrack] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._digits: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self._active_at = 0.0
        self._limits: Limits | None = None
        self._held = self._transferring = False
        self._agent_due = False
        """Whether a call that is answered still waits for its agent, as long as another may ring."""

    @property
    def key(self) -> str:
        """The call's name on the control channel and on the near leg."""
        return self.spec.key

    async def run_inbound(self) -> None:
        """From `Expect` to `Ended`; raises nothing."""
        await self._run(self._answer())

    async def run_outbound(self, acknowledge: Callable[[str], None]) -> None:
        """From `Dial` to `Ended`; `acknowledge` hears "" once the room is joined, or why it is not."""
        await self._run(self._dial(acknowledge))

    # What the edge says.

    def invite(self, call: Call) -> bool:
        """The near leg's INVITE; False when the call has one already or is over."""
        if self._invited.done() or self._over.done():
            return False
        self._invited.set_result(self._attach(call))
        return True

    def end(self, reason: str) -> None:
        """The call is over; only the first reason counts."""
        if not self._over.done():
            self._over.set_result(reason)

    def set_attributes(self, values: Strings, remote_headers: Strings) -> None:
        """What the edge learned of the far end."""
        if remote_headers:
            self.room.remote_headers = dict(remote_headers)
        if values:
            self._spawn(self.room.set_attributes(values))

    def press(self, digits: str) -> None:
        """The far end pressed these keys."""
        for digit in digits:
            self._spawn(self.room.press(digit))

    def ring_caller(self, on: bool) -> None:
        """Ring-back towards the caller, who is being transferred."""
        if self._bridge is not None:
            self._bridge.ring_caller(on)

    def hold(self, on: bool) -> None:
        """No media timeout while the far end holds the call."""
        self._held = on

    def transferring(self, on: bool) -> None:
        """Whether the far end is being sent elsewhere: then nobody need be in the room."""
        self._transferring = on

    def check(self, now: float) -> None:
        """Called once a second with `time.monotonic()`: is there still media, company and time left?"""
        if self._limits is None or self._bridge is None or self._near is None or self._over.done():
            return
        reason = self._limits.reached(
            now,
            heard_at=self._bridge.uplink.heard_at,
            held=self._held or self._near.held,
            alone=self.room.alone and not self._transferring and not self._agent_due,
        )
        if reason:
            self._hang_up(reason)

    # The course of a call.

    async def _run(self, course: Coroutine[Any, Any, None]) -> None:
        try:
            await course
        except Over:
            pass
        except Refused as refused:
            await self._refuse(refused)
        except (BaresipError, JoinError, ConnectionError, RuntimeError, TimeoutError) as error:
            self._hang_up(f"error: {str(error) or type(error).__name__}")
        except Exception:
            # One call's fault must end that call and no other.
            logger.exception("a call failed", extra={"call_id": self.spec.call_id})
            self._hang_up("error: internal error")
        await self._finish(await self._over)

    async def _answer(self) -> None:
        ringing = asyncio.timeout(self.spec.ringing_timeout or None)
        try:
            async with ringing:
                await self._join()
                near = await self._until(self._invited)
                await self._until(self._heard)
        except TimeoutError as error:
            raise Refused(486, NOBODY_HEARD) from error
        await self._until(self._host.channel.request(Answering(self.key, self.room.attributes)))
        await self._until(near.answer())
        await self._activate(near)
        await self._over

    async def _dial(self, acknowledge: Callable[[str], None]) -> None:
        try:
            await self._join()
        except Refused as refused:
            acknowledge(refused.reason)
            self.end(refused.reason)
            raise Over from refused
        acknowledge("")
        near = await place(self._host.agent, f"sip:{self.key}@{self.spec.edge}", self._attach)
        # How long it may ring is the edge's business: it knows what the far end says.
        await self._until(near.established)
        await self._activate(near)
        await self._over

    async def _join(self) -> None:
        try:
            await self._until(self.room.join(JOIN_TIMEOUT))
        except (JoinError, TimeoutError) as error:
            raise Refused(503, f"the room cannot be joined: {str(error) or 'no answer'}") from error
        if self.room.hears_another_caller:
            self._heard_somebody()
        self._host.channel.send(Joined(self.key, self.room.sid))
        self._microphone = self._spawn(self.room.publish(NARROWBAND))

    async def _activate(self, near: NearLeg) -> None:
        assert self._microphone
        rate = await self._until(near.rate())
        confine(RTP_PORTS)
        await self._open_bridge(near, rate)
        self._spawn(self._send_digits(near))
        if self.spec.dtmf:
            await self._until(self._automate(near))
        self._active_at = time.monotonic()
        self._limits = Limits(self.spec, self._active_at)
        await self._until(self.room.set_attributes({CALL_STATUS: "active"}))
        self._host.channel.send(Active(self.key))

    async def _automate(self, near: NearLeg) -> None:
        """Send the digits of an outbound call's `dtmf`."""
        await self.room.set_attributes({CALL_STATUS: "automation"})
        for character in self.spec.dtmf:
            if character in "wW":
                await asyncio.sleep(DTMF_PAUSE)
            else:
                await near.press(character)

    async def _open_bridge(self, near: NearLeg, rate: int) -> None:
        """Join call and room; the microphone is published afresh when the codec has another rate."""
        assert self._microphone
        microphone = await self._until(asyncio.shield(self._microphone))
        if microphone.rate != rate:
            self._microphone = self._spawn(self.room.publish(rate))
            microphone = await self._until(asyncio.shield(self._microphone))
        if self._bridge is not None:
            self._bridge.close()
        bridge = self._bridge = Bridge(self._host.clock, near.audio(), near.audio(), microphone, rate)
        bridge.uplink.on_restart = self._on_restart
        for track in self._tracks.values():
            bridge.add(track)

    async def _refuse(self, refused: Refused) -> None:
        try:
            await self._host.channel.request(Refuse(self.key, refused.code, refused.reason))
        except (ConnectionError, RuntimeError, TimeoutError):
            logger.warning("the edge does not hear a refusal", extra={"call_id": self.spec.call_id})
        self.end(f"refused: {refused.code} {refused.reason}")

    def _hang_up(self, reason: str, headers: Strings | None = None) -> None:
        """The room's side, or a limit, ends the call: the edge is told first, so that it can say so."""
        if not self._over.done():
            self._spawn(self._hang_up_now(reason, headers or {}))

    async def _hang_up_now(self, reason: str, headers: Strings) -> None:
        try:
            await self._host.channel.request(Hangup(self.key, reason, headers, self.room.attributes))
        except (ConnectionError, RuntimeError, TimeoutError):
            logger.warning("the edge does not hear a hang-up", extra={"call_id": self.spec.call_id})
        self.end(reason)

    async def _finish(self, reason: str) -> None:
        """Free everything, both sides at the same time, then say so."""
        if self._bridge is not None:
            self._bridge.close()
        for task in [*self._tasks]:
            task.cancel()
        ended = time.monotonic()
        await asyncio.gather(self._close_near(), self._leave())
        self._host.channel.send(Ended(self.key, reason, self._measured(ended)))

    async def _close_near(self) -> None:
        if self._near is not None:
            await self._near.close()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.room.leave()
        except TimeoutError:
            logger.warning("a room was not left in time", extra={"call_id": self.spec.call_id})

    def _measured(self, ended: float) -> dict[str, Any]:
        if self._near is None or not self._active_at:
            return {}
        rate = self._bridge.rate if self._bridge else NARROWBAND
        codec = "G722" if rate > NARROWBAND else "G711"
        return self._near.measured(codec) | {"duration_s": round(ended - self._active_at, 3)}

    # What baresip and the room say.

    def _attach(self, call: Call) -> NearLeg:
        self._near = NearLeg(call, self._on_ringing, self.end, self._on_far_digit)
        return self._near

    def _on_ringing(self) -> None:
        if self.spec.play_dialtone and self.spec.direction == "outbound":
            self._spawn(self._ring_room())

    async def _ring_room(self) -> None:
        """Ring-back into the room until the far end answers."""
        if self._near is None or self._near.established.done():
            return
        await self._open_bridge(self._near, NARROWBAND)
        if self._bridge is not None and not self._near.established.done():
            self._bridge.ring_room(True)

    def _on_far_digit(self, digit: str) -> None:
        self.press(digit)
        self._host.channel.send(Digits(self.key, digit))

    def _on_room_digit(self, digit: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._digits.put_nowait(digit)

    async def _send_digits(self, near: NearLeg) -> None:
        while True:
            digit = await self._digits.get()
            try:
                await near.press(digit)
            except BaresipError as error:
                logger.warning(
                    "a digit was not sent", extra={"call_id": self.spec.call_id, "error": str(error)}
                )

    def _on_speaker(self, track: rtc.RemoteAudioTrack) -> None:
        self._tracks[track.sid] = track
        if self._bridge is not None:
            self._bridge.add(track)
        self._heard_somebody()

    def _on_silence(self, sid: str) -> None:
        self._tracks.pop(sid, None)
        if self._bridge is not None:
            self._bridge.remove(sid)

    def _heard_somebody(self) -> None:
        if not self._heard.done():
            self._heard.set_result(None)

    def _on_restart(self) -> None:
        """Called on the clock's thread."""
        self._loop.call_soon_threadsafe(self._renegotiated)

    def _renegotiated(self) -> None:
        """The near leg's media is new: after a hold nothing changes, after another codec the rate may."""
        if self._near is not None and self._bridge is not None and not self._over.done():
            self._spawn(self._follow_codec(self._near, self._bridge))

    async def _follow_codec(self, near: NearLeg, bridge: Bridge) -> None:
        with contextlib.suppress(TimeoutError, Over):
            rate = await near.rate()
            if rate != bridge.rate:
                await self._open_bridge(near, rate)

    # Helpers.

    async def _until(self, work: Awaitable[_T]) -> _T:
        """The outcome of `work`. Raises `Over` if the call ends first."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                raise Over
            return task.result()
        finally:
            if task is not work and not task.done():
                task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("a call's task failed", extra={"call_id": self.spec.call_id, "error": repr(error)})
