"""The caller's audio, made before the call: synthesised sentences and WAV files."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sip.errors import ConfigurationError

from .performer import Sound
from .script import Interrupt, Play, Say, Script, Step, Utterance

RATE = 16_000
"""Rate of synthesised sentences; the line takes it to the codec's."""


class Speaker(Protocol):
    """Synthesises speech."""

    def speak(self, text: str, rate: int, voice: str) -> NDArray[np.int16]:
        """16-bit samples of `text`."""
        ...


def prepare(script: Script, speaker: Speaker) -> dict[Step, Sound]:
    """The audio of every step that speaks. Raises `ConfigurationError` for a WAV that cannot be played."""
    sounds: dict[Step, Sound] = {}
    for step in script.steps:
        if isinstance(step, Say | Interrupt):
            sounds[step] = Sound(_utter(step.utterance, speaker), RATE)
        elif isinstance(step, Play):
            sounds[step] = read_wav(step.file)
    return sounds


def read_wav(path: Path) -> Sound:
    """A WAV file of 16-bit samples, of any rate; several channels are mixed."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ConfigurationError(
                    f"cannot play {path}", f"{8 * file.getsampwidth()} bits a sample", "Save it with 16 bits."
                )
            raw = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
            rate = file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise ConfigurationError(f"cannot play {path}", str(error), "Save it as WAV, PCM, 16 bits.") from None
    return Sound(np.asarray(raw.mean(axis=1), np.int16), rate)


def _utter(utterance: Utterance, speaker: Speaker) -> NDArray[np.int16]:
    """Texts trimmed to their voice, and the pauses between them: each is as long as the script says."""
    parts: list[NDArray[np.int16]] = []
    for part in utterance:
        if isinstance(part, int):
            parts.append(np.zeros(RATE * part // 1000, np.int16))
        else:
            parts.append(_trimmed(speaker.speak(part, RATE, "caller")))
    return np.concatenate(parts)


def _trimmed(pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    """Without the silence around it (below -50 dB of full scale)."""
    loud = np.flatnonzero(np.abs(pcm) > 32768 * 10 ** (-50 / 20))
    return pcm[int(loud[0]) : int(loud[-1]) + 1] if len(loud) else pcm
