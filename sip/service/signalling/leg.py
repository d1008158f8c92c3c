"""One leg of a call: a dialog, and the transactions in it. A `Side` is the face of the edge it is on."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from sip.service.signalling import digest
from sip.service.signalling.dialog import Dialog
from sip.service.signalling.messages import Pairs, Request, Response, set_all
from sip.service.signalling.peer import Peer, host_text, is_address, is_private, next_hop
from sip.service.signalling.transaction import (
    ClientTransaction,
    Clock,
    ServerTransaction,
    State,
    Transactions,
)
from sip.service.signalling.transport import Transport, local_address

SDP = "application/sdp"
_CALL_ID = re.compile(rb"\r\nCall-ID: ([^\r]*)")


class Owner(Protocol):
    """The call that a leg belongs to."""

    def on_request(self, leg: Leg, transaction: ServerTransaction) -> None:
        """A request in the leg's dialog."""
        ...

    def on_ack(self, leg: Leg, ack: Request) -> None:
        """The ACK of a 2xx that this leg sent."""
        ...


class Side:
    """The far or the near face: its socket, its transactions and its legs by their local tag."""

    def __init__(self, name: str, transport: Transport, clock: Clock, advertise: str = "") -> None:
        self.name, self.transport, self._advertise = name, transport, advertise
        self.advertised_address = ""
        """What the advertised name means, for SDP, where a name is not understood everywhere."""
        self.legs: dict[str, Leg] = {}
        self.on_request: Callable[[ServerTransaction], None] = _unanswered
        """Gets requests outside of any dialog."""
        self.on_sent: Callable[[bytes, Peer, str], None] = _unrecorded
        """Sees every message that is sent, with its Call-ID."""
        self.transactions = Transactions(self.send, clock, self.sent_by, self._request, self._ack)

    def send(self, data: bytes, peer: Peer) -> None:
        """Send a message, and record it."""
        found = _CALL_ID.search(data)
        self.on_sent(data, peer, found.group(1).decode() if found else "")
        self.transport.send(data, peer)

    def sent_by(self, peer: Peer) -> str:
        """Our `host:port` as this peer reaches it."""
        return f"{host_text(self._host(peer, self._advertise))}:{self.transport.port}"

    def media_host(self, peer: Peer) -> str:
        """Our address for RTP as this peer reaches it; an address also where a name is advertised."""
        return self._host(peer, self.advertised_address or self._advertise)

    def _host(self, peer: Peer, advertised: str) -> str:
        host = advertised or self.transport.host
        return local_address(peer.host) if host in ("0.0.0.0", "::") else host

    def contact(self, peer: Peer, user: str = "") -> str:
        """Our Contact as this peer should use it."""
        user = f"{user}@" if user else ""
        transport = ";transport=tcp" if peer.reliable else ""
        return f"<sip:{user}{self.sent_by(peer)}{transport}>"

    def _request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        leg = self.legs.get(request.to_tag) if request.to_tag else None
        if leg is None or request.method == "CANCEL":
            self.on_request(transaction)
        elif leg.dialog.call_id != request.call_id or leg.dialog.remote_tag != request.from_tag:
            transaction.reply(481)
        elif not leg.dialog.in_order(request):
            transaction.reply(500, "CSeq Out Of Order")
        else:
            leg.owner.on_request(leg, transaction)

    def _ack(self, ack: Request) -> None:
        leg = self.legs.get(ack.to_tag)
        if leg and leg.dialog.call_id == ack.call_id:
            leg.acknowledged(ack)


class Leg:
    """A dialog on a side. `flow` is the peer that its first message came from or went to."""

    def __init__(self, side: Side, dialog: Dialog, flow: Peer, owner: Owner) -> None:
        self.side, self.dialog, self.flow, self.owner = side, dialog, flow, owner
        self.established = False
        """Whether the INVITE was answered with 2xx; a BYE is then due."""
        self.ended = False
        """Whether a BYE was sent or came."""
        self.remote_allow: set[str] = set()
        self.credentials: digest.Credentials | None = None
        """What answers a challenge in mid-call."""
        self._offers: dict[int, ServerTransaction] = {}
        """INVITEs of the other side that were answered with 2xx and await their ACK, by number."""
        side.legs[dialog.local_tag] = self

    def accept(self, transaction: ServerTransaction, response: Response) -> None:
        """Answer an INVITE with 2xx, which is repeated until its ACK comes."""
        if transaction.answered:
            return
        self.established = True
        self._offers[transaction.request.sequence] = transaction
        transaction.respond(response)

    def acknowledged(self, ack: Request) -> None:
        """The ACK of one of our 2xx."""
        transaction = self._offers.pop(ack.sequence, None)
        if transaction:
            transaction.acknowledged()
            self.owner.on_ack(self, ack)

    def request(
        self, method: str, headers: Pairs = (), body: bytes = b"", content_type: str = SDP
    ) -> asyncio.Future[Response]:
        """Send a request in the dialog now; its final response later. An INVITE's 2xx still needs `ack`."""
        request = self._build(method, headers, body, content_type)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        authorization = digest.Authorization(self.credentials)

        def on_response(response: Response) -> None:
            if response.code < 200:
                return
            if authorization.answer(response, method, self.dialog.target, body):
                again = self._build(method, [*headers, *authorization.headers], body, content_type)
                self.side.transactions.request(again, self.peer, on_response)
            elif not answer.done():
                answer.set_result(response)
            elif method == "INVITE" and response.code < 300:
                self.ack(response.sequence)

        self.side.transactions.request(request, self.peer, on_response)
        return answer

    def ack(self, sequence: int, body: bytes = b"", headers: Pairs = ()) -> None:
        """Acknowledge a 2xx (13.2.2.4): a request of its own, sent once for each 2xx that comes."""
        request = self._build("ACK", headers, body, SDP, sequence)
        self.side.transactions.stamp(request, self.peer)
        self.side.send(request.encode(), self.peer)

    def bye(self, headers: Pairs = ()) -> asyncio.Future[Response] | None:
        """End the dialog; the answer changes nothing. None when there is nothing to end (any more)."""
        if not self.established or self.ended:
            return None
        self.ended = True
        return self.request("BYE", headers)

    def close(self) -> None:
        """Forget the leg; requests for it then get 481."""
        self.side.legs.pop(self.dialog.local_tag, None)

    @property
    def peer(self) -> Peer:
        """Where requests in this dialog go (12.2.1.1)."""
        if self.flow.reliable and self.side.transport.connected(self.flow):
            return self.flow
        try:
            hop = next_hop(self.dialog.next_hop)
        except ValueError:
            return self.flow
        behind_nat = is_private(hop.host) and not is_private(self.flow.host)
        # A Contact behind a NAT leads nowhere; a name leads to where the dialog's first message came from.
        return self.flow if behind_nat or not is_address(hop.host) else hop

    def _build(
        self, method: str, headers: Pairs, body: bytes, content_type: str, sequence: int = 0
    ) -> Request:
        request = self.dialog.request(method, sequence)
        set_all(request, headers)
        if body:
            request.headers.set("Content-Type", content_type)
            request.body = body
        return request


