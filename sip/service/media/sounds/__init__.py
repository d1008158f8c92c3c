"""Recorded sentences for callers who are in no room yet. `render.py` makes them anew."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000
"""Of the files."""
TEXTS = {
    "enter_pin": "Please enter your PIN, followed by the pound key.",
    "wrong_pin": "That PIN is not right. Please try again.",
    "goodbye": "Goodbye.",
}
_TAPS = 63


@cache
def sound(name: str, rate: int) -> bytes:
    """One of `TEXTS` as 16-bit mono PCM at 8,000 or 16,000 Hz. Raises `KeyError` for another name."""
    TEXTS[name]
    with wave.open(str(Path(__file__).with_name(f"{name}.wav"))) as file:
        pcm = file.readframes(file.getnframes())
    if rate == SAMPLE_RATE:
        return pcm
    if 2 * rate != SAMPLE_RATE:
        raise ValueError(f"no sounds at {rate} Hz")
    return halved(pcm)


def halved(pcm: bytes) -> bytes:
    """Half the sample rate: what it cannot hold is filtered out first (windowed sinc)."""
    at = np.arange(_TAPS) - _TAPS // 2
    kernel = np.sinc(0.46 * at) * np.hamming(_TAPS)
    samples = np.convolve(np.frombuffer(pcm, np.int16), kernel / kernel.sum(), "same")[::2]
    return np.clip(samples.round(), -32768, 32767).astype(np.int16).tobytes()
