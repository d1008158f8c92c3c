"""RTP as the caller sends and receives it (RFC 3550, RFC 4733): packets, losses, and the jitter buffer.

No sockets here. Times are seconds on any one clock; RTP timestamps tick at 8000 Hz for every codec.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLOCK = 8000
"""RTP timestamp units a second."""
LEAST_DELAY, MOST_DELAY, STEP = 0.040, 0.200, 0.020
"""Delay of the jitter buffer in seconds: two packets at first, and one more after a late packet."""
SPARE = 0.040
"""Delay that was not needed for `PATIENCE` is given up beyond this, in seconds."""
PATIENCE = 2.0
JUMP = 2.0
"""A timestamp that is so far from its time belongs to another stream, in seconds."""
LATE_FOR_GOOD = 10
"""Late packets in a row after which a stream has fallen behind for good: its sender has stood still."""
KEYS = "0123456789*#ABCD"
"""Event codes of the keypad (RFC 4733 3.2)."""

_HEADER = struct.Struct("!BBHII")


@dataclass(frozen=True)
class Packet:
    """One RTP packet without padding, contributors and extension."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def pack(self) -> bytes:
        """As it goes over the wire."""
        second = self.payload_type | (0x80 if self.marker else 0)
        head = _HEADER.pack(0x80, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        return head + self.payload


def parse(data: bytes) -> Packet | None:
    """The packet in a datagram; None for anything else (RTCP, STUN, garbage)."""
    if len(data) < 12 or data[0] >> 6 != 2 or 192 <= data[1] <= 223:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if start > end:
        return None
    return Packet(second & 0x7F, sequence, timestamp, ssrc, data[start:end], bool(second & 0x80))


def key_press(digit: str, frames: int) -> list[tuple[bytes, bool]]:
    """(payload, marker) of a key held for so many frames of 20 ms; the end goes thrice (RFC 4733 2.5)."""
    event = KEYS.index(digit)
    held = [(struct.pack("!BBH", event, 10, 160 * count), count == 1) for count in range(1, frames + 1)]
    return [*held, *[(struct.pack("!BBH", event, 0x80 | 10, 160 * frames), False)] * 3]


class Statistics:
    """What arrived of one stream (RFC 3550 A.3, A.8); a new SSRC begins a new stream, losses add up."""

    def __init__(self) -> None:
        self.packets = 0
        self.jitter = 0.0
        """Interarrival jitter in seconds."""
        self._ssrc: int | None = None
        self._first = self._highest = 0
        self._received = 0
        self._expected_before = 0
        self._transit: float | None = None

    @property
    def expected(self) -> int:
        """Packets that were sent, by their sequence numbers."""
        now = self._highest - self._first + 1 if self._ssrc is not None else 0
        return self._expected_before + now

    @property
    def lost(self) -> int:
        """Packets that did not arrive; duplicates make up for none."""
        return max(0, self.expected - self.packets)

    def arrived(self, packet: Packet, at: float) -> None:
        """Count one packet."""
        self.packets += 1
        if packet.ssrc != self._ssrc:
            self._expected_before = self.expected
            self._ssrc, self._first, self._highest = packet.ssrc, packet.sequence, packet.sequence
            self._transit = None
        step = (packet.sequence - self._highest + 0x8000) % 0x10000 - 0x8000
        self._highest += max(0, step)
        transit = at - packet.timestamp / CLOCK
        if self._transit is not None and abs(transit - self._transit) < JUMP:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit


class JitterBuffer:
    """Takes packets as they come and gives audio at a steady pace. What did not come is silence."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.delay = LEAST_DELAY
        """Time between a punctual packet's arrival and its playing, in seconds."""
        self.late = 0
        """Packets that came after their time."""
        self._audio = np.zeros(0, np.int16)
        self._first = 0
        """Index of `_audio`'s first sample, and the next to be played."""
        self._zero: tuple[int, float] | None = None
        """Timestamp of sample 0, and the time at which it is played."""
        self._ssrc = 0
        self._least: list[tuple[float, float]] = []
        """(arrival, time to spare) of the packets of the last `PATIENCE`."""
        self._changed = 0.0
        self._late_in_a_row = 0

    def arrived(self, packet: Packet, samples: NDArray[np.int16], at: float) -> None:
        """Keep the audio of a packet until its time."""
        index = self._index(packet, at)
        spare = self._plays_at(index) - at
        self._late_in_a_row = self._late_in_a_row + 1 if spare < 0 else 0
        if spare < 0:
            self.late += 1
            self._later(at)
        if self._late_in_a_row >= LATE_FOR_GOOD:
            index, spare = self._anew(packet, at), self.delay
        self._least = [(t, s) for t, s in self._least if at - t < PATIENCE] + [(at, spare)]
        skip = max(0, self._first - index)
        samples, index = samples[skip:], index + skip
        if not len(samples):
            return
        end = index - self._first + len(samples)
        if end > len(self._audio):
            self._audio = np.concatenate((self._audio, np.zeros(end - len(self._audio), np.int16)))
        self._audio[index - self._first : end] = samples

    def play(self, at: float, size: int) -> NDArray[np.int16]:
        """The samples that are played from `at` on; call it once for every frame, in order."""
        frame = np.zeros(size, np.int16)
        if self._zero is None:
            return frame
        if self._too_patient(at):
            self._sooner(size)
        # Nothing but a change of the delay makes a gap; a sample more or less is rounding.
        gap = round((self._plays_at(self._first) - at) * self._rate)
        gap = 0 if abs(gap) <= 1 else min(gap, size)
        taken = self._take(size - gap)[max(0, -gap) :]
        frame[max(0, gap) : max(0, gap) + len(taken)] = taken
        return frame

    def _take(self, count: int) -> NDArray[np.int16]:
        taken = self._audio[:count]
        self._audio, self._first = self._audio[count:], self._first + count
        return taken

    def _index(self, packet: Packet, at: float) -> int:
        """Where the packet's audio stands in the stream; another stream starts anew."""
        if self._zero is not None and packet.ssrc == self._ssrc:
            ticks = (packet.timestamp - self._zero[0] + 0x80000000) % 0x100000000 - 0x80000000
            index = ticks * self._rate // CLOCK
            if abs(self._plays_at(index) - at) < JUMP:
                return index
        return self._anew(packet, at)

    def _anew(self, packet: Packet, at: float) -> int:
        """From this packet on the stream is played afresh."""
        self._late_in_a_row = 0
        self._ssrc = packet.ssrc
        self._zero = (packet.timestamp, at + self.delay)
        self._audio, self._first, self._least = np.zeros(0, np.int16), 0, []
        return 0

    def _plays_at(self, index: int) -> float:
        return (self._zero[1] if self._zero else 0.0) + index / self._rate

    def _later(self, at: float) -> None:
        """Everything is played a packet later from now on, at most once in 100 ms."""
        if self._zero is None or at - self._changed < 0.1 or self.delay + STEP > MOST_DELAY + 1e-9:
            return
        self._changed = at
        self.delay += STEP
        self._zero = (self._zero[0], self._zero[1] + STEP)

    def _too_patient(self, at: float) -> bool:
        """Whether even the latest packet of the last seconds had more time than it needs."""
        if not self._least or at - self._least[0][0] < PATIENCE * 0.9:
            return False
        return min(spare for _, spare in self._least) > LEAST_DELAY + SPARE

    def _sooner(self, size: int) -> None:
        """Drop a frame, so that everything is played earlier."""
        if self._zero is None:
            return
        seconds = size / self._rate
        self._take(size)
        self._zero = (self._zero[0], self._zero[1] - seconds)
        self.delay = max(LEAST_DELAY, self.delay - seconds)
        self._least = []
