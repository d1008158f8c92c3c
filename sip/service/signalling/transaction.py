"""SIP transactions (RFC 3261 17, RFC 6026): retransmission and matching, with no socket and no clock.

Timers run on any `Clock` (an asyncio loop is one); messages leave through a `send` function. A request that
times out ends with a response made here: 408, or 503 when its peer cannot be reached (RFC 3261 8.1.3.1).
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable
from typing import Protocol

from sip.service.signalling.messages import Request, Response, respond
from sip.service.signalling.peer import Peer, reply_to

T1, T2, T4 = 0.5, 4.0, 5.0
"""Seconds: round-trip estimate, longest retransmission interval, longest life of a message in the network."""
COOKIE = "z9hG4bK"

Send = Callable[[bytes, Peer], None]
ServerKey = tuple[str, str, str]


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Never make it."""
        ...


class Clock(Protocol):
    """What an asyncio loop gives."""

    def time(self) -> float:
        """Seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back after `delay` seconds."""
        ...


class State(enum.Enum):
    """States of all four machines."""

    TRYING = "trying"
    """Nothing heard (client) or said (server); RFC 3261 calls an INVITE client's "calling"."""
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    """INVITE with a 2xx: its copies and, at the client, repeated 2xx still belong here (RFC 6026)."""
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class _Transaction:
    def __init__(self, request: Request, peer: Peer, send: Send, clock: Clock) -> None:
        self.request, self.peer = request, peer
        self.state = State.TRYING
        self.on_end: Callable[[], None] = _nothing
        self._send, self._clock = send, clock
        self._repeat: Timer | None = None
        self._limit: Timer | None = None

    @property
    def invite(self) -> bool:
        """Whether it is an INVITE's."""
        return self.request.method == "INVITE"

    def terminate(self) -> None:
        """Forget everything; terminating twice is safe."""
        self._stop()
        if self.state is not State.TERMINATED:
            self.state = State.TERMINATED
            self.on_end()

    def _stop(self) -> None:
        for timer in (self._repeat, self._limit):
            if timer:
                timer.cancel()
        self._repeat = self._limit = None

    def _repeat_every(self, interval: float, longest: float, data: bytes) -> None:
        """Send again after `interval`, then after twice that, at most `longest` apart."""

        def again() -> None:
            self._send(data, self.peer)
            self._repeat_every(min(interval * 2, longest), longest, data)

        self._repeat = self._clock.call_later(interval, again)

    def _within(self, seconds: float, then: Callable[[], None]) -> None:
        if self._limit:
            self._limit.cancel()
        self._limit = self._clock.call_later(seconds, then)


class ServerTransaction(_Transaction):
    """A request that came in. `peer` is where responses go."""

    def __init__(self, request: Request, source: Peer, send: Send, clock: Clock) -> None:
        super().__init__(request, reply_to(request.via, source), send, clock)
        self.source = source
        self.on_no_ack: Callable[[], None] = _nothing
        """Called when a 2xx was never acknowledged (64 × T1)."""
        self._last = b""

    @property
    def answered(self) -> bool:
        """Whether a final response was sent."""
        return self.state not in (State.TRYING, State.PROCEEDING)

    def respond(self, response: Response) -> None:
        """Send a response; nothing happens after a final one."""
        if self.answered:
            return
        self._last = response.encode()
        self._send(self._last, self.peer)
        if response.code < 200:
            self.state = State.PROCEEDING
        elif not self.invite:
            self.state = State.COMPLETED
            self._linger(0 if self.peer.reliable else 64 * T1)
        elif response.code < 300:
            # RFC 3261 13.3.1.4: 2xx are repeated over reliable transports, too.
            self.state = State.ACCEPTED
            self._repeat_every(T1, T2, self._last)
            self._within(64 * T1, self._never_acknowledged)
        else:
            self.state = State.COMPLETED
            if not self.peer.reliable:
                self._repeat_every(T1, T2, self._last)
            self._within(64 * T1, self.terminate)

    def reply(self, code: int, phrase: str = "", tag: str = "") -> None:
        """Send a bare response."""
        self.respond(respond(self.request, code, phrase, tag=tag))

    def receive(self, request: Request) -> None:
        """A copy of the request, or the ACK of a final response that was no 2xx."""
        if request.method == "ACK":
            if self.state is State.COMPLETED:
                self._stop()
                self.state = State.CONFIRMED
                self._linger(0 if self.peer.reliable else T4)
        elif self.state in (State.PROCEEDING, State.COMPLETED) and self._last:
            self._send(self._last, self.peer)

    def acknowledged(self) -> None:
        """The ACK of the 2xx came (in a transaction of its own)."""
        if self.state is State.ACCEPTED:
            self._stop()
            self._linger(64 * T1)

    def _linger(self, seconds: float) -> None:
        if seconds:
            self._within(seconds, self.terminate)
        else:
            self.terminate()

    def _never_acknowledged(self) -> None:
        self.terminate()
        self.on_no_ack()


