"""RTP streams of a capture: loss, jitter and gaps as RFC 3550 counts them, in constant memory a stream."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sip import quality
from sip.trace.messages import NOT_SPEECH, Sdp
from sip.trace.network import Datagram, Endpoint

CANDIDATES = 4_096
"""Flows that may become streams; the one that was silent longest is forgotten."""
STREAMS = 20_000
"""Streams kept; more are counted only."""
PROOF = 4
"""Packets in a row that make a flow a stream, where no SDP names its address."""
WINDOW = 128
"""Packets back that one may be late; then it is lost."""
DROPOUT = 3_000
"""A larger step of the sequence number is a new start (RFC 3550 A.1, MAX_DROPOUT)."""
_HEADER = struct.Struct(">BBHII")
_STATIC = {0: "PCMU", 3: "GSM", 4: "G723", 8: "PCMA", 9: "G722", 18: "G729"}
_Key = tuple[Endpoint, Endpoint, int]


@dataclass
class Stream:
    """One RTP stream: packets of one SSRC from one address to another. Times are seconds."""

    source: Endpoint
    target: Endpoint
    ssrc: int
    payload: int
    codec: str = ""
    clock: int = 8000
    started: float = 0
    ended: float = 0
    received: int = 0
    duplicates: int = 0
    reordered: int = 0
    lost: int = 0
    bursts: int = 0
    """Runs of lost packets."""
    restarts: int = 0
    events: int = 0
    """Packets of telephone events (RFC 4733)."""
    jitter: float = 0
    """Interarrival jitter at the end, seconds (RFC 3550 A.8)."""
    jitter_max: float = 0
    jitter_sum: float = 0
    jitter_count: int = 0
    gap_max: float = 0
    """Longest time in which packets were due and none came."""
    gap_at: float = 0
    unknown_payload: bool = False
    """Whether it carries a payload type that no SDP names."""
    _highest: int = -1
    _mask: int = 0
    """Bit n: the packet n before the highest has come."""
    _known: int = 0
    """Packets of the window that have a history: since the start, or the last restart."""
    _run: int = 0
    _last: tuple[float, int] | None = None
    _speech: set[int] = field(default_factory=set[int])

    @property
    def expected(self) -> int:
        """Packets that were sent, as far as their numbers tell."""
        return self.received + self.lost

    @property
    def loss(self) -> float:
        """Lost packets in percent."""
        return 100 * self.lost / self.expected if self.expected else 0.0

    @property
    def jitter_mean(self) -> float:
        """Mean of the interarrival jitter over all packets, seconds."""
        return self.jitter_sum / self.jitter_count if self.jitter_count else 0.0

    @property
    def burst_ratio(self) -> float:
        """BurstR of G.107: mean length of the runs of loss over what random loss would give; at least 1."""
        if not self.bursts:
            return 1.0
        return max(1.0, self.lost / self.bursts * (1 - self.lost / self.expected))

    @property
    def quality(self) -> quality.Quality:
        """E-model of loss and jitter; the delay of the network is in no capture and counts as none."""
        return quality.assess(self.codec, self.loss, self.jitter_mean * 1000, 0.0, self.burst_ratio)

    def add(self, t: float, sequence: int, timestamp: int, payload: int, *, speech: bool) -> None:
        """One packet."""
        if self._highest < 0:
            self.started = self.ended = t
            self._highest, self._mask, self._known = sequence, 1, 1
            self.received = 1
            self._measure(t, timestamp, speech)
            return
        ahead = (sequence - self._highest + 0x8000) % 0x10000 - 0x8000
        if ahead > DROPOUT or ahead < -DROPOUT:
            self._flush()
            self.restarts += 1
            self._highest, self._mask, self._known, self._last = sequence, 1, 1, None
            self.received += 1
        elif ahead > 0:
            self._advance(ahead)
            self._highest = sequence
            self.received += 1
        elif -ahead < min(WINDOW, self._known):
            if self._mask >> -ahead & 1:
                self.duplicates += 1
                return
            self._mask |= 1 << -ahead
            self.reordered += 1
            self.received += 1
        else:
            # Older than the window: its loss has been counted, or it is older than the stream.
            self.reordered += 1
            return
        self._pause(t, timestamp, ahead)
        self.ended = max(self.ended, t)
        self._measure(t, timestamp, speech)

    def finish(self) -> None:
        """No more packets: what has not come by now is lost."""
        self._flush()

    def _pause(self, t: float, timestamp: int, ahead: int) -> None:
        """Note the longest gap. A sender that was silent and skipped no number made none."""
        if self._last is None:
            return
        gap = t - self.ended
        if ahead == 1:
            gap -= max(0.0, self._step(timestamp))
        if gap > self.gap_max:
            self.gap_max, self.gap_at = gap, self.ended

    def _step(self, timestamp: int) -> float:
        """Seconds of the sender's clock since the last packet."""
        assert self._last is not None
        return ((timestamp - self._last[1] + 2**31) % 2**32 - 2**31) / self.clock

    def _advance(self, ahead: int) -> None:
        for _ in range(min(ahead, WINDOW)):
            self._leave()
            self._mask = (self._mask << 1) & ((1 << WINDOW) - 1)
            self._known = min(WINDOW, self._known + 1)
        beyond = ahead - WINDOW
        if beyond > 0:
            # More is missing than the window holds: all of it is lost.
            self.lost += beyond
            self.bursts += self._run == 0
            self._run += beyond
        self._mask |= 1

    def _leave(self) -> None:
        """The oldest packet of a full window leaves it: come or lost."""
        if self._known < WINDOW:
            return
        self._count(bool(self._mask >> (WINDOW - 1) & 1))

    def _count(self, came: bool) -> None:
        if came:
            self._run = 0
            return
        self.lost += 1
        if self._run == 0:
            self.bursts += 1
        self._run += 1

    def _flush(self) -> None:
        for position in range(self._known - 1, -1, -1):
            self._count(bool(self._mask >> position & 1))
        self._run, self._known, self._mask = 0, 0, 0

    def _measure(self, t: float, timestamp: int, speech: bool) -> None:
        if not speech:
            self.events += 1
            return
        if self._last is not None:
            deviation = abs(t - self._last[0] - self._step(timestamp))
            if deviation < 30:  # else the sender set its clock anew
                self.jitter += (deviation - self.jitter) / 16
                self.jitter_max = max(self.jitter_max, self.jitter)
                self.jitter_sum += self.jitter
                self.jitter_count += 1
        self._last = (t, timestamp)


