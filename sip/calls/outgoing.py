"""An outbound call with an agent: the room, the agent in it, the dialling, and what became of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sip import codes
from sip.calls.agent_job import AgentJob
from sip.calls.current import LiveCall, in_room
from sip.errors import ApiError, ConfigurationError, NotFound, SipError
from sip.model import OutboundTrunk

if TYPE_CHECKING:
    from livekit import api

    from sip.api.live import Live

RINGING = 30.0
"""Seconds that the far end may ring, LiveKit's default."""
WAITED = 70.0
"""Ringing times up to this long can be waited for in one request: livekit-server ends such a request after
80 s. Longer ones are dialled without waiting and then watched, at the price of the SIP code."""
AGENT_TIMEOUT = 15.0
"""Seconds for an agent to join: nobody shall be called by an agent that is not there."""
LOOK = 0.3
"""Seconds between looks at the participant: the API tells of changes to those only who join the room."""
EventName = Literal["room", "agent", "dialling", "ringing", "answered", "failed", "ended"]


@dataclass(frozen=True)
class Order:
    """A call to be made. Times are seconds, 0 means the server's default."""

    to: str = field(repr=False)
    trunk: OutboundTrunk
    agent: str = ""
    """Name of the agent; empty: nobody is dispatched, somebody is in `room` already."""
    metadata: str = ""
    """Given to the agent's job."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of the INVITE."""
    caller_id: str = field(default="", repr=False)
    ring_timeout: float = RINGING
    max_duration: float = 0
    dtmf: str = ""
    """Sent after the answer; `w` waits half a second."""
    room: str = ""
    """Empty: a new one."""