class ClientTransaction(_Transaction):
    """A request that goes out. `on_response` gets every provisional response, and the final one once
    (an INVITE's 2xx: each time that it comes)."""

    def __init__(
        self,
        request: Request,
        peer: Peer,
        send: Send,
        clock: Clock,
        on_response: Callable[[Response], None],
    ) -> None:
        super().__init__(request, peer, send, clock)
        self._on_response = on_response

    def start(self) -> None:
        """Send the request for the first time."""
        data = self.request.encode()
        self._send(data, self.peer)
        if self.state is not State.TRYING:
            return
        if not self.peer.reliable:
            self._repeat_every(T1, 64 * T1 if self.invite else T2, data)
        self._within(64 * T1, lambda: self.fail(408))

    def receive(self, response: Response) -> None:
        """A response to this request."""
        if self.state is State.ACCEPTED:
            if 200 <= response.code < 300:
                self._on_response(response)
            return
        if self.state is State.COMPLETED:
            if self.invite and response.code >= 300:
                self._send(acknowledge(self.request, response).encode(), self.peer)
            return
        if self.state is State.TERMINATED:
            return
        if response.code < 200:
            self._proceed()
        else:
            self._complete(response)
        self._on_response(response)

    def fail(self, code: int) -> None:
        """End with a response of our own: 408 for silence, 503 for a peer that cannot be reached."""
        if self.state in (State.TRYING, State.PROCEEDING):
            self.terminate()
            response = respond(self.request, code)
            response.received = False
            self._on_response(response)

    def _proceed(self) -> None:
        self.state = State.PROCEEDING
        if self.invite:
            self._stop()
        elif self._repeat:
            self._repeat.cancel()
            self._repeat_every(T2, T2, self.request.encode())

    def _complete(self, response: Response) -> None:
        self._stop()
        if self.invite and response.code < 300:
            self.state = State.ACCEPTED
            self._within(64 * T1, self.terminate)
            return
        self.state = State.COMPLETED
        if self.invite:
            self._send(acknowledge(self.request, response).encode(), self.peer)
        if self.peer.reliable:
            self.terminate()
        else:
            self._within(64 * T1 if self.invite else T4, self.terminate)


