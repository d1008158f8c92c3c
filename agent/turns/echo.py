"""Telling the caller's voice from the agent's own echo and from line noise, by level alone.

A telephone line sends the agent's voice back, weaker and late. While the agent is audible, what comes in
below a threshold is taken for silence. The threshold starts careful and is learnt: on a line with no echo it
sinks within a second or two to just above the noise, so that a quiet caller can interrupt; on a line with
echo it stays just above the echo.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

_FLOOR_DBFS = -58.0
_START_DBFS = -33.0
_CEILING_DBFS = -29.0  # a caller on an ordinary line speaks at -30 to -15 dBFS
_MARGIN_DB = 6.0
_HANGOVER_S = 0.30
_LEARN_S = 6.0
_TAIL_S = 0.6  # the echo outlasts the agent's own playout: two network paths and the line


def level_dbfs(pcm: memoryview | bytes) -> float:
    """Root-mean-square level of 16-bit samples, in dB relative to full scale; -100 for silence."""
    samples = np.frombuffer(pcm, dtype=np.int16)
    if not samples.size:
        return -100.0
    mean = float(np.mean(np.square(samples.astype(np.float32))))
    return 10 * math.log10(mean / 32768.0**2) if mean > 0 else -100.0


class EchoGate:
    """Decides for each frame of the line whether it may be the caller. Times in seconds, levels in dBFS."""

    def __init__(self) -> None:
        self._threshold = _START_DBFS
        self._open_for = 0.0
        self._audible_for = 0.0
        self._heard: deque[tuple[float, float]] = deque()
        self._heard_s = 0.0

    @property
    def threshold(self) -> float:
        """Level below which a frame is not the caller while the agent is audible."""
        return self._threshold

    def passes(self, pcm: memoryview | bytes, duration: float, *, agent_speaking: bool) -> bool:
        """Whether this frame may be the caller's voice. Call it for every frame, in order."""
        if agent_speaking:
            self._audible_for = _TAIL_S
        elif self._audible_for > 0:
            self._audible_for -= duration
        if self._audible_for <= 0:
            self._open_for = 0.0
            return True
        level = level_dbfs(pcm)
        if level >= self._threshold:
            self._open_for = _HANGOVER_S
            return True
        if self._open_for > 0:
            self._open_for -= duration
            return True
        self._learn(level, duration)
        return False

    def _learn(self, level: float, duration: float) -> None:
        self._heard.append((level, duration))
        self._heard_s += duration
        while self._heard_s > _LEARN_S:
            self._heard_s -= self._heard.popleft()[1]
        if self._heard_s < 0.6:
            return
        loud = float(np.percentile([level for level, _ in self._heard], 95))
        self._threshold = min(max(loud + _MARGIN_DB, _FLOOR_DBFS), _CEILING_DBFS)
