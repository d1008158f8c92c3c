"""Makes the recorded sentences anew: `./run python -m agent.sounds.render` (needs the extra `lab`).

They are what a caller hears when no provider answers, so they must not need one. Synthesised with hibari-tts
(Apache-2.0), 24 kHz, mono, 16 bit; the same bytes each time.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from hibari import Hibari

from agent.sounds import TEXTS

SAMPLE_RATE = 24_000


def main() -> None:
    """Write one WAV a sentence beside this script."""
    speech = Hibari(threads=1)
    for name, sentence in TEXTS.items():
        audio = np.concatenate([np.asarray(part) for part in speech.stream(sentence, speed=1.15, seed=0)])
        audio = _tightened(audio)
        pcm = (audio / np.abs(audio).max() * 0.6 * 32767).astype("<i2")
        with wave.open(str(Path(__file__).with_name(f"{name}.wav")), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(pcm.tobytes())


def _tightened(audio: np.ndarray) -> np.ndarray:
    """Pauses cut to a fifth of a second and silence at the ends to half of that: the caller has waited
    already."""
    margin = SAMPLE_RATE // 10
    voiced = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
    pieces = np.split(voiced, np.flatnonzero(np.diff(voiced) > 2 * margin) + 1)
    return np.concatenate([audio[max(piece[0] - margin, 0) : piece[-1] + margin] for piece in pieces])


if __name__ == "__main__":
    main()
