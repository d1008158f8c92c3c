"""Where speech starts and ends in a call's audio. No I/O: audio in, events out.

Two measures of quiet, both from 32 ms chunks. *Hushed*: the level is far below the loudest of this segment,
or down at the noise of the line, or the detector doubts; it comes 60 ms before the second and is enough to
decode on suspicion. *Silent*: the detector says there is no speech. After the end-pointing time of silence,
or a little more of hush, the segment is over.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .vad import CHUNK, CHUNK_S, RATE, VoiceActivity, level_db

VOICED = 0.5
"""Speech starts above this probability."""
SILENT = 0.35
"""Speech has stopped below this one."""
HUSH_DB = 30.0
"""A chunk this far below the loudest of its segment is a pause or its beginning."""
SHORTEST_ENDPOINT_S = 0.1
"""The shortest end-pointing that is heeded: three chunks. Stops inside words ("fif-ty") last up to 90 ms."""
_HUSHED_CHUNKS = 2
_OVER_NOISE_DB = 3.0
_ABOVE_NOISE_DB = 12.0
_NOT_SPEECH = 0.15
_NOISE_PACE = 0.2
_START_CHUNKS = 2
_LEAD_CHUNKS = 10
_DOUBT_S = 0.1
_LONG_S = 6.0
_LONGEST_S = 9.4


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody began to speak at `at` seconds of the stream."""

    at: float


@dataclass(frozen=True)
class Heard:
    """Audio of the segment so far, 16 kHz, from `start` seconds of the stream.

    `paused` is set at the first hush after speech: what is said may be complete, decode it with haste.
    `voiced` is the end of the last chunk with voice; two events with the same one hold the same words.
    """

    segment: int
    start: float
    voiced: float
    pcm: NDArray[np.int16]
    paused: bool


@dataclass(frozen=True)
class Ended:
    """A segment is over. `endpoint` is false when it was cut only because it became long."""

    segment: int
    start: float
    end: float
    voiced: float
    pcm: NDArray[np.int16]
    endpoint: bool


Event = SpeechStarted | Heard | Ended


