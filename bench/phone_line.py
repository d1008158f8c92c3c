"""A telephone line in this process: what an `AgentSession` hears and says, with a call's delays.

The caller's side is a schedule of sounds; the agent's side is recorded with the time at which each sample
reaches the caller's ear. Playing out uses the framework's own room output, over a source that keeps time but
has no room.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from livekit import rtc
from livekit.agents.voice import io
from livekit.agents.voice.room_io._output import _ParticipantAudioOutput
from numpy.typing import NDArray

from bench.corpus import FRAME, RATE, Audio, line_noise, through_g711

FRAME_S = FRAME / RATE
WAY_IN_S = 0.08
"""From the caller's mouth to the agent: packet, jitter buffers of two hops."""
WAY_OUT_S = 0.10
"""From the agent's playout to the caller's ear."""
ECHO_DELAY_S = 0.2
ECHO_GAIN = 0.1
"""The agent's voice comes back 200 ms after it was heard, 20 dB weaker."""
AUDIBLE_DBFS = -45.0
AGENT_RATE = 24_000
_QUEUE_S = 0.2


@dataclass
class Played:
    """A stretch of the agent's audio, and when it was played (Unix seconds, at the agent)."""

    at: float
    pcm: NDArray[np.int16]

    @property
    def end(self) -> float:
        """When its last sample was played."""
        return self.at + len(self.pcm) / AGENT_RATE


class PacedSource:
    """`rtc.AudioSource` without a room: a queue of 200 ms that plays in real time."""

    def __init__(self) -> None:
        self.played: list[Played] = []
        self._dry_at = 0.0

    @property
    def queued_duration(self) -> float:
        """Seconds not played yet."""
        return max(0.0, self._dry_at - time.time())

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Queue a frame; returns when no more than 200 ms are queued."""
        start = max(time.time(), self._dry_at)
        self.played.append(Played(start, np.frombuffer(frame.data, dtype=np.int16).copy()))
        self._dry_at = start + frame.samples_per_channel / frame.sample_rate
        await asyncio.sleep(max(0.0, self._dry_at - time.time() - _QUEUE_S))

    def clear_queue(self) -> None:
        """Drop what has not been played."""
        now = time.time()
        while self.played and self.played[-1].at >= now:
            self.played.pop()
        if self.played and self.played[-1].end > now:
            last = self.played[-1]
            last.pcm = last.pcm[: int((now - last.at) * AGENT_RATE)]
        self._dry_at = min(self._dry_at, now)

    async def wait_for_playout(self) -> None:
        """Wait until everything has been played."""
        while (queued := self.queued_duration) > 0:  # noqa: ASYNC110 (time, not an event, ends it)
            await asyncio.sleep(queued)

    async def aclose(self) -> None:
        """Nothing to free."""


class Mouth(_ParticipantAudioOutput):
    """The framework's room output on a `PacedSource`."""

    def __init__(self) -> None:
        super().__init__(
            cast(Any, None),
            sample_rate=AGENT_RATE,
            num_channels=1,
            track_publish_options=rtc.TrackPublishOptions(),
        )
        self.source = PacedSource()
        self._audio_source = cast(Any, self.source)
        self._subscribed_fut.set_result(None)
        self._forwarding_task = asyncio.create_task(self._forward_audio())
        self.pauses: list[list[float]] = []
        """Start and end of each pause, Unix seconds."""

    def pause(self) -> None:
        """Stop playing, and note when."""
        if not self.pauses or len(self.pauses[-1]) == 2:
            self.pauses.append([time.time()])
        super().pause()

    def resume(self) -> None:
        """Play on, and note when."""
        if self.pauses and len(self.pauses[-1]) == 1:
            self.pauses[-1].append(time.time())
        super().resume()


class Line(io.AudioInput):
    """The caller's line into the agent: frames of 20 ms at 8 kHz, one every 20 ms."""

    def __init__(self, mouth: Mouth, *, snr_db: float | None, echo: bool, seed: str) -> None:
        super().__init__(label="line")
        self._mouth, self._echo = mouth, echo
        self._noise = (
            line_noise(10.0, snr_db, seed) if snr_db is not None else np.zeros(RATE * 10, np.float32)
        )
        self._said: list[tuple[float, Audio]] = []
        self.opened_at = time.time()
        self._frames = 0

    def open(self) -> None:
        """Begin now: what was not fetched before is not made up for."""
        self.opened_at = time.time() - self._frames * FRAME_S

    def say(self, audio: Audio, at: float) -> None:
        """Let the caller make this sound, beginning at Unix time `at` (at the caller)."""
        self._said.append((at, audio))

    async def __anext__(self) -> rtc.AudioFrame:
        spoken_at = self.opened_at + self._frames * FRAME_S
        self._frames += 1
        await asyncio.sleep(max(0.0, spoken_at + FRAME_S + WAY_IN_S - time.time()))
        start = (self._frames * FRAME) % (len(self._noise) - FRAME)
        mixed = self._noise[start : start + FRAME].copy()
        for at, audio in self._said:
            _add(mixed, audio, round((at - spoken_at) * RATE))
        if self._echo:
            mixed += ECHO_GAIN * self._ear(spoken_at - ECHO_DELAY_S)
        pcm = through_g711(mixed)
        return rtc.AudioFrame(pcm.tobytes(), RATE, 1, FRAME)

    def _ear(self, heard_at: float) -> Audio:
        """A frame of what the caller hears from `heard_at` on, at 8 kHz."""
        out = np.zeros(FRAME * 3, np.float32)
        played_at = heard_at - WAY_OUT_S
        for piece in reversed(self._mouth.source.played):
            if piece.end < played_at:
                break
            _add(out, piece.pcm.astype(np.float32) / 32768.0, round((piece.at - played_at) * AGENT_RATE))
        return out.reshape(FRAME, 3).mean(axis=1)


def _add(into: Audio, audio: Audio, offset: int) -> None:
    """Mix `audio`, which begins `offset` samples after `into` does."""
    first, last = max(0, offset), min(len(into), offset + len(audio))
    if first < last:
        into[first:last] += audio[first - offset : last - offset]


def audible(played: list[Played]) -> list[tuple[float, float]]:
    """Stretches of 20 ms in which the agent was heard: start and end at the caller's ear."""
    block = AGENT_RATE // 50
    found: list[tuple[float, float]] = []
    for piece in played:
        for n in range(0, len(piece.pcm), block):
            part = piece.pcm[n : n + block].astype(np.float32) / 32768.0
            if len(part) and 10 * np.log10(float(np.mean(np.square(part))) + 1e-12) > AUDIBLE_DBFS:
                start = piece.at + n / AGENT_RATE + WAY_OUT_S
                found.append((start, start + len(part) / AGENT_RATE))
    return found
