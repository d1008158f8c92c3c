"""Changing a session in mid-call: re-INVITE and UPDATE, hold, session timers (RFC 3261 14, 3264, 3311, 4028).

An offer goes to the other leg only when it changes the media; a refresh is answered with what already stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sip.service.calls.media_path import MediaPath
from sip.service.control import Hold
from sip.service.media_pool import MediaProcess
from sip.service.signalling import sdp
from sip.service.signalling.leg import SDP, Leg
from sip.service.signalling.messages import Pairs, Request, respond, set_all
from sip.service.signalling.transaction import ServerTransaction

logger = logging.getLogger(__name__)

MIN_SESSION = 90
"""Seconds: the shortest session timer (RFC 4028 4)."""
ANSWER_WAIT = 12.0
"""Seconds that the other leg may take to answer an offer."""
ACK_WAIT = 32.0


@dataclass
class Session:
    """What both legs last said of their media."""

    far: bytes = b""
    near: bytes = b""
    busy: bool = False
    """Whether an offer is under way: another one gets 491."""
    held: bool = False
    acks: dict[int, asyncio.Future[bytes]] = field(default_factory=dict[int, asyncio.Future[bytes]])
    """Offers that we made in a 2xx, by CSeq: the ACK brings the answer."""

    def expect_answer(self, sequence: int) -> asyncio.Future[bytes]:
        """The body of the ACK with this number."""
        answer = self.acks[sequence] = asyncio.get_running_loop().create_future()
        return answer

    def on_ack(self, leg: Leg, ack: Request) -> None:
        """An ACK of one of our 2xx came."""
        answer = self.acks.pop(ack.sequence, None)
        if answer and not answer.done():
            answer.set_result(ack.body)


@dataclass(frozen=True)
class Timer:
    """A session timer that the far end asked for: what to answer, and whether the refresh is ours."""

    interval: int
    ours: bool

    @property
    def headers(self) -> Pairs:
        """Headers of the 2xx (RFC 4028 9). Without a wish of its own the far end refreshes."""
        refresher = "uas" if self.ours else "uac"
        return [("Require", "timer"), ("Session-Expires", f"{self.interval};refresher={refresher}")]


def session_timer(request: Request) -> Timer | None:
    """The timer that a request asks for. Raises `ValueError` for one that is too short."""
    text = request.headers.get("Session-Expires")
    if text is None or "timer" not in request.tokens("Supported") | request.tokens("Require"):
        return None
    number, _, parameters = text.partition(";")
    interval = int(number.strip())
    if interval < MIN_SESSION:
        raise ValueError("session timer is too short")
    return Timer(interval, "refresher=uas" in parameters.replace(" ", "").lower())


_T = TypeVar("_T")


class Call(Protocol):
    """What a change of a session needs of its call."""

    key: str
    session: Session
    far: Leg | None
    near: Leg | None
    path: MediaPath
    media: MediaProcess | None

    def log_fields(self) -> dict[str, str]:
        """What a log line about the call carries."""
        ...

    async def until(self, work: Awaitable[_T]) -> _T:
        """The outcome of `work`, unless the call ends first."""
        ...


async def renegotiate(call: Call, leg: Leg, transaction: ServerTransaction) -> None:
    """Answer a re-INVITE or UPDATE of either leg."""
    request, session = transaction.request, call.session
    try:
        timer = session_timer(request)
        leg.dialog.refresh(request)
    except ValueError:
        transaction.respond(respond(request, 422, headers=[("Min-SE", str(MIN_SESSION))]))
        return
    extra = timer.headers if timer else ()
    other = call.near if leg is call.far else call.far
    if request.method == "UPDATE" and not request.body:
        _accept(call, leg, transaction, b"", extra)
    elif other is None or not leg.established or not other.established or session.busy:
        transaction.reply(491)
    else:
        session.busy = True
        try:
            await _answer(call, leg, other, transaction, extra)
        finally:
            session.busy = False


async def _answer(call: Call, leg: Leg, other: Leg, transaction: ServerTransaction, extra: Pairs) -> None:
    request, session = transaction.request, call.session
    is_far = leg is call.far
    body = request.body if is_far else call.path.to_far(request.body)
    standing = session.near if is_far else session.far
    if not body:
        await _offer_ours(call, leg, other, transaction, standing, extra)
        return
    if request.content_type != SDP:
        transaction.respond(respond(request, 415, headers=[("Accept", SDP)]))
        return
    if is_far and not _usable(body):
        transaction.reply(488)
        return
    if _unchanged(session, body, is_far):
        _remember(call, is_far, body)
        _accept(call, leg, transaction, standing, extra)
        return
    code, answer = await _offer(call, other, body)
    if code >= 300 or not answer:
        logger.info("an offer was refused", extra={**call.log_fields(), "code": code, "leg": leg.side.name})
        transaction.reply(code if code in (408, 480, 488, 491, 606) else 488)
        return
    _remember(call, is_far, body)
    _remember(call, not is_far, answer)
    _accept(call, leg, transaction, answer, extra)


async def _offer_ours(
    call: Call, leg: Leg, other: Leg, transaction: ServerTransaction, standing: bytes, extra: Pairs
) -> None:
    """A re-INVITE without SDP asks for an offer; its ACK brings the answer."""
    is_far = leg is call.far
    waiting = call.session.expect_answer(transaction.request.sequence)
    _accept(call, leg, transaction, standing, extra)
    try:
        answer = await asyncio.wait_for(call.until(waiting), ACK_WAIT)
    except TimeoutError:
        return
    answer = answer if is_far else call.path.to_far(answer)
    if answer and not _unchanged(call.session, answer, is_far):
        code, theirs = await _offer(call, other, answer)
        if code < 300 and theirs:
            _remember(call, not is_far, theirs)
    if answer:
        _remember(call, is_far, answer)


async def _offer(call: Call, other: Leg, body: bytes) -> tuple[int, bytes]:
    """Offer `body` on a leg: its final code and its answer."""
    is_near = other is call.near
    body = call.path.to_near(body) if is_near else body
    try:
        response = await asyncio.wait_for(other.request("INVITE", body=body), ANSWER_WAIT)
    except TimeoutError:
        return 408, b""
    if response.code >= 300:
        return response.code, b""
    other.dialog.refresh(response)
    other.ack(response.sequence)
    return response.code, call.path.to_far(response.body) if is_near else response.body


def _accept(call: Call, leg: Leg, transaction: ServerTransaction, body: bytes, extra: Pairs) -> None:
    if leg is call.near:
        body = call.path.to_near(body)
    response = leg.dialog.response(transaction.request, 200)
    set_all(response, extra)
    if body:
        response.headers.set("Content-Type", SDP)
        response.body = body
    if transaction.invite:
        leg.accept(transaction, response)
    else:
        transaction.respond(response)


def _remember(call: Call, is_far: bool, body: bytes) -> None:
    """Keep what a leg said; tell the media process when the far end holds or comes back."""
    if not is_far:
        call.session.near = body
        return
    call.session.far = body
    try:
        held = sdp.audio(body).on_hold
    except ValueError:
        return
    if held != call.session.held and call.media:
        call.session.held = held
        call.media.send(Hold(call.key, held))


def _unchanged(session: Session, body: bytes, is_far: bool) -> bool:
    """A far refresh repeats its SDP; a near one may list more codecs, as long as the stream stays."""
    if is_far:
        return _without_version(body) == _without_version(session.far)
    return sdp.same_media(session.near, body)


def _without_version(body: bytes) -> list[bytes]:
    return [line.strip() for line in body.splitlines() if not line.startswith(b"o=")]


def _usable(body: bytes) -> bool:
    try:
        audio = sdp.audio(body)
    except ValueError:
        return False
    return audio.usable or audio.port == 0
