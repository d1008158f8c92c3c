"""Tones as PCM: ring-back, as in North America (440 + 480 Hz, 2 s on, 4 s off), and a short beep."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FREQUENCIES_HZ = (440, 480)
ON_SECONDS, OFF_SECONDS = 2, 4
LEVEL = 0.1
"""Peak of each of the two frequencies, of full scale: -20 dBFS."""
BEEP_HZ, BEEP_SECONDS = 880, 0.15


class Ringback:
    """An endless ring-back tone, cut into frames: 16-bit mono PCM at `rate` Hz."""

    def __init__(self, rate: int) -> None:
        self._cycle = _cycle(rate)
        self._at = 0

    def frame(self, size: int) -> bytes:
        """The next `size` bytes."""
        piece = self._cycle[self._at : self._at + size]
        self._at += size
        while len(piece) < size:
            self._at = size - len(piece)
            piece += self._cycle[: self._at]
        return piece


def beep(rate: int) -> bytes:
    """What was typed is accepted: a short tone, 16-bit mono PCM at `rate` Hz."""
    time = np.arange(round(BEEP_SECONDS * rate)) / rate
    # Whole periods under half a sine: it begins and ends without a click.
    tone = np.sin(2 * np.pi * BEEP_HZ * time) * np.sin(np.pi * time / BEEP_SECONDS)
    return (tone * 2 * LEVEL * 32767).astype(np.int16).tobytes()


@lru_cache(maxsize=4)
def _cycle(rate: int) -> bytes:
    time = np.arange(ON_SECONDS * rate) / rate
    tone = sum((np.sin(2 * np.pi * frequency * time) for frequency in FREQUENCIES_HZ), np.zeros_like(time))
    # Both frequencies make whole periods in 2 s, so the tone ends at zero and does not click.
    return (tone * LEVEL * 32767).astype(np.int16).tobytes() + bytes(2 * OFF_SECONDS * rate)
