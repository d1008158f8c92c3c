"""Bounded delay between call and room, with audio and clock in the test's hand."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from baresip import AudioNotActive, AudioRestarted
from hypothesis import given
from hypothesis import strategies as st

from sip.service.media import bridge
from sip.service.media.bridge import Clock, Downlink, Uplink, mix
from sip.service.media.room_audio import FRAME_MS, frame_bytes
from sip.service.media.tones import Ringback

RATE = 8000
FRAME = frame_bytes(RATE)
PACKET = 2 * FRAME


def frame(value: int) -> bytes:
    """A frame whose samples are all `value`."""
    return np.full(FRAME // 2, value, np.int16).tobytes()


class Wire:
    """The caller's audio, as baresip hands it out."""

    def __init__(self) -> None:
        self.waiting: deque[bytes | Exception] = deque()

    def read(self, max_bytes: int) -> bytes:
        """What came, or what went wrong."""
        if not self.waiting:
            return b""
        if isinstance(next_one := self.waiting[0], Exception):
            self.waiting.popleft()
            raise next_one
        pcm = b""
        while self.waiting and not isinstance(piece := self.waiting[0], Exception):
            pcm += piece
            self.waiting.popleft()
        return pcm


@dataclass
class Info:
    tx_buffered: int


class Line:
    """The way to the caller: takes what is written, sends 20 ms at a time."""

    def __init__(self) -> None:
        self.queued = b""
        self.sent = b""
        self.deepest = 0
        self.error: Exception | None = None

    def write(self, pcm: bytes) -> int:
        """Queue."""
        self.queued += pcm
        self.deepest = max(self.deepest, len(self.queued))
        return len(pcm)

    def info(self) -> Info:
        """How much is queued."""
        if self.error:
            raise self.error
        return Info(len(self.queued))

    def send(self) -> None:
        """One RTP packet."""
        self.sent += self.queued[:PACKET].ljust(PACKET, b"\0")
        self.queued = self.queued[PACKET:]


class Room:
    """An uplink, and what it said."""

    def __init__(self) -> None:
        self.wire, self.said = Wire(), b""
        self.uplink = Uplink(self.wire, self._hear, RATE)
        self.now = 100.0

    def tick(self, seconds: float = 0.0, *packets: bytes) -> None:
        """Time passes, then packets come."""
        self.now += seconds
        self.wire.waiting.extend(packets)
        self.uplink.tick(self.now)

    def _hear(self, pcm: bytes) -> None:
        self.said += pcm


def test_caller_reaches_the_room_at_once() -> None:
    """Each packet goes on in the tick that finds it, whole and in order."""
    room = Room()
    packets = [frame(n) + frame(n + 1000) for n in range(50)]
    for packet in packets:
        room.tick(0.02, packet)
    assert room.said == b"".join(packets)
    assert room.uplink.heard_at == room.now


def test_room_hears_nothing_before_the_caller_does_speak() -> None:
    """Until the first packet there is no clock to keep up with."""
    room = Room()
    room.tick(5.0)
    assert room.said == b"" and room.uplink.heard_at is None


def test_gap_is_filled_with_silence() -> None:
    """A second without packets is a second of silence for the room, short of the tolerated gap."""
    room = Room()
    room.tick(0.02, frame(1) * 2)
    for _ in range(200):
        room.tick(0.005)
    silence = room.said[PACKET:]
    assert not any(silence)
    assert 1000 - bridge.MAX_GAP_MS - 30 <= len(silence) // FRAME * FRAME_MS <= 1000


def test_burst_is_trimmed_to_the_newest() -> None:
    """Two seconds that come at once after a stall reach the room as its last moments only."""
    room = Room()
    room.tick(0.02, frame(0) * 2)
    before = len(room.said)
    room.tick(0.02, b"".join(frame(n) for n in range(200)))
    said = room.said[before:]
    assert len(said) // FRAME * FRAME_MS <= bridge.MAX_LEAD_MS + 20
    assert said.endswith(frame(199))
    assert room.uplink.dropped_ms + len(said) // FRAME * FRAME_MS == 2000


@given(st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 12)), max_size=60))
def test_room_never_runs_ahead_of_the_clock(course: list[tuple[float, int]]) -> None:
    """However packets bunch, what the room was told stays within two bounds around the time that passed."""
    room = Room()
    room.tick(0.0, frame(0) * 2)
    start = room.now
    for seconds, packets in course:
        room.tick(seconds, *[frame(1) * 2] * packets)
        lead = len(room.said) / FRAME * FRAME_MS - (room.now - start) * 1000
        assert -bridge.MAX_GAP_MS - 1e-6 <= lead <= bridge.MAX_LEAD_MS + 20


def test_restart_is_told_and_is_not_the_end() -> None:
    """A renegotiation tells its listener, and audio goes on; no audio yet is no news at all."""
    room = Room()
    told: list[bool] = []
    room.uplink.on_restart = lambda: told.append(True)
    room.wire.waiting.extend([AudioNotActive("not yet"), AudioRestarted("again")])
    room.tick(0.02)
    room.tick(0.02)
    room.tick(0.02, frame(5) * 2)
    assert told == [True]
    assert room.said == frame(5) * 2


