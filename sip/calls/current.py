"""Calls that are on the line now: who, over which trunk, with which agent; hanging up and transferring them.

Everything is read from rooms and participants (`sip.*` attributes), so it is the same for livekit-sip,
LiveKit Cloud and the embedded service. livekit-server keeps no list of calls of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sip import codes
from sip.errors import ApiError, ConfigurationError, NotFound
from sip.model import record_stem

if TYPE_CHECKING:
    from livekit.protocol import models

    from sip.api.live import Live

Direction = Literal["inbound", "outbound"]
AT_ONCE = 16
"""Rooms asked about at the same time."""
TRANSFER_TIMEOUT = 30.0
"""Seconds that the target of a transfer may ring."""
SETTLED = 0.3
"""Seconds in which a participant whose call is over has left the room."""


@dataclass(frozen=True)
class LiveCall:
    """One SIP participant in a room. Numbers are not part of its `repr`."""

    room: str
    identity: str = field(repr=False)
    direction: Direction
    status: str
    """`sip.callStatus`: dialing, ringing, automation, active, hangup."""
    far: str = field(default="", repr=False)
    """The far end's number; empty when it is hidden."""
    ours: str = field(default="", repr=False)
    """The number that was called, or that we called from."""
    call_id: str = ""
    """`SCL_…`."""
    call_id_full: str = ""
    """The SIP Call-ID; the call's records are named after it."""
    trunk_id: str = ""
    rule_id: str = ""
    agents: tuple[str, ...] = ()
    """Agents in the room: their names where they are known, else their identities."""
    since: float = 0
    """Unix seconds at which it joined the room."""

    def seconds(self, now: float = 0) -> float:
        """How long it has been in the room."""
        return max(0.0, (now or time.time()) - self.since) if self.since else 0.0


@dataclass(frozen=True)
class Transferred:
    """What became of a transfer."""

    outcome: Literal["transferred", "unconfirmed", "ended", "failed"]
    """`unconfirmed`: the API says success, and the call was over when it said so: a PBX hangs up at once, and
    so may the caller have done; `ended`: the call ended, and nobody ever said that it got there."""
    code: int = 0
    """SIP code of the refusal; 0 when there is none."""
    why: str = ""


async def on_line(live: Live) -> list[LiveCall]:
    """All calls, the longest first."""
    from livekit import api

    listed = await live.ask(live.api.room.list_rooms(api.ListRoomsRequest()), "reading rooms")
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(room: str) -> list[LiveCall]:
        async with gate:
            return await in_room(live, room)

    found = await asyncio.gather(*(look(room.name) for room in listed.rooms))
    return sorted((call for calls in found for call in calls), key=lambda call: (call.since, call.room))


async def in_room(live: Live, room: str) -> list[LiveCall]:
    """The calls of one room; none when there is no such room."""
    from livekit import api
    from livekit.protocol import models

    try:
        request = live.api.room.list_participants(api.ListParticipantsRequest(room=room))
        people = (await live.ask(request, f"reading room {room}")).participants
    except ApiError as error:
        if error.code == "not_found":  # it was closed since the rooms were read
            return []
        raise
    callers = [each for each in people if each.kind == models.ParticipantInfo.SIP]
    if not callers:
        return []
    agents = [each for each in people if each.kind == models.ParticipantInfo.AGENT]
    names = await _agent_names(live, room) if agents else {}
    shown = tuple(sorted(names.get(each.identity) or each.name or each.identity for each in agents))
    return [_call(room, each, shown) for each in callers]


async def busy(live: Live) -> Mapping[str, int]:
    """How many calls each trunk has now, by its id; a trunk without calls is not in it."""
    return Counter(call.trunk_id for call in await on_line(live) if call.trunk_id)


def choose(calls: Iterable[LiveCall], reference: str) -> LiveCall:
    """The call that a room, identity, call id, the beginning of one, or a row number means.

    Raises `NotFound` for none and for several.
    """
    calls = list(calls)
    if reference.isdecimal() and 1 <= int(reference) <= len(calls) and len(reference) < 4:
        return calls[int(reference) - 1]
    exact = [call for call in calls if reference in _references(call)]
    near = exact or [
        call for call in calls if any(each.startswith(reference) for each in _references(call)) and reference
    ]
    if len(near) == 1:
        return near[0]
    if near:
        ids = ", ".join(call.call_id or call.room for call in near)
        raise NotFound(f"{len(near)} calls answer to {reference!r}", ids, "Give the id of the one you mean")
    mend = "`sip calls` shows who is on the line" if calls else "Nobody is on the line"
    raise NotFound(f"no call answers to {reference!r}", "", mend)


async def hang_up(live: Live, call: LiveCall) -> bool:
    """End the call's SIP leg; the room and whoever else is in it stay. False when it was over already."""
    from livekit import api

    who = api.RoomParticipantIdentity(room=call.room, identity=call.identity)
    try:
        await live.ask(live.api.room.remove_participant(who), "hanging up")
    except ApiError as error:
        if error.code == "not_found":
            return False
        raise
    return True


