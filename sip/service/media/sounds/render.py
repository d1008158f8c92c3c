"""Makes the recorded sentences anew: `./run python -m sip.service.media.sounds.render` (needs the extra lab).

A PIN is asked for before there is a room, an agent or a provider of speech. Synthesised with hibari-tts
(Apache-2.0), 16 kHz, mono, 16 bit; the same bytes each time.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sip.service.media.sounds import SAMPLE_RATE, TEXTS

RENDERED = 24_000
"""Sample rate of the synthesis."""
LEAD = 0.3
"""Seconds of silence in front: a telephone that has just answered loses the beginning."""


def main() -> None:
    """Write one WAV a sentence beside this script."""
    import soxr
    from hibari import Hibari

    speech = Hibari(threads=1)
    for name, sentence in TEXTS.items():
        audio = np.concatenate([np.asarray(part) for part in speech.stream(sentence, speed=1.1, seed=0)])
        audio = np.asarray(soxr.resample(_tightened(audio), RENDERED, SAMPLE_RATE))
        audio = np.concatenate([np.zeros(round(LEAD * SAMPLE_RATE)), audio])
        pcm = (audio / np.abs(audio).max() * 0.6 * 32767).astype("<i2")
        with wave.open(str(Path(__file__).with_name(f"{name}.wav")), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(pcm.tobytes())


def _tightened(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Silence at the ends cut to a tenth of a second, and pauses to two tenths."""
    margin = RENDERED // 10
    voiced = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
    pieces = np.split(voiced, np.flatnonzero(np.diff(voiced) > 2 * margin) + 1)
    return np.concatenate([audio[max(piece[0] - margin, 0) : piece[-1] + margin] for piece in pieces])


if __name__ == "__main__":
    main()
