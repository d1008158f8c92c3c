"""Transactions on a clock that a test turns."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest

from sip.service.signalling.messages import Request, Response, parse, respond
from sip.service.signalling.peer import Peer
from sip.service.signalling.transaction import ServerTransaction, State, Transactions

UDP, TCP = Peer("udp", "192.0.2.1", 5060), Peer("tcp", "192.0.2.1", 5060)


class Pending:
    """A timer of the turned clock."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback, self.live = callback, True

    def cancel(self) -> None:
        """Never fire."""
        self.live = False


class TurnedClock:
    """Time passes only in `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Pending]] = []

    def time(self) -> float:
        """Seconds."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Pending:
        """A timer."""
        pending = Pending(callback)
        heapq.heappush(self._timers, (self.now + delay, next(self._order), pending))
        return pending

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, pending = heapq.heappop(self._timers)
            if pending.live:
                pending.live = False
                pending.callback()
        self.now = end

    @property
    def pending(self) -> int:
        """Timers that would still fire."""
        return sum(pending.live for _, _, pending in self._timers)


class Side:
    """Transactions with everything that they say."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.sent: list[tuple[float, Request | Response]] = []
        self.requests: list[ServerTransaction] = []
        self.acks: list[Request] = []
        self.responses: list[Response] = []
        self.transactions = Transactions(
            self.send, self.clock, lambda _: "198.51.100.1:5060", self.requests.append, self.acks.append
        )

    def send(self, data: bytes, peer: Peer) -> None:
        """Keep what is sent."""
        self.sent.append((self.clock.now, parse(data)))

    def times(self) -> list[float]:
        """When something was sent."""
        return [time for time, _ in self.sent]

    def invite(self, peer: Peer = UDP, method: str = "INVITE") -> Request:
        """A request that comes in."""
        message = request(method)
        self.transactions.receive(message, peer)
        return message

    def call(self, peer: Peer = UDP, method: str = "INVITE") -> Request:
        """A request that goes out; its Via is ours."""
        message = request(method)
        message.headers.remove("Via")
        self.transactions.request(message, peer, self.responses.append)
        return message


def request(method: str = "INVITE", branch: str = "z9hG4bK1") -> Request:
    """A minimal request."""
    message = Request(method=method, uri="sip:b@198.51.100.1")
    for name, value in (
        ("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport"),
        ("From", "<sip:a@192.0.2.1>;tag=a"),
        ("To", "<sip:b@198.51.100.1>"),
        ("Call-ID", "c"),
        ("CSeq", f"1 {method}"),
    ):
        message.headers.add(name, value)
    return message


def test_2xx_is_repeated_until_the_ack() -> None:
    """T1, doubling up to T2, over TCP, too; the ACK stops it."""
    side = Side()
    invite = side.invite(TCP)
    side.requests[0].respond(respond(invite, 200, tag="b"))
    side.clock.advance(8.0)
    assert side.times() == [0.0, 0.5, 1.5, 3.5, 7.5]
    side.requests[0].acknowledged()
    side.clock.advance(64)
    assert len(side.sent) == 5
    assert len(side.transactions) == 0
    assert side.clock.pending == 0


def test_2xx_without_ack_ends_after_32_seconds() -> None:
    """64 × T1 after the 2xx the call is told."""
    side = Side()
    invite = side.invite()
    lost: list[float] = []
    side.requests[0].on_no_ack = lambda: lost.append(side.clock.now)
    side.requests[0].respond(respond(invite, 200, tag="b"))
    side.clock.advance(100)
    assert lost == [32.0]
    assert len(side.transactions) == 0


def test_retransmitted_invite_gets_the_last_answer() -> None:
    """Before the final answer and after a refusal; a 2xx is repeated by itself only (RFC 6026)."""
    side = Side()
    invite = side.invite()
    side.requests[0].respond(respond(invite, 180, tag="b"))
    side.transactions.receive(invite, UDP)
    assert [message.code for _, message in side.sent if isinstance(message, Response)] == [180, 180]
    side.requests[0].respond(respond(invite, 200, tag="b"))
    side.transactions.receive(invite, UDP)
    assert len(side.requests) == 1
    assert len(side.sent) == 3


def test_refusal_is_repeated_until_its_ack() -> None:
    """Timers G and I over UDP; the ACK of the same branch belongs to the transaction."""
    side = Side()
    invite = side.invite()
    side.requests[0].respond(respond(invite, 486, tag="b"))
    side.clock.advance(2.0)
    assert side.times() == [0.0, 0.5, 1.5]
    ack = request("ACK")
    ack.headers.set("To", "<sip:b@198.51.100.1>;tag=b")
    side.transactions.receive(ack, UDP)
    assert side.requests[0].state is State.CONFIRMED
    assert side.acks == []
    side.clock.advance(5.0)
    assert len(side.sent) == 3
    assert len(side.transactions) == 0


def test_refusal_without_ack_is_given_up() -> None:
    """Timer H: 64 × T1."""
    side = Side()
    invite = side.invite()
    side.requests[0].respond(respond(invite, 404, tag="b"))
    side.clock.advance(33)
    assert len(side.transactions) == 0
    assert side.clock.pending == 0


def test_ack_of_a_2xx_goes_to_the_call() -> None:
    """It has a branch of its own and belongs to no transaction."""
    side = Side()
    side.transactions.receive(request("ACK", "z9hG4bKother"), UDP)
    assert len(side.acks) == 1


def test_merged_request_is_482() -> None:
    """Same Call-ID, tag and number on another branch; after a confirmed refusal it is a new try."""
    side = Side()
    invite = side.invite()
    side.transactions.receive(request(branch="z9hG4bK2"), UDP)
    assert [message.code for _, message in side.sent if isinstance(message, Response)] == [482]
    assert len(side.requests) == 1
    side.requests[0].respond(respond(invite, 486, tag="b"))
    side.transactions.receive(request("ACK"), UDP)
    side.transactions.receive(request(branch="z9hG4bK3"), UDP)
    assert len(side.requests) == 2


def test_old_branches_are_matched_by_dialog() -> None:
    """RFC 2543 senders have no cookie in their branch."""
    side = Side()
    for _ in range(2):
        side.transactions.receive(request(branch="1"), UDP)
    assert len(side.requests) == 1


@pytest.mark.parametrize(
    ("method", "peer", "times"),
    [
        ("INVITE", UDP, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]),
        ("OPTIONS", UDP, [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]),
        ("INVITE", TCP, [0.0]),
    ],
)
def test_client_retransmits_and_gives_up(method: str, peer: Peer, times: list[float]) -> None:
    """Timers A, B, E, F: then a 408 of our own."""
    side = Side()
    side.call(peer, method)
    side.clock.advance(40)
    assert side.times() == times
    assert [response.code for response in side.responses] == [408]
    assert len(side.transactions) == 0
    assert side.clock.pending == 0


def test_provisional_response_stops_the_invite() -> None:
    """After 100 an INVITE is not repeated and may ring for as long as the call likes."""
    side = Side()
    invite = side.call()
    side.transactions.receive(respond(invite, 100), UDP)
    side.clock.advance(200)
    assert side.times() == [0.0]
    assert [response.code for response in side.responses] == [100]


def test_refused_invite_is_acknowledged_each_time() -> None:
    """The ACK has the INVITE's branch; a repeated refusal gets it again, the call hears it once."""
    side = Side()
    invite = side.call()
    refusal = respond(invite, 486, tag="b")
    for _ in range(2):
        side.transactions.receive(refusal, UDP)
    acks = [message for _, message in side.sent[1:]]
    assert [ack.method for ack in acks if isinstance(ack, Request)] == ["ACK", "ACK"]
    assert all(ack.top_via == invite.top_via for ack in acks)
    assert acks[0].to_tag == "b"
    assert [response.code for response in side.responses] == [486]
    side.clock.advance(33)
    assert len(side.transactions) == 0


