"""SIP messages sorted into calls: who called whom, what was answered, for how long. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from sip.trace.messages import Message, Sdp
from sip.trace.network import Endpoint
from sip.trace.rtp import Stream

CALLS = 10_000
"""Calls kept; later ones are counted only."""
MESSAGES = 2_000
"""Messages kept of one call; later ones are counted only."""
ALL_MESSAGES = 200_000
"""Messages kept in all."""
SEEN_TWICE = 0.01
"""Seconds: the same bytes between the same addresses so soon are one message, captured on two interfaces."""


@dataclass
class Call:
    """All messages with one Call-ID. Times are unix seconds, 0 for what did not happen."""

    call_id: str
    messages: list[Message] = field(default_factory=list[Message])
    streams: list[Stream] = field(default_factory=list[Stream])
    repeats: list[Message] = field(default_factory=list[Message])
    """Retransmissions: they are in `messages`, too."""
    left_out: int = 0

    @property
    def invite(self) -> Message | None:
        """The first INVITE; None for what is no call, or was up before the capture began."""
        return next((each for each in self.messages if each.request and each.method == "INVITE"), None)

    @property
    def method(self) -> str:
        """What the first request wanted."""
        return "INVITE" if self.invite else self.messages[0].method or "?"

    @property
    def invites(self) -> list[Message]:
        """INVITEs that open the call, one a try: not those of its dialog, not retransmissions."""
        tries: dict[tuple[Endpoint, int], Message] = {}
        for each in self.messages:
            if each.request and each.method == "INVITE" and not each.to_tag:
                tries.setdefault((each.source, each.sequence), each)
        return list(tries.values())

    @property
    def final(self) -> Message | None:
        """The answer to the last of `invites`: a 2xx if there is any."""
        sequences = {each.sequence for each in self.invites}
        finals = [
            each
            for each in self.messages
            if each.method == "INVITE" and each.code >= 200 and (each.sequence in sequences or not sequences)
        ]
        return next((each for each in finals if each.code < 300), finals[-1] if finals else None)

    @property
    def answered(self) -> float:
        """When the 2xx came."""
        final = self.final
        return final.t if final is not None and final.code < 300 else 0.0

    @property
    def rang(self) -> float:
        """When the first 18x came."""
        return next((m.t for m in self.messages if m.method == "INVITE" and 180 <= m.code < 200), 0.0)

    @property
    def bye(self) -> Message | None:
        """The first BYE."""
        return next((each for each in self.messages if each.request and each.method == "BYE"), None)

    @property
    def started(self) -> float:
        """The first message."""
        return self.messages[0].t

    @property
    def ended(self) -> float:
        """The last message."""
        return self.messages[-1].t

    @property
    def duration(self) -> float:
        """Seconds from the answer to the BYE; to the last message or packet when no BYE was seen."""
        if not self.answered:
            return 0.0
        last = self.bye.t if self.bye else max([self.ended, *(stream.ended for stream in self.streams)])
        return max(0.0, last - self.answered)

    @property
    def hosts(self) -> list[Endpoint]:
        """Everybody who sent or got a message, in the order of the first one."""
        return list(dict.fromkeys(end for each in self.messages for end in (each.source, each.target)))

    def by_caller(self, message: Message) -> bool:
        """Whether the side that began the call sent it, over whichever hop."""
        tag = (self.invite or self.messages[0]).from_tag
        return (message.from_tag == tag) == message.request

    def descriptions(self) -> tuple[tuple[Message, Sdp], tuple[Message, Sdp]] | None:
        """The offer that was answered, and its answer, each with the message that brought it."""
        offer: tuple[Message, Sdp] | None = None
        early: tuple[Message, Sdp] | None = None
        for each in self.messages:
            if each.sdp is None or each.method not in ("INVITE", "ACK", "PRACK", "UPDATE"):
                continue
            if offer is None or (early is None and self.by_caller(each) == self.by_caller(offer[0])):
                offer = (each, each.sdp)
            elif self.by_caller(each) != self.by_caller(offer[0]):
                if each.code >= 200 or each.request:
                    return offer, (each, each.sdp)
                early = (each, each.sdp)
        return (offer, early) if offer and early else None


class Sorter:
    """Takes messages in the order of the capture, gives calls."""

    def __init__(self) -> None:
        self.calls: OrderedDict[str, Call] = OrderedDict()
        self.left_out = 0
        """Calls that were too many."""
        self.doubled = 0
        """Messages captured twice."""
        self._kept = 0
        self._recent: deque[tuple[float, Message]] = deque()
        self._seen: set[tuple[str, Endpoint, Endpoint, bytes]] = set()

    def add(self, message: Message) -> bool:
        """Keep a message; False for one that was captured twice or is of a call too many."""
        if self._twice(message):
            self.doubled += 1
            return False
        call = self.calls.get(message.call_id)
        if call is None:
            if len(self.calls) >= CALLS or self._kept >= ALL_MESSAGES:
                self.left_out += 1
                return False
            call = self.calls[message.call_id] = Call(message.call_id)
        self._kept += 1
        if len(call.messages) >= MESSAGES or self._kept > ALL_MESSAGES:
            call.left_out += 1
            return False
        key = (message.call_id, message.source, message.target, message.digest)
        if key in self._seen:
            call.repeats.append(message)
        self._seen.add(key)
        call.messages.append(message)
        return True

    def _twice(self, message: Message) -> bool:
        # Records of several calls are read one after the other: time may go back.
        while self._recent and abs(message.t - self._recent[0][0]) > SEEN_TWICE:
            self._recent.popleft()
        twice = any(
            old.digest == message.digest and (old.source, old.target) == (message.source, message.target)
            for _, old in self._recent
        )
        if not twice:
            self._recent.append((message.t, message))
        return twice


def attribute(calls: list[Call], streams: list[Stream]) -> list[Stream]:
    """Give each stream to the calls whose session descriptions name its addresses; those that fit none.

    A port serves many calls one after the other: the stream must lie in the call's time.
    """
    places: dict[Endpoint, list[Call]] = {}
    for call in calls:
        for endpoint in {each.sdp.media for each in call.messages if each.sdp and each.sdp.media.port}:
            places.setdefault(endpoint, []).append(call)
    strangers: list[Stream] = []
    for stream in streams:
        near = [*places.get(stream.target, []), *places.get(stream.source, [])]
        fitting = {call.call_id: call for call in near if _overlaps(call, stream)}
        for call in fitting.values():
            call.streams.append(stream)
        if not fitting:
            strangers.append(stream)
    return strangers


def _overlaps(call: Call, stream: Stream) -> bool:
    end = call.bye.t if call.bye else float("inf")
    if call.final is not None and call.final.code >= 300:
        end = call.final.t
    return call.started - 1 <= stream.started <= end + 1
