"""The parts of the caller that need no network: what it hears, RTP, codecs, session descriptions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.caller.codec import codec_named
from lab.caller.listener import Listener
from lab.caller.rtp import JitterBuffer, Packet, Statistics, key_press, parse
from lab.caller.sdp import offer, read


def mulaw(samples: NDArray[np.float64]) -> bytes:
    """G.711 µ-law of 16-bit samples (ITU-T G.711)."""
    magnitude = np.minimum(np.abs(samples).astype(int), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    sign = np.where(samples < 0, 0x80, 0)
    return (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()


def test_a_voice_above_the_floor() -> None:
    """The listener hears a voice begin and end, and ignores one loud frame."""
    listener = Listener()
    quiet, loud = np.full(160, 20, np.int16), np.full(160, 3000, np.int16)
    frames = [quiet] * 20 + [loud] + [quiet] * 20 + [loud] * 30 + [quiet] * 5 + [loud] * 10 + [quiet] * 40
    began: list[float] = []
    for number, frame in enumerate(frames):
        listener.feed(frame, number * 0.02)
        if listener.began is not None and listener.began not in began:
            began.append(listener.began)
    assert began == [41 * 0.02]
    assert listener.last_voice == pytest.approx(85 * 0.02)
    assert listener.silent_for(0.7, 0.0)
    assert not listener.silent_for(0.9, 0.0)


def packet(number: int, *, ssrc: int = 1, sequence: int | None = None) -> Packet:
    """A packet of 20 ms whose samples are all its number."""
    return Packet(0, (number if sequence is None else sequence) % 0x10000, number * 160, ssrc, bytes(160))


def feed(buffer: JitterBuffer, number: int, at: float, ssrc: int = 1) -> None:
    """Let that packet arrive."""
    buffer.arrived(packet(number, ssrc=ssrc), np.full(160, number, np.int16), at)


def played(buffer: JitterBuffer, start: int, end: int) -> list[int]:
    """The numbers of what is played in frames of 20 ms; 0 is silence."""
    return [int(np.median(buffer.play(frame * 0.02, 160))) for frame in range(start, end)]


def test_the_jitter_buffer_waits_40_ms() -> None:
    """Audio is played 40 ms after its packet came, in order, losses are silence."""
    buffer = JitterBuffer(8000)
    for number, at in ((5, 0.0), (6, 0.02), (8, 0.041), (7, 0.045), (10, 0.1)):
        feed(buffer, number, at)
    assert played(buffer, 0, 9) == [0, 0, 5, 6, 7, 8, 0, 10, 0]
    assert (buffer.late, buffer.delay) == (0, pytest.approx(0.04))


def test_the_jitter_buffer_begins_between_two_frames() -> None:
    """The delay is exact: audio begins in the middle of a frame when its time is there."""
    buffer = JitterBuffer(8000)
    feed(buffer, 3, 0.010)
    assert played(buffer, 0, 2) == [0, 0]
    frame = buffer.play(0.04, 160)
    assert (frame[:80] == 0).all()
    assert (frame[80:] == 3).all()


def test_the_jitter_buffer_grows_and_shrinks() -> None:
    """A late packet makes it a packet longer; when nothing needed that for long, it is given up."""
    buffer = JitterBuffer(8000)
    heard: list[int] = []
    for number in range(1, 400):
        now = number * 0.02
        feed(buffer, number, now + (0.115 if number in (20, 27, 34) else 0.0))
        heard += played(buffer, number, number + 1)
        if number == 40:
            assert buffer.delay == pytest.approx(0.1)
            assert buffer.late == 3
    assert buffer.delay < 0.09
    assert heard[-1] == 399 - round(buffer.delay / 0.02)


def test_another_stream_begins_anew() -> None:
    """A new SSRC with other timestamps is played after 40 ms, too."""
    buffer = JitterBuffer(8000)
    feed(buffer, 1, 0.0)
    assert played(buffer, 0, 4) == [0, 0, 1, 0]
    feed(buffer, 9000, 0.1, ssrc=2)
    assert played(buffer, 5, 9) == [0, 0, 9000, 0]


def test_a_stream_that_fell_behind_is_heard_again() -> None:
    """A sender that stood still for half a second is late for good: a telephone is not deaf then."""
    buffer = JitterBuffer(8000)
    heard: list[int] = []
    for number in range(1, 100):
        now = number * 0.02 + (0.5 if number > 20 else 0.0)
        feed(buffer, number, now)
        heard += played(buffer, number + (25 if number > 20 else 0), number + (26 if number > 20 else 1))
    assert buffer.late < 15
    assert heard[-1] >= 99 - round(buffer.delay / 0.02) - 1


def test_losses_and_jitter_are_counted() -> None:
    """Loss is what the sequence numbers lack, also past 65,535; jitter is that of RFC 3550."""
    counted = Statistics()
    for number in range(65_500, 65_700):
        if number not in (65_530, 65_540):
            counted.arrived(packet(number), number * 0.02 + (0.004 if number % 2 else 0.0))
    assert (counted.packets, counted.lost, counted.expected) == (198, 2, 200)
    assert counted.jitter == pytest.approx(0.004, rel=0.1)
    counted.arrived(packet(9, ssrc=2, sequence=9), 3000.0)
    assert (counted.expected, counted.lost) == (201, 2)


def test_what_is_no_rtp_is_left_alone() -> None:
    """Padding and extensions are cut off; RTCP and garbage are no packets."""
    whole = Packet(8, 7, 1600, 5, b"abcd", marker=True)
    assert parse(whole.pack()) == whole
    data = whole.pack()
    extended = bytes([data[0] | 0x30]) + data[1:12] + b"\x00\x01\x00\x01wxyzabcd" + b"\x00\x02"
    assert parse(extended) == whole
    assert [parse(garbage) for garbage in (b"", b"\x80\xc8" + bytes(30), bytes(40), b"\xbf" + bytes(13))] == [
        None
    ] * 4


def test_a_key_press() -> None:
    """A key is one event with growing duration, its end sent three times (RFC 4733)."""
    packets = key_press("#", 5)
    assert [payload[0] for payload, _ in packets] == [11] * 8
    assert [int.from_bytes(payload[2:]) for payload, _ in packets] == [160, 320, 480, 640, 800, 800, 800, 800]
    assert [payload[1] >> 7 for payload, _ in packets] == [0] * 5 + [1] * 3
    assert [marker for _, marker in packets] == [True] + [False] * 7


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722"])
def test_codecs_carry_a_tone(name: str) -> None:
    """A tone comes back from every codec with the noise that the codec adds, and no more."""
    codec = codec_named(name)
    coder = codec.coder()
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(codec.rate) / codec.rate)).astype(np.int16)
    size = codec.rate // 50
    payloads = [coder.encode(tone[at : at + size]) for at in range(0, len(tone), size)]
    assert {len(payload) for payload in payloads} == {160}
    back = np.concatenate([coder.decode(payload) for payload in payloads]).astype(float)
    lag = int(np.argmax(np.correlate(back[:2000], tone[:1000].astype(float), "valid")))
    error = back[lag + 2000 : lag + 6000] - tone[2000:6000]
    assert 10 * np.log10(np.mean(tone[2000:6000].astype(float) ** 2) / np.mean(error**2)) > 20


def test_mu_law_is_that_of_the_standard() -> None:
    """Levels agree with an encoder written from ITU-T G.711's segments."""
    samples = np.arange(-32000, 32000, 37, dtype=np.int16)
    coder = codec_named("PCMU").coder()
    ours = coder.decode(coder.encode(samples)).astype(int)
    theirs = coder.decode(mulaw(samples.astype(float))).astype(int)
    assert np.abs(ours - samples).max() <= np.abs(theirs - samples).max()
    assert np.mean(ours == theirs) > 0.95


def test_session_descriptions() -> None:
    """Host, port, events and hold are read from an answer; a refused stream has port 0."""
    body = offer("127.0.0.1", 4000, codec_named("PCMA"))
    media = read(body)
    assert media is not None
    assert (media.host, media.port, media.payload_types, media.events) == ("127.0.0.1", 4000, (8, 101), 101)
    assert media.receives
    held = read(body.replace(b"a=sendrecv", b"a=sendonly"))
    assert held is not None
    assert not held.receives
    refused = read(body.replace(b"audio 4000", b"audio 0"))
    assert refused is not None
    assert refused.port == 0
    assert read(b"v=0\r\n") is None