class Transactions:
    """All transactions of one side: matches what arrives, detects merged requests (RFC 3261 8.2.2.2).

    `on_request` gets each new request with its transaction, `on_ack` the ACKs of 2xx responses.
    """

    def __init__(
        self,
        send: Send,
        clock: Clock,
        sent_by: Callable[[Peer], str],
        on_request: Callable[[ServerTransaction], None],
        on_ack: Callable[[Request], None],
    ) -> None:
        self._send, self._clock, self._sent_by = send, clock, sent_by
        self._on_request, self._on_ack = on_request, on_ack
        self._servers: dict[ServerKey, ServerTransaction] = {}
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._merged: dict[tuple[str, str, str], ServerTransaction] = {}

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    def receive(self, message: Request | Response, source: Peer) -> None:
        """One message from the network, its Via already marked with its source."""
        if isinstance(message, Response):
            branch = message.via.parameters.get("branch") or ""
            client = self._clients.get((branch, message.sequence_method))
            if client:
                client.receive(message)
            return
        known = self._servers.get(_server_key(message))
        if known:
            known.receive(message)
        elif message.method == "ACK":
            self._on_ack(message)
        else:
            self._accept(message, source)

    def request(
        self, request: Request, peer: Peer, on_response: Callable[[Response], None]
    ) -> ClientTransaction:
        """Send a request in a new transaction; a Via is put on top of those that it has."""
        branch = COOKIE + secrets.token_hex(8)
        self.stamp(request, peer, branch)
        return self._begin(request, peer, branch, on_response)

    def stamp(self, request: Request, peer: Peer, branch: str = "") -> None:
        """Put our Via on top."""
        via = f"SIP/2.0/{peer.transport.upper()} {self._sent_by(peer)}"
        via += f";branch={branch or COOKIE + secrets.token_hex(8)};rport"
        request.headers.setlist("Via", [via, *request.headers.getlist("Via")])

    def cancel(self, invite: ClientTransaction) -> None:
        """CANCEL an INVITE that has had a provisional response (RFC 3261 9.1)."""
        request = _along(invite.request, "CANCEL", invite.request.headers["To"])
        branch = request.via.parameters.get("branch") or ""
        self._begin(request, invite.peer, branch, _ignore)

    def cancelled(self, cancel: Request) -> ServerTransaction | None:
        """The INVITE that a CANCEL means."""
        branch, sent_by, _ = _server_key(cancel)
        return self._servers.get((branch, sent_by, "INVITE"))

    def unreachable(self, peer: Peer) -> None:
        """Everything under way to this peer fails; over UDP only what it has not said a word to.

        Who answered is there, whatever an ICMP message says that may be late or forged.
        """
        for client in [client for client in self._clients.values() if client.peer == peer]:
            if peer.reliable or client.state is State.TRYING:
                client.fail(503)

    def _begin(
        self, request: Request, peer: Peer, branch: str, on_response: Callable[[Response], None]
    ) -> ClientTransaction:
        client = ClientTransaction(request, peer, self._send, self._clock, on_response)
        key = (branch, request.method)
        self._clients[key] = client
        client.on_end = lambda: self._clients.pop(key, None) and None
        client.start()
        return client

    def _accept(self, request: Request, source: Peer) -> None:
        server = ServerTransaction(request, source, self._send, self._clock)
        key = _server_key(request)
        merged_key = (request.call_id, request.from_tag, request.headers["CSeq"])
        self._servers[key] = server
        server.on_end = lambda: self._servers.pop(key, None) and None
        if not request.to_tag and request.method != "CANCEL":
            ongoing = self._merged.get(merged_key)
            if ongoing and ongoing.state not in (State.CONFIRMED, State.TERMINATED):
                server.reply(482, tag=secrets.token_hex(8))
                return
            self._merged[merged_key] = server
            server.on_end = lambda: self._forget(key, merged_key, server)
        self._on_request(server)

    def _forget(self, key: ServerKey, merged_key: tuple[str, str, str], server: ServerTransaction) -> None:
        self._servers.pop(key, None)
        if self._merged.get(merged_key) is server:
            del self._merged[merged_key]


def acknowledge(invite: Request, response: Response) -> Request:
    """The ACK of a final response that is no 2xx (RFC 3261 17.1.1.3)."""
    return _along(invite, "ACK", response.headers["To"])


def _along(invite: Request, method: str, to: str) -> Request:
    """A request that follows an INVITE hop by hop: ACK or CANCEL, with its Via and Route."""
    request = Request(method=method, uri=invite.uri)
    request.headers.add("Via", invite.items("Via")[0])
    for route in invite.headers.getlist("Route"):
        request.headers.add("Route", route)
    request.headers.add("From", invite.headers["From"])
    request.headers.add("To", to)
    request.headers.add("Call-ID", invite.call_id)
    request.headers.add("CSeq", f"{invite.sequence} {method}")
    request.headers.add("Max-Forwards", "70")
    return request


def _server_key(request: Request) -> ServerKey:
    """RFC 3261 17.2.3; for a branch without the cookie the older rule, by Call-ID, tag and number."""
    via = request.via
    method = "INVITE" if request.method == "ACK" else request.method
    branch = via.parameters.get("branch") or ""
    if branch.startswith(COOKIE):
        return branch, f"{via.host}:{via.port or ''}", method
    return f"{request.call_id} {request.from_tag} {request.sequence}", f"{via.host}:{via.port or ''}", method


def _nothing() -> None:
    """No callback."""


def _ignore(response: Response) -> None:
    """The outcome of a CANCEL is the INVITE's own final response."""