@dataclass(frozen=True)
class Event:
    """Something that happened. `seconds` since the order, `detail` in words."""

    name: EventName
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of the call."""

    answered: bool
    room: str
    call_id: str = ""
    call_id_full: str = ""
    code: int = 0
    """SIP code; 0 when it is not known."""
    why: str = ""
    duration: float = 0
    """Seconds from the answer to the end, where the end was waited for."""


Listener = Callable[[Event], None]
Until = Literal["dialled", "answered", "ended"]


def trunk_for(trunks: list[OutboundTrunk], name_or_id: str) -> OutboundTrunk:
    """The trunk that was named, or the only one. Raises `NotFound`."""
    from sip.api.live import choose

    if name_or_id:
        return choose(trunks, "outbound", name_or_id)
    if len(trunks) == 1:
        return trunks[0]
    if not trunks:
        raise NotFound("there is no outbound trunk", "", "Make one: `sip trunk outbound create --help`")
    names = ", ".join(sorted(trunk.name or trunk.id for trunk in trunks))
    raise ConfigurationError("which trunk?", f"there are {len(trunks)}: {names}", "Give --trunk NAME")


def check(order: Order) -> None:
    """Raise `ConfigurationError` for an order that no server would take; all problems at once."""
    problems: list[str] = []
    user = order.to.strip()
    if not user or "@" in user or ":" in user or any(char.isspace() for char in user):
        problems.append("TO is a number or extension; the trunk says where it goes, so no sip: and no host")
    known = [number for number in order.trunk.numbers if number != "*"]
    if order.caller_id and known and "*" not in order.trunk.numbers and order.caller_id not in known:
        problems.append("--caller-id is not among the trunk's numbers")
    if not order.caller_id and not known:
        problems.append("the trunk has no number of its own to call from (*): give --caller-id")
    if order.ring_timeout < 0 or order.max_duration < 0:
        problems.append("times cannot be negative")
    if problems:
        raise ConfigurationError("this call cannot be placed", "; ".join(problems))


async def place(live: Live, order: Order, tell: Listener, until: Until = "ended") -> Outcome:
    """Make the call and report what happens as it happens.

    A room of our own is removed when the call failed, and at the end. When the caller of this function is
    cancelled (Ctrl-C), the call is hung up first. Raises `ApiError` when LiveKit refuses a request, and
    `SipError` when no worker took the job of the agent.
    """
    check(order)
    return await _Placing(live, order, tell).run(until)


class _Placing:
    def __init__(self, live: Live, order: Order, tell: Listener) -> None:
        self._live, self._order, self._listener = live, order, tell
        self._started = time.monotonic()
        self._room = order.room or f"call-out-{secrets.token_hex(4)}"
        self._identity = f"callee-{secrets.token_hex(3)}"
        self._told: set[EventName] = set()
        self._last: LiveCall | None = None
        self._job: AgentJob | None = None

    async def run(self, until: Until) -> Outcome:
        keep = False
        try:
            await self._prepare()
            outcome = await self._dial(until)
            keep = outcome.answered and until != "ended"
            keep |= until == "dialled" and outcome.code == 0 and not outcome.why
            return outcome
        finally:
            if not keep:
                # Also after Ctrl-C: a phone must not go on ringing for nobody.
                await asyncio.shield(self._clear())

    def _tell(self, name: EventName, detail: str = "") -> None:
        if name not in self._told:
            self._told.add(name)
            self._listener(Event(name, time.monotonic() - self._started, detail))

    async def _prepare(self) -> None:
        from livekit import api

        live, order = self._live, self._order
        if not order.room:
            lifetime = round(order.ring_timeout + AGENT_TIMEOUT + 30)
            request = api.CreateRoomRequest(name=self._room, empty_timeout=lifetime, departure_timeout=5)
            await live.ask(live.api.room.create_room(request), "making the room")
        self._tell("room", self._room)
        if not order.agent:
            return
        self._job = await AgentJob.dispatch(live, self._room, order.agent, order.metadata)
        if not await self._job.joined(AGENT_TIMEOUT):
            raise SipError(
                f"no worker took the job of the agent {order.agent!r} within {AGENT_TIMEOUT:g} s",
                "none runs under this name, or all are full; nobody was called",
                f"Start one (AGENT_NAME={order.agent} python agent.py start), or see `sip doctor`",
            )
        self._tell("agent", order.agent)

    async def _dial(self, until: Until) -> Outcome:
        from livekit import api

        waits = self._order.ring_timeout <= WAITED and until != "dialled"
        self._tell("dialling", self._order.trunk.name or self._order.trunk.id)
        request = self._request(wait=waits)
        dialling = asyncio.ensure_future(
            self._live.api.sip.create_sip_participant(request, timeout=WAITED + 15 if waits else 35)
        )
        watching = asyncio.create_task(self._watch_ringing())
        try:
            info = await dialling
        except api.SipCallError as error:
            return self._failed(error.sip_status_code or 0, error.sip_status or "", error.code)
        except api.TwirpError as error:
            if error.code in ("canceled", "deadline_exceeded") and waits:
                return self._failed(0, "", error.code)
            raise await _explained(self._live, error) from error
        except (OSError, TimeoutError) as error:
            raise await _explained(self._live, error) from error
        finally:
            watching.cancel()
            dialling.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        if until == "dialled":
            return Outcome(False, self._room, info.sip_call_id)
        if not waits and not await self._answered():
            return self._failed(0, "", "no code is known of a call that may ring this long")
        answered = time.monotonic()
        self._tell("answered")
        self._last = await self._look() or self._last
        full = self._last.call_id_full if self._last else ""
        if until == "answered":
            return Outcome(True, self._room, info.sip_call_id, full, 200)
        while await self._look():  # noqa: ASYNC110 - the server has to be asked
            await asyncio.sleep(LOOK)
        duration = time.monotonic() - answered
        self._tell("ended", f"after {duration:.0f} s")
        return Outcome(True, self._room, info.sip_call_id, full, 200, duration=duration)

    def _request(self, *, wait: bool) -> api.CreateSIPParticipantRequest:
        from google.protobuf.duration_pb2 import Duration
        from livekit import api

        order = self._order
        request = api.CreateSIPParticipantRequest(
            sip_trunk_id=order.trunk.id,
            sip_call_to=order.to.strip(),
            sip_number=order.caller_id,
            room_name=self._room,
            participant_identity=self._identity,
            headers=dict(order.headers),
            dtmf=order.dtmf,
            wait_until_answered=wait,
            krisp_enabled=False,
        )
        if order.ring_timeout:
            request.ringing_timeout.CopyFrom(Duration(seconds=round(order.ring_timeout)))
        if order.max_duration:
            request.max_call_duration.CopyFrom(Duration(seconds=round(order.max_duration)))
        return request

    def _failed(self, code: int, status: str, otherwise: str) -> Outcome:
        if code:
            own_words = status and status != codes.phrase(code)
            why = f"{code} {status}" if own_words else f"{code} {codes.phrase(code)}: {codes.meaning(code)}"
        elif otherwise in ("canceled", "deadline_exceeded"):
            why = f"nobody answered within {self._order.ring_timeout or RINGING:g} s"
        else:
            why = f"it was not answered; {otherwise}"
        self._tell("failed", why)
        call = self._last
        return Outcome(
            False, self._room, call.call_id if call else "", call.call_id_full if call else "", code, why
        )

    async def _look(self) -> LiveCall | None:
        calls = await in_room(self._live, self._room)
        return next((call for call in calls if call.identity == self._identity), None)

    async def _watch_ringing(self) -> None:
        while True:
            with suppress(ApiError):  # the dialling itself tells what is wrong
                self._last = await self._look() or self._last
            if self._last and self._last.status == "ringing":
                self._tell("ringing")
            await asyncio.sleep(LOOK)

    async def _answered(self) -> bool:
        """Watch a call that was dialled without waiting; False when it left unanswered."""
        limit = time.monotonic() + self._order.ring_timeout + 10
        while time.monotonic() < limit:
            call = await self._look()
            if call is None:
                return False
            self._last = call
            if call.status == "ringing":
                self._tell("ringing")
            if call.status in ("active", "automation"):
                return True
            await asyncio.sleep(LOOK)
        return False

    async def _clear(self) -> None:
        """End what is left of the call: our own room with everybody in it, or our participant only."""
        from livekit import api

        room, live = self._live.api.room, self._live
        if self._job:
            await self._job.dismiss()
        gone: ApiError | None = None
        try:
            if self._order.room:
                who = api.RoomParticipantIdentity(room=self._room, identity=self._identity)
                await live.ask(room.remove_participant(who), "hanging up")
            else:
                await live.ask(room.delete_room(api.DeleteRoomRequest(room=self._room)), "removing the room")
        except ApiError as error:
            gone = error
        if gone is not None and gone.code not in ("not_found", "unreachable"):
            raise gone


async def _explained(live: Live, error: BaseException) -> ApiError:
    from sip.api.live import explain

    return explain(error, live.target, "dialling")
