"""Whether the agent speaks right now: a causal detector for what the caller does next, not for measuring."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

ABOVE_FLOOR = 12.0
"""A voice stands so far above the quietest frame of the last seconds, in dB, ..."""
FAINTEST = -50.0
"""... and is at least so loud, in dB of full scale."""
FLOOR_FRAMES = 150
"""Three seconds of 20 ms."""
ONSET_FRAMES = 2
"""One loud frame is a click; two in a row are a voice."""
PAUSE = 0.2
"""Shorter pauses are inside a word or between two, in seconds."""


class Listener:
    """Fed with every frame that is heard and its time (seconds on any one clock)."""

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=FLOOR_FRAMES)
        self._loud = 0
        self._first_loud = 0.0
        self.now = 0.0
        """Time of the last frame."""
        self.began: float | None = None
        """When the agent began to speak; None while he is silent (pauses under `PAUSE` do not count)."""
        self.last_voice: float | None = None
        """When the agent was last heard; None before his first word."""

    @property
    def speaking(self) -> bool:
        """Whether the agent speaks."""
        return self.began is not None

    def feed(self, frame: NDArray[np.int16], at: float) -> None:
        """Hear one frame."""
        self.now = at
        level = level_db(frame)
        self._levels.append(level)
        if level > max(FAINTEST, min(self._levels) + ABOVE_FLOOR):
            if not self._loud:
                self._first_loud = at
            self._loud += 1
            if self._loud >= ONSET_FRAMES:
                self.last_voice = at
                if self.began is None:
                    self.began = self._first_loud
        else:
            self._loud = 0
            if self.last_voice is not None and at - self.last_voice > PAUSE:
                self.began = None

    def silent_for(self, seconds: float, since: float) -> bool:
        """Whether nothing was heard for so long; before the first word, counted from `since`."""
        last = since if self.last_voice is None else max(since, self.last_voice)
        return not self.speaking and self.now - last >= seconds


def level_db(frame: NDArray[np.int16]) -> float:
    """RMS level in dB of full scale, not under -90."""
    if not len(frame):
        return -90.0
    return max(-90.0, 10 * float(np.log10(np.mean((frame / 32768.0) ** 2) + 1e-9)))
