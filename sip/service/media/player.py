"""Sounds for a caller who is in no room yet: one at a time, in real time, in place of the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from sip.service.media.bridge import MAX_QUEUED_MS, AudioOut, Downlink
from sip.service.media.room_audio import FRAME_MS
from sip.service.media.sounds import sound
from sip.service.media.tones import beep

BEEP = "beep"
"""The sound that is a tone; the others are sentences (`sip.service.media.sounds`)."""
_VOICE = "player"


class Ticking(Protocol):
    """What calls `ticker(time.monotonic())` every few milliseconds (`bridge.Clock`)."""

    def add(self, ticker: Callable[[float], None]) -> None:
        """Call it from now on."""
        ...

    def remove(self, ticker: Callable[[float], None]) -> None:
        """Stop calling it."""
        ...


class Player:
    """The caller's loudspeaker at `rate` Hz. A sound takes the place of the one before; "" is silence."""

    def __init__(self, clock: Ticking, audio: AudioOut, rate: int) -> None:
        self._clock, self._rate = clock, rate
        self._downlink = Downlink(audio, rate)
        self._downlink.add(_VOICE)
        self._playing: _Playing | None = None

    async def play(self, name: str) -> None:
        """Returns when it has been played, or when something else took its place."""
        self.stop()
        if not name:
            return
        pcm = beep(self._rate) if name == BEEP else sound(name, self._rate)
        playing = self._playing = _Playing(self._downlink, pcm)
        self._clock.add(playing.tick)
        await playing.over
        self._clock.remove(playing.tick)

    def stop(self) -> None:
        """Silence; stopping twice is safe."""
        if self._playing is not None:
            self._clock.remove(self._playing.tick)
            self._playing.finish()
            self._playing = None


class _Playing:
    """One sound on its way. `tick` is called on the clock's thread."""

    def __init__(self, downlink: Downlink, pcm: bytes) -> None:
        self._downlink = downlink
        size = downlink.frame_size
        pcm += bytes(-len(pcm) % size)
        self._frames = iter([pcm[at : at + size] for at in range(0, len(pcm), size)])
        self._due: float | None = None
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def tick(self, now: float) -> None:
        """Hand on what is due by now. After a stall a sound goes on where it was: a pause, not a hole."""
        due = now if self._due is None else max(self._due, now - MAX_QUEUED_MS / 2000)
        while due <= now:
            frame = next(self._frames, None)
            if frame is None:
                self._loop.call_soon_threadsafe(self.finish)
                return
            self._downlink.hear(_VOICE, frame)
            due += FRAME_MS / 1000
        self._due = due

    def finish(self) -> None:
        """It is over."""
        if not self.over.done():
            self.over.set_result(None)
