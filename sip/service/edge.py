"""The edge: takes every SIP message, starts calls, and answers for itself what needs no call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import string
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sip.errors import ServiceError
from sip.service.calls.call import ALLOW, HOST, Call
from sip.service.calls.inbound import InboundCall
from sip.service.calls.ladder import Ladder
from sip.service.calls.record import Ending
from sip.service.control import Message
from sip.service.media_pool import Launch, MediaPool, MediaProcess, launch_media
from sip.service.rate import RateLimit
from sip.service.routing import Routing
from sip.service.settings import Settings
from sip.service.signalling import sdp
from sip.service.signalling.digest import Challenger
from sip.service.signalling.leg import SDP, Side, resolve
from sip.service.signalling.messages import Malformed, Pairs, Request, mark_source, parse, respond
from sip.service.signalling.peer import Peer, host_text, reply_to
from sip.service.signalling.transaction import ServerTransaction
from sip.service.signalling.transport import Transport

logger = logging.getLogger(__name__)

RETRY_AFTER = "5"
FAREWELL = 8.0
"""Seconds in which calls that are hung up at the end must be over."""
LADDER_LINGER = 6.0
"""Seconds for which late messages of an ended call (its ACK, retransmissions) still reach its ladder."""
MAX_REMEMBERED = 10_000
_LETTERS = string.ascii_letters + string.digits


class Edge:
    """Both sides, the media processes and the calls between them. `start`, `drain`, `stop`."""

    def __init__(self, settings: Settings, routing: Routing, launch: Launch = launch_media) -> None:
        loop = asyncio.get_running_loop()
        self.settings, self.routing = settings, routing
        self.challenger = Challenger()
        self.counts: Counter[str] = Counter()
        """What happened to messages, by name: `malformed`, `rate_limited`, `calls`, …"""
        self.draining = False
        far = Transport(self._far_message, lambda peer: self.far.transactions.unreachable(peer))
        near = Transport(self._near_message, lambda peer: None)
        self.far = Side("far", far, loop, settings.advertise)
        self.near = Side("near", near, loop)
        self.far.on_request, self.near.on_request = self._far_request, self._near_request
        self.far.on_sent = self._record_sent
        self.pool = MediaPool(settings.media_processes, self._hear, self._media_died, launch)
        self.on_opened: Callable[[Call], None] = lambda call: None
        self.on_closed: Callable[[Call], Awaitable[None]] = _unheard
        self.calls: dict[str, Call] = {}
        """Calls by their key."""
        self._inviting: dict[ServerTransaction, InboundCall] = {}
        self._ladders: dict[str, Ladder] = {}
        self._wrong: OrderedDict[str, int] = OrderedDict()
        self._rate = RateLimit(settings.invite_rate, loop.time)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Bind, and start the media processes. Raises `ServiceError`; what was started is stopped again."""
        try:
            await self.near.transport.listen(HOST, 0, tcp=False)
            await self.far.transport.listen(self.settings.host, self.settings.port)
            self.far.advertised_address = await _address(self.settings.advertise)
            await self.pool.start()
        except (ServiceError, asyncio.CancelledError):
            await self.stop()
            raise

    @property
    def address(self) -> str:
        """`host:port` of the public side."""
        return f"{host_text(self.far.transport.host)}:{self.far.transport.port}"

    async def drain(self, seconds: float) -> None:
        """Take no more calls; wait for those that stand, then hang them up."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            logger.warning("hanging up what still stands", extra={"calls": len(self.calls)})
            for call in [*self.calls.values(), *self._inviting.values()]:
                call.end(Ending("service", "the service stops", 503))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), FAREWELL)

    async def stop(self) -> None:
        """Stop everything now; stopping twice is safe."""
        self.draining = True
        await self.pool.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.far.transport.close()
        await self.near.transport.close()

    # What calls ask of the edge (`Desk`).

    def opened(self, call: Call) -> None:
        """The call has a media process."""
        self.calls[call.key] = call
        self.on_opened(call)

    async def closed(self, call: Call) -> None:
        """The call is over and holds nothing any more."""
        self.calls.pop(call.key, None)
        await self.on_closed(call)
        loop = asyncio.get_running_loop()
        loop.call_later(LADDER_LINGER, self._forget_ladder, call.facts.call_id_full, call.ladder)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done; a fault in it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(self._done)
        return task

    def in_room(self, room: str, identity: str) -> bool:
        """Whether a call that stands is in this room under this identity."""
        return any((call.facts.room, call.facts.identity) == (room, identity) for call in self.calls.values())

    def wrong_password(self, call_id: str) -> int:
        """Count one more wrong answer of this Call-ID."""
        count = self._wrong.pop(call_id, 0) + 1
        self._wrong[call_id] = count
        while len(self._wrong) > MAX_REMEMBERED:
            self._wrong.popitem(last=False)
        return count

    def ladder(self, call_id_full: str) -> Ladder:
        """A new ladder: from now on every far message of this Call-ID is written to it."""
        ladder = self._ladders[call_id_full] = Ladder(self.settings.records, call_id_full)
        return ladder

    @property
    def full(self) -> bool:
        """Whether no further call is taken."""
        return len(self.calls) + len(self._inviting) >= self.settings.max_calls

    def start_call(self, call: Call, then: Callable[[], None]) -> None:
        """Carry a call to its end."""
        self.counts["calls"] += 1
        self.spawn(call.run()).add_done_callback(lambda _: then())

    # Messages.

    def _far_message(self, data: bytes, source: Peer) -> None:
        try:
            message = parse(data)
        except Malformed as error:
            self._refuse_malformed(error, source)
            return
        request = message if isinstance(message, Request) else None
        if request:
            mark_source(request, source.host, source.port)
        ladder = self._ladders.get(message.call_id)
        if ladder is None and request and request.method == "INVITE" and not request.to_tag:
            if self._rate.exceeded(source.host):
                self.counts["rate_limited"] += 1
                reply = respond(request, 503, tag="busy", headers=[("Retry-After", RETRY_AFTER)])
                self.far.transport.send(reply.encode(), reply_to(request.via, source))
                return
            ladder = self.ladder(message.call_id)
        if ladder:
            ladder.add("in", source, data)
        message.body = sdp.on_this_host(message.body, source.host)
        self.far.transactions.receive(message, source)

    def _near_message(self, data: bytes, source: Peer) -> None:
        try:
            message = parse(data)
        except Malformed as error:
            logger.error("malformed message on the near leg", extra={"error": str(error)})
            return
        if isinstance(message, Request):
            mark_source(message, source.host, source.port)
        self.near.transactions.receive(message, source)

    def _refuse_malformed(self, error: Malformed, source: Peer) -> None:
        self.counts["malformed"] += 1
        # The first, and then ever fewer: a flood of garbage must not become a flood of log lines.
        if self.counts["malformed"].bit_count() == 1:
            extra = {"peer": str(source), "error": str(error), "so_far": self.counts["malformed"]}
            logger.warning("malformed SIP message", extra=extra)
        if error.answer is not None:
            self.far.transport.send(error.answer.encode(), reply_to(error.answer.via, source))

    def _record_sent(self, data: bytes, peer: Peer, call_id: str) -> None:
        ladder = self._ladders.get(call_id)
        if ladder:
            ladder.add("out", peer, data)

    def _forget_ladder(self, call_id_full: str, ladder: Ladder) -> None:
        if self._ladders.get(call_id_full) is ladder:
            del self._ladders[call_id_full]

    # Requests outside of dialogs.

    def _far_request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        match request.method:
            case "CANCEL":
                self._cancel(transaction)
            case _ if request.to_tag:
                transaction.reply(481)
            case "INVITE":
                self._invite(transaction)
            case "OPTIONS":
                self._options(transaction)
            case "BYE" | "UPDATE" | "INFO" | "NOTIFY" | "REFER" | "PRACK":
                transaction.reply(481, tag=secrets.token_hex(8))
            case _:
                headers: Pairs = [("Allow", ALLOW)]
                transaction.respond(respond(request, 405, tag=secrets.token_hex(8), headers=headers))

    def _invite(self, transaction: ServerTransaction) -> None:
        if self.draining or self.full:
            why = "draining" if self.draining else f"full ({self.settings.max_calls} calls)"
            self._turn_away(transaction, why)
            return
        transaction.reply(100)
        ladder = self._ladders.get(transaction.request.call_id) or self.ladder(transaction.request.call_id)
        call = InboundCall(self, transaction, new_call_id(), ladder)
        self._inviting[transaction] = call
        self.start_call(call, lambda: self._inviting.pop(transaction, None) and None)

    def _turn_away(self, transaction: ServerTransaction, why: str) -> None:
        self.counts["turned_away"] += 1
        call_id = transaction.request.call_id
        logger.warning("call refused with 503: %s", why, extra={"call_id_full": call_id})
        headers: Pairs = [("Retry-After", RETRY_AFTER)]
        transaction.respond(respond(transaction.request, 503, tag=secrets.token_hex(8), headers=headers))
        if ladder := self._ladders.get(call_id):
            ladder.summarise({"call_id_full": call_id, "code": 503, "ended_by": "service", "reason": why})
            asyncio.get_running_loop().call_later(LADDER_LINGER, self._forget_ladder, call_id, ladder)

    def _cancel(self, transaction: ServerTransaction) -> None:
        invite = self.far.transactions.cancelled(transaction.request)
        if invite is None:
            transaction.reply(481, tag=secrets.token_hex(8))
            return
        transaction.reply(200, tag=secrets.token_hex(8))
        call = self._inviting.get(invite)
        if call and not invite.answered:
            call.cancel()

    def _options(self, transaction: ServerTransaction) -> None:
        if self.draining:
            headers: Pairs = [("Retry-After", RETRY_AFTER)]
            response = respond(transaction.request, 503, tag=secrets.token_hex(8), headers=headers)
        else:
            headers = [
                ("Allow", ALLOW),
                ("Accept", SDP),
                ("Accept-Encoding", "identity"),
                ("Supported", "timer"),
            ]
            response = respond(transaction.request, 200, tag=secrets.token_hex(8), headers=headers)
        transaction.respond(response)

    def _near_request(self, transaction: ServerTransaction) -> None:
        """A media process calls out, or speaks of a call that is gone."""
        request = transaction.request
        if request.method == "CANCEL":
            invite = self.near.transactions.cancelled(request)
            transaction.reply(200 if invite else 481)
            if invite and not invite.answered:
                self._near_call(invite.request, lambda call: call.near_cancelled())
        elif request.method == "INVITE" and not request.to_tag:
            transaction.reply(100)
            if not self._near_call(request, lambda call: call.near_invited(transaction)):
                transaction.reply(404, tag=secrets.token_hex(8))
        elif request.method == "OPTIONS":
            transaction.reply(200, tag=secrets.token_hex(8))
        else:
            transaction.reply(481)

    def _near_call(self, invite: Request, tell: Callable[[Call], None]) -> bool:
        """Tell the call that a near INVITE is for (`sip:<key>@<edge>`); False when there is none."""
        key = invite.uri.partition(":")[2].partition("@")[0]
        call = self.calls.get(key)
        if call:
            tell(call)
        return call is not None

    # Media processes.

    def _hear(self, media: MediaProcess, message: Message, answer: Callable[[str], None]) -> None:
        call = self.calls.get(getattr(message, "key", ""))
        if call and call.media is media:
            call.hear(message, answer)
        else:
            answer("no such call")

    def _media_died(self, media: MediaProcess) -> None:
        for call in [call for call in self.calls.values() if call.media is media]:
            call.media_died()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("internal error", exc_info=error)


def new_call_id() -> str:
    """LiveKit's id of a call."""
    return "SCL_" + "".join(secrets.choice(_LETTERS) for _ in range(12))


async def _address(name: str) -> str:
    """The address of what is advertised; empty for nothing. Raises `ServiceError`."""
    if not name:
        return ""
    try:
        return (await resolve(Peer("udp", name, 0))).host
    except OSError as error:
        mend = "Set SIP_ADVERTISE to an IP address, or to a name that this machine can look up."
        raise ServiceError(f"SIP_ADVERTISE={name} has no address", str(error), mend) from error


async def _unheard(call: Call) -> None:
    """Nobody wants to know."""
