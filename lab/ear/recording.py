"""A call's recording on disk: a stereo WAV (left: sent by the caller, right: heard), and `call.json`."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sip.errors import ConfigurationError

from .activity import RATE, Span
from .conversation import Conversation, Marks, hear


@dataclass(frozen=True)
class Recording:
    """Both channels (16-bit, 8 kHz, one clock), the marks on them, the caller's turns and asides."""

    sent: NDArray[np.int16]
    heard: NDArray[np.int16]
    marks: Marks
    turns: tuple[Span, ...]
    asides: tuple[Span, ...]

    def measure(self) -> Conversation:
        """What the ear finds."""
        return hear(self.sent, self.heard, self.marks, self.turns, self.asides)


def write_stereo(path: Path, sent: NDArray[np.int16], heard: NDArray[np.int16]) -> None:
    """Write both channels as 16-bit PCM at 8 kHz; the shorter one is filled with silence."""
    both = np.zeros((max(len(sent), len(heard)), 2), "<i2")
    both[: len(sent), 0], both[: len(heard), 1] = sent, heard
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(both.tobytes())


def read_recording(path: Path) -> Recording:
    """The recording at `path` with its `call.json` beside it. Raises `ConfigurationError` for others."""
    with wave.open(str(path), "rb") as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if shape != (2, 2, RATE):
            raise ConfigurationError(
                f"{path} is no recording of a call", f"channels, bytes, rate are {shape}"
            )
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    sidecar: dict[str, Any] = json.loads(path.with_name("call.json").read_text())
    return Recording(
        sent=both[:, 0].copy(),
        heard=both[:, 1].copy(),
        marks=Marks(sidecar["invite"], sidecar["answered"]),
        turns=tuple(Span(a, b) for a, b in sidecar["turns"]),
        asides=tuple(Span(a, b) for a, b in sidecar["asides"]),
    )