class Listener:
    """Segments one stream. Feed it with `push`, read events; `flush` ends a segment early."""

    def __init__(self, endpoint_s: float = 0.01, partial_s: float = 0.25) -> None:
        self.endpoint_s = max(endpoint_s, SHORTEST_ENDPOINT_S)
        self._partial_s = partial_s
        self._vad = VoiceActivity()
        self._rest: NDArray[np.int16] = np.zeros(0, np.int16)
        self._lead: deque[NDArray[np.int16]] = deque(maxlen=_LEAD_CHUNKS)
        self._chunks: list[NDArray[np.int16]] = []
        self._time = 0.0
        self._segment = 0
        self._start = 0.0
        self._voiced = 0.0
        self._voiced_run = 0
        self._silent_run = 0
        self._hushed_run = 0
        self._loudest = -100.0
        self._noise = -100.0
        self._next_partial = 0.0
        self._doubted = False

    @property
    def time(self) -> float:
        """Seconds of audio heard so far."""
        return self._time

    @property
    def speaking(self) -> bool:
        """Whether a segment is open."""
        return bool(self._chunks)

    @property
    def silence_s(self) -> float:
        """Seconds since the last chunk with voice."""
        return self._time - self._voiced

    def push(self, pcm: NDArray[np.int16]) -> list[Event]:
        """Take 16 kHz audio of any length."""
        events: list[Event] = []
        pcm = np.concatenate((self._rest, pcm))
        whole = len(pcm) // CHUNK * CHUNK
        for at in range(0, whole, CHUNK):
            self._chunk(pcm[at : at + CHUNK], events)
        self._rest = pcm[whole:]
        return events

    def flush(self) -> list[Event]:
        """End the open segment now."""
        if not self._chunks:
            return []
        if len(self._rest):
            self._chunks.append(self._rest)
            self._time += len(self._rest) / RATE
            self._rest = np.zeros(0, np.int16)
        return [self._end(len(self._chunks), endpoint=True)]

    def _chunk(self, chunk: NDArray[np.int16], events: list[Event]) -> None:
        probability = self._vad.probability(chunk)
        self._time += CHUNK_S
        if not self._chunks:
            self._wait(chunk, probability, events)
            return
        self._chunks.append(chunk)
        level = level_db(chunk)
        self._loudest = max(self._loudest, level)
        noise = min(self._noise + _OVER_NOISE_DB, self._loudest - _ABOVE_NOISE_DB)
        hushed = probability < VOICED or level < max(self._loudest - HUSH_DB, noise)
        if not hushed:
            self._voiced = self._time
            self._doubted = False
        self._hushed_run = self._hushed_run + 1 if hushed else 0
        self._silent_run = self._silent_run + 1 if probability < SILENT else 0
        self._judge(events)

    def _wait(self, chunk: NDArray[np.int16], probability: float, events: list[Event]) -> None:
        self._lead.append(chunk)
        self._voiced_run = self._voiced_run + 1 if probability >= VOICED else 0
        if probability < _NOT_SPEECH:
            self._noise += _NOISE_PACE * (level_db(chunk) - self._noise)
        if self._voiced_run < _START_CHUNKS:
            return
        events.append(SpeechStarted(self._time - self._voiced_run * CHUNK_S))
        self._chunks = list(self._lead)
        self._lead.clear()
        self._start = self._time - len(self._chunks) * CHUNK_S
        self._voiced = self._time
        self._loudest = max(level_db(part) for part in self._chunks)
        self._silent_run = self._hushed_run = self._voiced_run = 0
        self._doubted = False
        self._next_partial = self._time + self._partial_s

    def _judge(self, events: list[Event]) -> None:
        length = self._time - self._start
        silent, hushed = self._silent_run * CHUNK_S, self._hushed_run * CHUNK_S
        if silent >= self.endpoint_s - 1e-6 or hushed >= self.endpoint_s + _DOUBT_S:
            events.append(self._end(len(self._chunks), endpoint=True))
        elif length >= _LONG_S and hushed >= 0.06:
            events.append(self._end(len(self._chunks) - 1, endpoint=False))
        elif length >= _LONGEST_S:
            events.append(self._end(self._quietest(), endpoint=False))
        elif self._hushed_run >= _HUSHED_CHUNKS and not self._doubted:
            self._doubted = True
            events.append(self._heard(paused=True))
        elif self._time >= self._next_partial and not self._hushed_run:
            self._next_partial = self._time + self._partial_s
            events.append(self._heard(paused=False))

    def _heard(self, paused: bool) -> Heard:
        return Heard(self._segment, self._start, self._voiced, np.concatenate(self._chunks), paused)

    def _quietest(self) -> int:
        """Where to cut speech that does not pause: the quietest chunk of the last two seconds."""
        recent = int(2 / CHUNK_S)
        levels = [level_db(chunk) for chunk in self._chunks[-recent:]]
        return len(self._chunks) - recent + int(np.argmin(levels))

    def _end(self, count: int, endpoint: bool) -> Ended:
        """Close the segment after `count` chunks; what follows opens the next one."""
        used, kept = self._chunks[:count], self._chunks[count:]
        start, self._start = self._start, self._time - sum(len(part) for part in kept) / RATE
        ended = Ended(
            self._segment,
            start,
            self._start,
            min(self._voiced, self._start),
            np.concatenate(used),
            endpoint,
        )
        self._segment += 1
        self._doubted = False
        if endpoint:
            self._lead.extend(used[-2:])
            self._chunks = []
            self._voiced_run = 0
        else:
            self._chunks = kept or [np.zeros(0, np.int16)]
            self._next_partial = self._time + self._partial_s
        return ended