def test_every_2xx_reaches_the_call() -> None:
    """Repeated 2xx mean that our ACK was lost: the call sends it again (RFC 6026)."""
    side = Side()
    invite = side.call()
    for _ in range(3):
        side.transactions.receive(respond(invite, 200, tag="b"), UDP)
    assert [response.code for response in side.responses] == [200, 200, 200]
    side.clock.advance(33)
    assert len(side.transactions) == 0


def test_cancel_has_the_branch_of_its_invite() -> None:
    """RFC 3261 9.1: same request URI, Via, number; and the server side finds the INVITE by it."""
    side = Side()
    invite = request()
    invite.headers.remove("Via")
    client = side.transactions.request(invite, UDP, side.responses.append)
    side.transactions.cancel(client)
    cancel = side.sent[-1][1]
    assert isinstance(cancel, Request)
    assert (cancel.method, cancel.top_via, cancel.sequence) == ("CANCEL", invite.top_via, 1)
    other = Side()
    incoming = other.invite()
    assert other.transactions.cancelled(request("CANCEL")) is other.requests[0]
    assert incoming.method == "INVITE"


def test_unreachable_udp_peer_that_has_answered_is_there() -> None:
    """An ICMP error ends what was never answered; who has sent 180 rings on."""
    side = Side()
    side.transactions.receive(respond(side.call(), 180, tag="b"), UDP)
    side.call()
    side.transactions.unreachable(UDP)
    assert [(response.code, response.received) for response in side.responses] == [(180, True), (503, False)]


def test_unreachable_peer_fails_what_is_under_way() -> None:
    """A connection that cannot be made is a 503, at once."""
    side = Side()
    side.call(TCP)
    side.transactions.unreachable(TCP)
    assert [response.code for response in side.responses] == [503]


def test_response_goes_where_the_request_came_from() -> None:
    """RFC 3581 with rport; without it, to the port in the Via."""
    side = Side()
    source = Peer("udp", "203.0.113.5", 9999)
    side.transactions.receive(request(), source)
    assert side.requests[0].peer == source
    without = request(branch="z9hG4bK9")
    without.headers.set("Via", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK9")
    without.headers.set("Call-ID", "d")
    side.transactions.receive(without, source)
    assert side.requests[1].peer == Peer("udp", "203.0.113.5", 5070)
