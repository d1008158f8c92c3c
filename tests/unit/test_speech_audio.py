"""Encodings of audio on the wires."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.speech.audio import DECODERS, ENCODERS, AudioFormatError, check_rate, read_wav, wav_bytes


def test_g711_known_values() -> None:
    """Values of ITU-T G.711: silence, the largest codes, and the signs."""
    assert DECODERS["mulaw"](bytes([0xFF, 0x7F, 0x00, 0x80])).tolist() == [0, 0, -32124, 32124]
    assert DECODERS["alaw"](bytes([0xD5, 0x55, 0x2A, 0xAA])).tolist() == [8, -8, -32256, 32256]
    assert ENCODERS["pcm_mulaw"](np.zeros(2, np.int16)) in (b"\xff\xff", b"\x7f\x7f")


@pytest.mark.parametrize(("to", "back"), [("pcm_mulaw", "mulaw"), ("pcm_alaw", "alaw")])
@given(samples=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_g711_stays_within_its_step(to: str, back: str, samples: list[int]) -> None:
    """A sample comes back within half a quantisation step: at most a 32nd of its size, counted from the
    132 that µ-law adds to it, and 8 near zero."""
    pcm = np.array(samples, np.int16)
    heard = DECODERS[back](ENCODERS[to](pcm)).astype(int)
    for sample, other in zip(np.clip(pcm.astype(int), -32635, 32635), heard, strict=True):
        assert abs(sample - other) <= max(8, (abs(sample) + 132) / 32)


def test_linear_encodings_are_exact() -> None:
    """16-bit PCM is not changed; floats are within one bit."""
    pcm = np.array([0, 1, -1, 32767, -32768], np.int16)
    assert DECODERS["linear16"](ENCODERS["pcm_s16le"](pcm)).tolist() == pcm.tolist()
    floats = np.frombuffer(ENCODERS["pcm_f32le"](pcm), "<f4")
    assert np.allclose(floats * 32768, pcm)


def test_an_odd_byte_is_left_out() -> None:
    """A cut sample at the end of a message does no harm."""
    assert DECODERS["linear16"](b"\x01\x00\x02").tolist() == [1]


def test_wav_round_trip_and_refusals() -> None:
    """A WAV is read as it was written; what is no WAV is refused, and so are odd sample rates."""
    pcm = np.arange(-100, 100, dtype=np.int16)
    read, rate = read_wav(wav_bytes(pcm, 8000))
    assert rate == 8000 and read.tolist() == pcm.tolist()
    with pytest.raises(AudioFormatError):
        read_wav(b"RIFF no wave")
    with pytest.raises(AudioFormatError, match="sample_rate 4000"):
        check_rate(4000)