def _clock_of(packets: list[tuple[float, int, int, int]]) -> int:
    """The clock of a codec that no SDP names, by what a packet advances it: 20 ms are 160, 320, 960 ticks.

    A clock is needed for the jitter; a wrong one would make nonsense of it.
    """
    steps = [
        (after[2] - before[2]) % 2**32
        for before, after in pairwise(packets)
        if (after[1] - before[1]) % 0x10000 == 1 and after[2] != before[2]
    ]
    step = min(steps, default=160)
    if step and step % 480 == 0:
        return 48_000
    return 16_000 if step and step % 320 == 0 else 8_000


class Collector:
    """Takes datagrams, finds the streams among them."""

    def __init__(self) -> None:
        self.left_out = 0
        """Packets of streams that were too many."""
        self._streams: dict[_Key, Stream] = {}
        self._candidates: OrderedDict[_Key, list[tuple[float, int, int, int]]] = OrderedDict()
        self._announced: dict[Endpoint, Mapping[int, tuple[str, int]]] = {}

    def announce(self, sdp: Sdp) -> None:
        """A session description names an address."""
        if sdp.media.port:
            self._announced[sdp.media] = sdp.payloads

    def add(self, datagram: Datagram) -> None:
        """One datagram, RTP or not."""
        data = datagram.payload
        if len(data) < 12 or data[0] >> 6 != 2:
            return
        _, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        if 192 <= second <= 223:  # RTCP (RFC 5761)
            return
        payload = second & 0x7F
        key = (datagram.source, datagram.target, ssrc)
        stream = self._streams.get(key)
        if stream is None:
            self._probation(key, (datagram.t, sequence, timestamp, payload))
            return
        stream.add(datagram.t, sequence, timestamp, payload, speech=self._speech(stream, payload))

    def streams(self) -> list[Stream]:
        """All streams, in the order in which they began."""
        for stream in self._streams.values():
            stream.finish()
        return sorted(self._streams.values(), key=lambda stream: stream.started)

    def _probation(self, key: _Key, packet: tuple[float, int, int, int]) -> None:
        source, target, _ = key
        waiting = self._candidates.setdefault(key, [])
        self._candidates.move_to_end(key)
        if waiting and not 0 <= (packet[1] - waiting[-1][1]) % 0x10000 < 16:
            waiting.clear()
        waiting.append(packet)
        known = target in self._announced or source in self._announced
        if known or len(waiting) >= PROOF:
            del self._candidates[key]
            if len(self._streams) >= STREAMS:
                self.left_out += len(waiting)
                return
            stream = self._streams[key] = Stream(source, target, key[2], waiting[0][3])
            self._name(stream, waiting[0][3])
            if stream.codec.startswith("payload type"):
                stream.clock = _clock_of(waiting)
            for t, sequence, timestamp, payload in waiting:
                stream.add(t, sequence, timestamp, payload, speech=self._speech(stream, payload))
        elif len(self._candidates) > CANDIDATES:
            self._candidates.popitem(last=False)

    def _speech(self, stream: Stream, payload: int) -> bool:
        if payload == stream.payload and stream.codec:
            return True
        name, _ = self._lookup(stream, payload)
        if name in NOT_SPEECH:
            return False
        if payload != stream.payload or not stream.codec:
            self._name(stream, payload)
        return True

    def _lookup(self, stream: Stream, payload: int) -> tuple[str, int]:
        # The receiver's description says what a payload type means (RFC 3264 5.1); a far end behind a NAT
        # is known by its own.
        for endpoint in (stream.target, stream.source):
            found = self._announced.get(endpoint, {}).get(payload)
            if found:
                return found
        return _STATIC.get(payload, ""), 8000

    def _name(self, stream: Stream, payload: int) -> None:
        name, clock = self._lookup(stream, payload)
        if name in NOT_SPEECH:
            return
        announced = stream.target in self._announced
        stream.unknown_payload |= announced and payload not in self._announced[stream.target]
        stream.payload, stream.codec, stream.clock = payload, name or f"payload type {payload}", clock
