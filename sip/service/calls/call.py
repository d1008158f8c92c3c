"""A phone call: a far leg, a near leg and a media process. What inbound and outbound calls share.

Whatever ends a call first decides how: it calls `end`, everything that waits in `until` stops, and
`_finish` tells the other parties, waits for the media process's last word, writes the record and frees
what the call held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from sip import codes
from sip.service.calls import mapping, negotiation
from sip.service.calls.info import info_digit, q850_cause, room_reason
from sip.service.calls.ladder import Ladder
from sip.service.calls.media_path import MediaPath
from sip.service.calls.record import Ending, Facts, summary
from sip.service.control import (
    Active,
    Answering,
    Attributes,
    Digits,
    End,
    Ended,
    Hangup,
    Joined,
    Message,
    Refuse,
    Relayed,
)
from sip.service.media_pool import MediaPool, MediaProcess
from sip.service.routing import Refused, Routing
from sip.service.settings import Settings
from sip.service.signalling.digest import Challenger
from sip.service.signalling.leg import Leg, Side
from sip.service.signalling.messages import Pairs, Request, Response, respond, set_all
from sip.service.signalling.transaction import ServerTransaction

logger = logging.getLogger(__name__)

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY"
LAST_WORD = 5.0
"""Seconds to wait for the media process's `Ended`."""
GOODBYE = 2.0
"""Seconds to wait for the far end's answer to our BYE."""
HOST = "127.0.0.1"

_T = TypeVar("_T")


class Over(Exception):
    """The call ended while something waited."""


class Desk(Protocol):
    """What calls need of the edge."""

    settings: Settings
    far: Side
    near: Side
    pool: MediaPool
    routing: Routing
    challenger: Challenger

    def opened(self, call: Call) -> None:
        """The call has a media process: control messages and near requests find it by its key."""
        ...

    async def closed(self, call: Call) -> None:
        """The call holds nothing any more."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for a call; kept until it is done."""
        ...

    def in_room(self, room: str, identity: str) -> bool:
        """Whether a call that stands is in this room under this identity."""
        ...

    def wrong_password(self, call_id: str) -> int:
        """How often this Call-ID has now answered a challenge wrongly."""
        ...


