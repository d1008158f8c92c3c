"""Recorded sentences that need no provider. `render.py` makes them anew."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from livekit import rtc

_FRAME_MS = 20


@dataclass(frozen=True)
class Recording:
    """Speech that is ready to be played: mono, 16 bit, little-endian."""

    text: str
    sample_rate: int
    pcm: bytes

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.pcm) / 2 / self.sample_rate

    async def frames(self) -> AsyncIterator[rtc.AudioFrame]:
        """The audio in pieces of 20 ms, for `AgentSession.say(text, audio=…)`."""
        size = self.sample_rate * _FRAME_MS // 1000 * 2
        for start in range(0, len(self.pcm), size):
            piece = self.pcm[start : start + size]
            yield rtc.AudioFrame(piece, self.sample_rate, 1, len(piece) // 2)


TEXTS = {
    "moment": "One moment, please.",
    "again": "Sorry, I could not hear you. Please say that again.",
    "goodbye": "Sorry, something went wrong. Please call again.",
    "transfer": "Sorry, something went wrong. I will put you through.",
}


@cache
def recording(name: str) -> Recording:
    """One of `TEXTS`, from the WAV file beside this module."""
    with wave.open(str(Path(__file__).with_name(f"{name}.wav"))) as file:
        return Recording(TEXTS[name], file.getframerate(), file.readframes(file.getnframes()))