class Invitation:
    """An INVITE that goes out in a leg, up to its final response. It can be cancelled at any time."""

    def __init__(self, leg: Leg, headers: Pairs, body: bytes, peer: Peer) -> None:
        self._leg, self._peer = leg, peer
        self._queue: asyncio.Queue[Response] = asyncio.Queue()
        self._cancelled = self._ringing = False
        self.final: Response | None = None
        self.request = leg._build("INVITE", headers, body, SDP)
        self.ack_headers: Pairs = ()
        self._ack_body: bytes | None = None
        self._client: ClientTransaction = leg.side.transactions.request(self.request, peer, self._on_response)

    @property
    def pending(self) -> bool:
        """Whether a final response is still to come."""
        return self.final is None

    async def responses(self) -> AsyncIterator[Response]:
        """Every response up to the final one. A 2xx has already confirmed the dialog; it needs `ack`."""
        while True:
            response = await self._queue.get()
            yield response
            if response.code >= 200:
                return

    def ack(self, body: bytes = b"") -> None:
        """Acknowledge the 2xx, and its repetitions."""
        self._ack_body = body
        self._leg.ack(self.request.sequence, body, self.ack_headers)

    def cancel(self) -> None:
        """Give up: CANCEL as soon as that is allowed, BYE if the answer crossed it. Twice is safe."""
        if self._cancelled or not self.pending:
            return
        self._cancelled = True
        if self._ringing:
            self._send_cancel()

    def _send_cancel(self) -> None:
        if self._client.state in (State.TRYING, State.PROCEEDING):
            self._leg.side.transactions.cancel(self._client)

    def forget(self) -> None:
        """Stop waiting for an answer that will not come."""
        if self.pending:
            self._client.terminate()

    def _on_response(self, response: Response) -> None:
        if response.code < 200:
            first, self._ringing = not self._ringing, True
            if self._cancelled and first:
                self._send_cancel()
        elif self.final is None:
            self._finish(response)
        elif 200 <= response.code < 300:
            if response.to_tag != self._leg.dialog.remote_tag:
                self._drop_fork(response)
            elif self._ack_body is not None:
                self.ack(self._ack_body)
            return
        self._queue.put_nowait(response)

    def _finish(self, response: Response) -> None:
        self.final = response
        if response.code >= 300:
            return
        try:
            self._leg.dialog.confirm(response)
        except ValueError:
            # No Contact: requests go where the INVITE went.
            self._leg.dialog.remote_tag = response.to_tag
        self._leg.established = True
        self._leg.remote_allow = {method.upper() for method in response.tokens("Allow")}
        if self._cancelled:
            # The answer crossed our CANCEL (RFC 3261 15): hang up on it.
            self.ack()
            self._leg.bye()

    def _drop_fork(self, response: Response) -> None:
        """A second phone answered (13.2.2.4): acknowledge it and hang up on it."""
        fork = Dialog(
            self._leg.dialog.call_id,
            self._leg.dialog.local_tag,
            self._leg.dialog.local,
            response.headers["To"],
            self._leg.dialog.target,
            self._leg.dialog.contact,
            sequence=self.request.sequence,
        )
        with contextlib.suppress(ValueError):
            fork.confirm(response)
        transactions = self._leg.side.transactions
        ack = fork.request("ACK", self.request.sequence)
        transactions.stamp(ack, self._peer)
        self._leg.side.send(ack.encode(), self._peer)
        transactions.request(fork.request("BYE"), self._peer, _ignore)


async def resolve(peer: Peer) -> Peer:
    """The peer with its name looked up (A or AAAA records). Raises `OSError`."""
    if is_address(peer.host):
        return peer
    found = await asyncio.get_running_loop().getaddrinfo(peer.host, peer.port)
    return Peer(peer.transport, str(found[0][4][0]), peer.port)


def _unanswered(transaction: ServerTransaction) -> None:
    transaction.reply(481)


def _unrecorded(data: bytes, peer: Peer, call_id: str) -> None:
    """Nobody records."""


def _ignore(response: Response) -> None:
    """The outcome changes nothing."""