def test_ring_back_in_place_of_the_caller() -> None:
    """With a tone set the room hears the tone in real time, and the caller again afterwards."""
    room = Room()
    room.uplink.tone = Ringback(RATE)
    room.tick()
    for _ in range(100):
        room.tick(0.01, frame(7))
    assert abs(len(room.said) - 100 * FRAME) <= FRAME
    assert frame(7) not in room.said
    room.uplink.tone = None
    room.tick(0.01, frame(7))
    assert room.said.endswith(frame(7))


def test_single_speaker_is_written_at_once() -> None:
    """Nothing waits for a clock; in front of the first frame stands the reserve."""
    line = Line()
    downlink = Downlink(line, RATE)
    downlink.add("agent")
    downlink.hear("agent", frame(3))
    assert line.queued == bytes(bridge.RESERVE_MS // FRAME_MS * FRAME) + frame(3)
    downlink.hear("agent", frame(4))
    assert line.queued.endswith(frame(3) + frame(4))


def test_caller_never_waits_longer_than_the_bound() -> None:
    """A burst of a second leaves no more than the bound queued; the rest is counted as dropped."""
    line = Line()
    downlink = Downlink(line, RATE)
    downlink.add("agent")
    for n in range(100):
        downlink.hear("agent", frame(n))
    assert line.deepest // FRAME * FRAME_MS <= bridge.MAX_QUEUED_MS
    assert downlink.dropped_ms >= 1000 - bridge.MAX_QUEUED_MS


def test_delay_that_a_stall_left_is_given_back() -> None:
    """After a burst the queue shrinks again while both sides run evenly, without running dry."""
    line = Line()
    downlink = Downlink(line, RATE)
    downlink.add("agent")
    for n in range(5):
        downlink.hear("agent", frame(n))
    depths: list[int] = []
    for n in range(600):
        downlink.hear("agent", frame(n))
        depths.append(len(line.queued) // FRAME * FRAME_MS)
        if n % 2:
            line.send()
    assert max(depths[:100]) > bridge.SPARE_MS
    assert max(depths[-100:]) <= bridge.SPARE_MS + 2 * FRAME_MS
    assert bytes(PACKET) not in line.sent[10 * PACKET :]


def test_several_speakers_are_mixed_without_waiting_for_the_late() -> None:
    """Two frames make one; a speaker who sends nothing holds the other up by one frame, not more."""
    line = Line()
    downlink = Downlink(line, RATE)
    downlink.add("one")
    downlink.add("two")
    downlink.hear("one", frame(100))
    assert not line.queued
    downlink.hear("two", frame(23))
    assert line.queued.endswith(frame(123))
    downlink.hear("one", frame(1))
    downlink.hear("one", frame(2))
    assert line.queued.endswith(frame(1) + frame(2)) or line.queued.endswith(frame(1))
    downlink.remove("two")
    downlink.hear("one", frame(9))
    assert line.queued.endswith(frame(9))


def test_unknown_speakers_are_not_heard() -> None:
    """A frame that was under way when its track was unsubscribed goes nowhere."""
    line = Line()
    downlink = Downlink(line, RATE)
    downlink.add("one")
    downlink.remove("one")
    downlink.remove("one")
    downlink.hear("one", frame(1))
    assert not line.queued


@pytest.mark.parametrize("error", [AudioNotActive("over"), AudioRestarted("again")])
def test_call_without_audio_swallows_frames(error: Exception) -> None:
    """Before the answer, after the end and in a renegotiation frames are dropped and nothing breaks."""
    line = Line()
    line.error = error
    downlink = Downlink(line, RATE)
    downlink.add("one")
    downlink.hear("one", frame(1))
    assert downlink.dropped_ms == FRAME_MS


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=6))
def test_mix_is_the_clipped_sum(values: list[int]) -> None:
    """Any number of speakers at any loudness: the sum where it fits, the limit where it does not."""
    expected = max(-32768, min(32767, sum(values)))
    assert mix([frame(value) for value in values]) == frame(expected)


def test_clock_ticks_for_all_and_survives_a_bad_one() -> None:
    """Tickers are called until removed; one that raises is given up, and the others go on."""
    clock = Clock(tick_seconds=0.001)
    ticked = threading.Semaphore(0)

    def good(now: float) -> None:
        ticked.release()

    def bad(now: float) -> None:
        raise ValueError("broken")

    try:
        clock.add(bad)
        clock.add(good)
        for _ in range(5):
            assert ticked.acquire(timeout=2)
        clock.remove(good)
        clock.remove(good)
    finally:
        clock.close()
        clock.close()


def test_ring_back_cadence() -> None:
    """Two seconds of 440 and 480 Hz, four of silence, and again; frames of any size join without a seam."""
    tone = Ringback(RATE)
    pcm = b"".join(tone.frame(FRAME) for _ in range(700))
    samples = np.frombuffer(pcm, np.int16).astype(float)
    spectrum = np.abs(np.fft.rfft(samples[: 2 * RATE]))
    loudest = sorted(np.argsort(spectrum)[-2:] / 2)
    assert loudest == [440, 480]
    assert not samples[2 * RATE : 6 * RATE].any()
    assert np.array_equal(samples[6 * RATE : 7 * RATE], samples[:RATE])