class Call:
    """One call. `run` carries it from its first message to its record."""

    def __init__(self, desk: Desk, facts: Facts, ladder: Ladder) -> None:
        self.desk, self.facts, self.ladder = desk, facts, ladder
        self.key = secrets.token_hex(8)
        self.far: Leg | None = None
        self.near: Leg | None = None
        self.media: MediaProcess | None = None
        self.participant_id = ""
        self.attributes: dict[str, str] = {}
        """The participant's, as the media process last reported them."""
        self.attributes_to_headers: dict[str, str] = {}
        self.session = negotiation.Session()
        self.path = MediaPath(self._tell_media, desk.far.media_host)
        self.active: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_notify: Callable[[Request], None] | None = None
        """Set while a REFER is under way."""
        self.on_digits: Callable[[str], None] | None = None
        """Set while a PIN is asked for: keys pressed go nowhere else."""
        self._over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._last_answer: Callable[[str], None] | None = None

    @property
    def over(self) -> asyncio.Future[Ending]:
        """Done as soon as something ended the call."""
        return self._over

    async def run(self) -> None:
        """Carry the call to its end; raises nothing."""
        try:
            await self._carry()
        except Over:
            pass
        except Refused as refused:
            self.facts.trunk_id = self.facts.trunk_id or refused.trunk_id
            headers = tuple(refused.headers)
            self.end(Ending("service", refused.why, refused.code, refused.phrase, headers))
        except Exception:
            # One call's fault must end that call and no other.
            logger.exception("a call failed", extra=self.log_fields())
            self.end(Ending("service", "internal error", 500))
        await self._finish(await self._over)

    def end(self, ending: Ending) -> None:
        """End the call; only the first one counts."""
        if not self._over.done():
            self._over.set_result(ending)

    async def until(self, work: Awaitable[_T]) -> _T:
        """The outcome of `work`. Raises `Over` if the call ends first."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                raise Over
            return task.result()
        finally:
            if not task.done():
                task.cancel()
            elif not task.cancelled():
                task.exception()

    def log_fields(self) -> dict[str, str]:
        """What a log line about this call carries; numbers stay out of messages."""
        return {
            "call_id": self.facts.call_id,
            "call_id_full": self.facts.call_id_full,
            "room": self.facts.room,
            "trunk": self.facts.trunk_id,
            "rule": self.facts.rule_id,
        }

    def mark(self, moment: str) -> None:
        """Note when something happened for the first time."""
        self.facts.times.setdefault(moment, time.time())

    # The media process.

    def hear(self, message: Message, answer: Callable[[str], None]) -> None:
        """What the media process says."""
        match message:
            case Joined():
                self.participant_id = message.participant_id
                answer("")
            case Relayed():
                self.path.open(message)
            case Answering():
                self.attributes = dict(message.attributes)
                answer("")
            case Digits():
                if self.on_digits:
                    self.on_digits(message.digits)
            case Active():
                self.mark("active")
                if not self.active.done():
                    self.active.set_result(None)
            case Refuse():
                self._room_ends(Ending("room", message.reason, message.code), answer)
            case Hangup():
                self.attributes.update(message.attributes)
                headers = tuple(message.headers.items())
                self._room_ends(Ending("room", message.reason, 480, headers=headers), answer)
            case Ended():
                if not self._ended.done():
                    self._ended.set_result(message)
                self.end(Ending("room", message.reason, 480))
            case _:
                answer("not expected here")

    def _tell_media(self, message: Message) -> None:
        if self.media:
            self.media.send(message)

    def _room_ends(self, ending: Ending, answer: Callable[[str], None]) -> None:
        """Answered once the far end was told, or at once when somebody else was quicker."""
        if self._over.done():
            answer("")
        else:
            self._last_answer = answer
            self.end(ending)

    def media_died(self) -> None:
        """Its process is gone."""
        if not self._ended.done():
            self._ended.set_result(Ended(self.key, "media process died"))
        self.end(Ending("service", "media process died", 500))

    # The near leg of an outbound call.

    def near_invited(self, transaction: ServerTransaction) -> None:
        """The media process calls out: only what `Dial` started may."""
        transaction.reply(481)

    def near_cancelled(self) -> None:
        """The media process gave up calling out."""
        self.end(Ending("room", "cancelled", 487))

    # Requests in either dialog.

    def on_request(self, leg: Leg, transaction: ServerTransaction) -> None:
        """A request in one of the two dialogs."""
        method = transaction.request.method
        if method == "BYE":
            self._on_bye(leg, transaction)
        elif method in ("INVITE", "UPDATE"):
            self.desk.spawn(negotiation.renegotiate(self, leg, transaction))
        elif method == "INFO" and leg is self.far:
            self._on_info(transaction)
        elif method == "NOTIFY" and leg is self.far:
            self._on_notify(transaction)
        elif method == "OPTIONS":
            transaction.respond(respond(transaction.request, 200, headers=[("Allow", ALLOW)]))
        elif method == "REFER":
            # A caller does not choose where our side of the call goes.
            transaction.reply(603)
        else:
            transaction.respond(respond(transaction.request, 405, headers=[("Allow", ALLOW)]))

    def on_ack(self, leg: Leg, ack: Request) -> None:
        """The ACK of a 2xx: it may bring the answer to an offer that we made."""
        self.session.on_ack(leg, ack)

    def _on_bye(self, leg: Leg, transaction: ServerTransaction) -> None:
        leg.ended = True
        transaction.respond(self._with_mapped(respond(transaction.request, 200), leg))
        if leg is self.far:
            reason = transaction.request.headers.get("Reason") or ""
            self.end(Ending("far", "hung up", 487, q850=q850_cause(reason)))
        else:
            self.end(Ending("room", "media hung up", 480))

    def _with_mapped(self, response: Response, leg: Leg) -> Response:
        if leg is self.far:
            set_all(response, mapping.to_headers(self.attributes, self.attributes_to_headers, {}))
        return response

    def _on_info(self, transaction: ServerTransaction) -> None:
        digit = info_digit(transaction.request)
        if digit is None:
            transaction.respond(
                respond(transaction.request, 415, headers=[("Accept", "application/dtmf-relay")])
            )
            return
        transaction.reply(200)
        if digit and self.on_digits:
            self.on_digits(digit)
        elif digit and self.media:
            self.media.send(Digits(self.key, digit))

    def _on_notify(self, transaction: ServerTransaction) -> None:
        event = (transaction.request.headers.get("Event") or "").split(";")[0].strip().lower()
        if event != "refer" or self.on_notify is None:
            transaction.reply(481 if event == "refer" else 489)
            return
        transaction.reply(200)
        self.on_notify(transaction.request)

    # Beginning and end; the two kinds of call fill these in.

    async def _carry(self) -> None:
        raise NotImplementedError

    def _end_far(self, ending: Ending, headers: Pairs) -> asyncio.Future[Response] | None:
        """Tell the far end, as far as it was told anything before; the answer to our BYE, if we sent one."""
        raise NotImplementedError

    def _end_near(self, ending: Ending) -> None:
        raise NotImplementedError

    async def _talk(self) -> Ending:
        """Until somebody hangs up."""
        logger.info("call answered", extra=self.log_fields())
        return await asyncio.shield(self._over)

    def _take_media(self) -> MediaProcess:
        """A media process for this call. Raises `Refused`."""
        media = self.desk.pool.pick()
        if media is None:
            raise Refused(503, "no media process is ready", headers=[("Retry-After", "5")])
        self.media = media
        media.calls.add(self.key)
        self.desk.opened(self)
        return media

    async def _request_media(self, message: Message, timeout: float) -> None:
        assert self.media
        try:
            await self.until(self.media.request(message, timeout))
        except (RuntimeError, TimeoutError, ConnectionError) as error:
            raise Refused(503, f"the media process cannot take the call: {error}") from error

    def _spec_defaults(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "call_id": self.facts.call_id,
            "direction": self.facts.direction,
            "edge": f"{HOST}:{self.desk.near.transport.port}",
            "alone_timeout": self.desk.settings.alone_timeout,
            "rtp_host": "" if self.desk.far.transport.host == HOST else self.desk.far.transport.host,
            "rtp_low": self.desk.settings.rtp_ports[0],
            "rtp_high": self.desk.settings.rtp_ports[1],
        }

    async def _finish(self, ending: Ending) -> None:
        self.mark("ended")
        ours = ending.by == "service"
        wanted = {} if ours else dict(ending.headers)
        headers = mapping.to_headers(self.attributes, self.attributes_to_headers, wanted)
        if ours:
            headers += ending.headers
        if ours and ending.code:
            headers.append(("Reason", f'SIP;cause={ending.code};text="{codes.phrase(ending.code)}"'))
        if ending.by == "room":
            headers.append(("Reason", room_reason(ending, answered="answered" in self.facts.times)))
        goodbye = self._end_far(ending, headers)
        if self._last_answer:
            self._last_answer("")
        if self.media:
            await self._finish_media(ending)
        if goodbye:
            # A lost BYE must still be repeated when the service is about to stop.
            await asyncio.wait({goodbye}, timeout=GOODBYE)
        self._log_end(ending)
        self._summarise(ending)
        for leg in (self.far, self.near):
            if leg:
                leg.close()
        if self.media:
            self.media.calls.discard(self.key)
        await self.desk.closed(self)

    async def _finish_media(self, ending: Ending) -> None:
        assert self.media
        if ending.by != "room":
            if self.active.done():
                self.media.send(Attributes(self.key, {mapping.CALL_STATUS: "hangup"}))
            self.media.send(End(self.key, ending.reason))
            self._end_near(ending)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._ended), LAST_WORD)
        if not self._ended.done():
            logger.warning("the media process did not say how the call ended", extra=self.log_fields())
        self._end_near(ending)

    def _log_end(self, ending: Ending) -> None:
        extra = {**self.log_fields(), "by": ending.by, "code": self.facts.code}
        if "answered" in self.facts.times:
            logger.info("call ended: %s", ending.reason, extra=extra)
        else:
            # A challenge is no refusal: the caller comes back with credentials.
            level = logging.INFO if self.facts.code in (401, 407) else logging.WARNING
            logger.log(level, "call refused with %d: %s", self.facts.code, ending.reason, extra=extra)

    def _summarise(self, ending: Ending) -> None:
        quality = self._ended.result().quality if self._ended.done() else {}
        self.ladder.summarise(summary(self.facts, ending, quality))