async def transfer(
    live: Live,
    call: LiveCall,
    to: str,
    *,
    headers: Mapping[str, str] | None = None,
    ringing_timeout: float = TRANSFER_TIMEOUT,
    dialtone: bool = False,
    records: Path | None = None,
) -> Transferred:
    """Send the far end to `to` by REFER, and say what became of it.

    `records` is the directory of the SIP service's records, where it is on this machine: the ladder tells
    what the API does not. Raises `ApiError` when the request itself could not be made.
    """
    from google.protobuf.duration_pb2 import Duration
    from livekit import api
    from livekit.protocol import sip as pb

    request = api.TransferSIPParticipantRequest(
        room_name=call.room,
        participant_identity=call.identity,
        transfer_to=target_uri(to),
        headers=dict(headers or {}),
        play_dialtone=dialtone,
        ringing_timeout=Duration(seconds=max(1, round(ringing_timeout))),
    )
    started = time.time()
    try:
        answer = await live.api.sip.transfer_sip_participant(request, timeout=ringing_timeout + 10)
    except api.SipCallError as error:
        code = error.sip_status_code or 0
        why = error.sip_status or codes.phrase(code) if code else _plain(error.message)
        return await _not_transferred(live, call, code, why)
    except api.TwirpError as error:
        if error.code in ("deadline_exceeded", "canceled"):
            return await _not_transferred(live, call, 408, "the target did not answer in time")
        if error.code in ("failed_precondition", "unavailable", "aborted"):
            return await _not_transferred(live, call, 0, _plain(error.message))
        return await live.ask(_again(error), "transferring the call")
    except (OSError, TimeoutError) as error:
        return await live.ask(_again(error), "transferring the call")
    # LiveKit Cloud says how it went; livekit-server 1.13 answers with nothing (0).
    if answer.status == pb.SIPTransferStatus.STS_TRANSFER_FAILED:
        code = int(answer.sip_status.code)
        return Transferred("failed", code, answer.sip_status.status or codes.phrase(code))
    if answer.status == pb.SIPTransferStatus.STS_TRANSFER_SUCCESSFUL:
        return Transferred("transferred")
    told = ladder_says(records, call.call_id_full, started) if records else None
    if told is not None:
        return told
    # A leg that stands a moment later was not over when the server answered; one that is on its way out of
    # the room may still be listed at once.
    await asyncio.sleep(SETTLED)
    if any(each.identity == call.identity for each in await in_room(live, call.room)):
        return Transferred("transferred")
    return Transferred(
        "unconfirmed",
        why="the call was over when the server answered; a PBX that hangs up at once does that,"
        " and so does a caller who hung up",
    )


async def _not_transferred(live: Live, call: LiveCall, code: int, why: str) -> Transferred:
    """`failed` while the call goes on, `ended` when it is over."""
    standing = any(each.identity == call.identity for each in await in_room(live, call.room))
    return Transferred("failed" if standing else "ended", code, why)


def _plain(message: str) -> str:
    """An error's text without the words of the protocol that carried it."""
    return re.sub(r"^twirp error \w+: ", "", message)


def ladder_says(records: Path, call_id_full: str, since: float) -> Transferred | None:
    """What the far end itself told of the transfer (RFC 3515: NOTIFY with a status line); None: no record."""
    path = records / f"{record_stem(call_id_full)}.ladder.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    ended = False
    for line in lines:
        if line["t"] < since - 1 or line["dir"] != "in":
            continue
        if line["first"].startswith("NOTIFY "):
            status = line["text"].partition("\r\n\r\n")[2].strip()
            code = int(status[8:11]) if status[:8] == "SIP/2.0 " and status[8:11].isdecimal() else 0
            if 200 <= code < 300:
                return Transferred("transferred", code)
        ended |= line["first"].startswith("BYE ")
    if ended:
        return Transferred("ended", why="the far end hung up and never said that the transfer had got there")
    return None


def target_uri(to: str) -> str:
    """A SIP or tel URI; a bare phone number becomes `tel:`. Raises `ConfigurationError` for anything else."""
    to = to.strip().removeprefix("<").removesuffix(">")
    if to.lower().startswith(("sip:", "sips:", "tel:")) and to.partition(":")[2]:
        return to
    digits = to.translate(str.maketrans("", "", " -().")).removeprefix("+")
    if digits.isdecimal():
        return f"tel:{'+' if to.startswith('+') else ''}{digits}"
    if "@" in to and " " not in to:
        return f"sip:{to}"
    raise ConfigurationError(
        f"{to!r} is nothing to transfer to",
        "it is neither a number nor an address",
        "Write tel:+15550123, sip:desk@pbx.example, or a number",
    )


def masked(number: str) -> str:
    """A number or identity of which only the ends are shown: `+15…00`."""
    return (
        number if len(number) < 3 else f"{number[:3]}…{number[-2:]}" if len(number) > 7 else f"…{number[-2:]}"
    )


async def _again(error: BaseException) -> Transferred:
    raise error


async def _agent_names(live: Live, room: str) -> dict[str, str]:
    """Identity → name of the agents that were dispatched to a room."""
    try:
        found = await live.ask(live.api.agent_dispatch.list_dispatch(room), "reading dispatches")
    except ApiError as error:
        if error.code in ("not_found", "unauthenticated", "permission_denied"):
            return {}
        raise
    return {
        job.state.participant_identity: dispatch.agent_name
        for dispatch in found
        for job in dispatch.state.jobs
        if job.state.participant_identity
    }


def _references(call: LiveCall) -> tuple[str, ...]:
    return tuple(
        each for each in (call.room, call.identity, call.call_id, call.call_id_full, call.far) if each
    )


def _call(room: str, person: models.ParticipantInfo, agents: tuple[str, ...]) -> LiveCall:
    found = person.attributes
    return LiveCall(
        room=room,
        identity=person.identity,
        # Only a call that came through a dispatch rule carries the rule's id.
        direction="inbound" if found.get("sip.ruleID") else "outbound",
        status=found.get("sip.callStatus", ""),
        far=found.get("sip.phoneNumber", ""),
        ours=found.get("sip.trunkPhoneNumber", ""),
        call_id=found.get("sip.callID", ""),
        call_id_full=found.get("sip.callIDFull", ""),
        trunk_id=found.get("sip.trunkID", ""),
        rule_id=found.get("sip.ruleID", ""),
        agents=agents,
        since=(person.joined_at_ms / 1000) or float(person.joined_at),
    )
