"""PCM between a call and a room, with bounded delay both ways.

Towards the caller nothing waits for a clock: a frame that the room brings is mixed and written at once,
and what would make the caller hear more than `MAX_QUEUED_MS` late is dropped, so that an agent that
falls silent is silent. Towards the room one thread for all calls (`Clock`) takes what came by RTP; a gap
is filled with silence and what came too late is dropped, so that the room's clock never runs away from
the caller's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol

import numpy as np
from baresip import AudioNotActive, AudioRestarted
from livekit import rtc

from sip.service.media.room_audio import FRAME_MS, Listener, Microphone, frame_bytes
from sip.service.media.tones import Ringback

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.005
"""How often the clock looks for audio from callers: RTP waits for half of it on average."""
MAX_QUEUED_MS = 50
"""Written audio that may wait for its RTP packet. With a frame that waits to be mixed, the caller never hears
more than 60 ms late: the contract in docs/design.md."""
RESERVE_MS = 10
"""Silence in front of audio that starts, so that the next frames may come a little late without a gap."""
SPARE_MS = 30
"""More than this left all the time is more than the reserve needs, and is given back."""
MAX_LEAD_MS = 60
"""How far audio towards the room may run ahead of the clock (late packets in a burst) without a drop."""
MAX_GAP_MS = 60
"""How long the caller may be silent on the wire before the room gets silence in place of audio."""
_READ_BYTES = 16_000 * 2 // 5
# 200 ms of wideband audio at a time: whatever a stall left, it is seen at once and trimmed.


class AudioIn(Protocol):
    """Audio from the caller (`baresip.CallAudio`)."""

    def read(self, max_bytes: int) -> bytes:
        """What came since the last read."""
        ...


class AudioInfo(Protocol):
    """What is known of a call's audio."""

    @property
    def tx_buffered(self) -> int:
        """Bytes written and not yet sent."""
        ...


class AudioOut(Protocol):
    """Audio to the caller (`baresip.CallAudio`)."""

    def write(self, pcm: bytes) -> int:
        """Queue audio; returns the bytes taken."""
        ...

    def info(self) -> AudioInfo:
        """What is queued."""
        ...


class Uplink:
    """Caller → room. `tick` is called on the clock's thread only."""

    def __init__(self, audio: AudioIn, speak: Callable[[bytes], None], rate: int) -> None:
        self._audio, self._speak = audio, speak
        self._size = frame_bytes(rate)
        self._silence = bytes(self._size)
        self._rest = b""
        self._lead = 0.0
        """Milliseconds of audio sent beyond what the clock says was due."""
        self._last: float | None = None
        self.heard_at: float | None = None
        """When the caller's audio came last, by `time.monotonic`."""
        self.dropped_ms = 0
        self.filled_ms = 0
        self.tone: Ringback | None = None
        """What the room hears in place of the caller."""
        self.on_restart: Callable[[], None] = _nothing

    def tick(self, now: float) -> None:
        """Bring the room what came since the last tick."""
        pcm = self._read()
        if pcm:
            self.heard_at = now
        if self._last is None:
            if not pcm and self.tone is None:
                return
            self._last = now
        self._lead -= (now - self._last) * 1000
        self._last = now
        if self.tone is not None:
            self._play(self.tone)
            return
        self._rest += pcm
        while len(self._rest) >= self._size:
            frame, self._rest = self._rest[: self._size], self._rest[self._size :]
            # The oldest goes first: what is behind it in the burst is closer to now.
            if self._lead + len(self._rest) * FRAME_MS / self._size > MAX_LEAD_MS:
                self.dropped_ms += FRAME_MS
            else:
                self._say(frame)
        while self._lead < -MAX_GAP_MS:
            self.filled_ms += FRAME_MS
            self._say(self._silence)

    def _play(self, tone: Ringback) -> None:
        self._rest = b""
        while self._lead < 0:
            self._say(tone.frame(self._size))

    def _say(self, frame: bytes) -> None:
        self._speak(frame)
        self._lead += FRAME_MS

    def _read(self) -> bytes:
        try:
            return self._audio.read(_READ_BYTES)
        except AudioRestarted:
            # A hold or another re-INVITE, not the end of the call; the codec may have changed.
            self.on_restart()
        except AudioNotActive:
            pass
        return b""


class Downlink:
    """Room → caller: mixes speakers and writes to the call. `hear` may be called on any thread."""

    def __init__(self, audio: AudioOut, rate: int) -> None:
        self._audio = audio
        self.frame_size = frame_bytes(rate)
        self._bytes_per_ms = self.frame_size // FRAME_MS
        self._lock = threading.Lock()
        self._speakers: dict[Hashable, deque[bytes]] = {}
        self._least_ms = MAX_QUEUED_MS
        self._written = 0
        self.dropped_ms = 0

    def add(self, speaker: Hashable) -> None:
        """A speaker whose frames will come."""
        with self._lock:
            self._speakers[speaker] = deque(maxlen=MAX_QUEUED_MS // FRAME_MS)

    def remove(self, speaker: Hashable) -> None:
        """A speaker that has gone; one that is unknown is no error."""
        with self._lock:
            self._speakers.pop(speaker, None)

    def hear(self, speaker: Hashable, frame: bytes) -> None:
        """One frame of a speaker."""
        with self._lock:
            waiting = self._speakers.get(speaker)
            if waiting is None:
                return
            if len(self._speakers) == 1 and not waiting:
                self._write(frame)
                return
            waiting.append(frame)
            while self._complete():
                frames = [each.popleft() for each in self._speakers.values() if each]
                self._write(mix(frames))

    def _complete(self) -> bool:
        """Whether everybody has a frame, or somebody has two: who has none then is not waited for."""
        lengths = [len(each) for each in self._speakers.values()]
        return min(lengths) > 0 or max(lengths) > 1

    def _write(self, frame: bytes) -> None:
        try:
            queued = self._audio.info().tx_buffered // self._bytes_per_ms
            if queued + FRAME_MS > MAX_QUEUED_MS or self._is_spare(queued):
                self.dropped_ms += FRAME_MS
                return
            if queued == 0:
                frame = bytes(RESERVE_MS * self._bytes_per_ms) + frame
            self._audio.write(frame)
        except (AudioNotActive, AudioRestarted):
            # Before the answer, after the end, or between two sessions: nobody listens.
            self.dropped_ms += FRAME_MS

    def _is_spare(self, queued: int) -> bool:
        """Whether a whole second has shown that less would do (after a stall), so that one frame can go."""
        self._least_ms = min(self._least_ms, queued)
        self._written += 1
        if self._written < 1000 // FRAME_MS:
            return False
        spare = self._least_ms >= SPARE_MS
        self._least_ms, self._written = MAX_QUEUED_MS, 0
        return spare


def mix(frames: list[bytes]) -> bytes:
    """The sum of 16-bit frames of one length, clipped."""
    if len(frames) == 1:
        return frames[0]
    total = np.frombuffer(frames[0], np.int16).astype(np.int32)
    for frame in frames[1:]:
        total += np.frombuffer(frame, np.int16)
    return np.clip(total, -32768, 32767).astype(np.int16).tobytes()


class Bridge:
    """Both directions of one call. Made and changed on the event loop; closing ends both directions."""

    def __init__(
        self, clock: Clock, audio_in: AudioIn, audio_out: AudioOut, microphone: Microphone, rate: int
    ) -> None:
        self._clock, self.rate = clock, rate
        self.uplink = Uplink(audio_in, microphone.write, rate)
        self.downlink = Downlink(audio_out, rate)
        self._listeners: dict[str, Listener] = {}
        self._tone: Callable[[float], None] | None = None
        clock.add(self.uplink.tick)

    def add(self, track: rtc.RemoteAudioTrack) -> None:
        """Let the caller hear a track; one that is there already is opened afresh."""
        sid = track.sid
        self.remove(sid)
        self.downlink.add(sid)
        self._listeners[sid] = Listener(track, self.rate, lambda frame: self.downlink.hear(sid, frame))

    def remove(self, sid: str) -> None:
        """The caller no longer hears this track; an unknown one is no error."""
        if listener := self._listeners.pop(sid, None):
            listener.close()
        self.downlink.remove(sid)

    def ring_room(self, on: bool) -> None:
        """Whether the room hears ring-back in place of the caller."""
        self.uplink.tone = Ringback(self.rate) if on else None

    def ring_caller(self, on: bool) -> None:
        """Whether the caller hears ring-back, with whatever the room says."""
        if self._tone is not None:
            self._clock.remove(self._tone)
            self.downlink.remove(_TONE)
            self._tone = None
        if on:
            self.downlink.add(_TONE)
            self._tone = _pace(Ringback(self.rate), self.downlink)
            self._clock.add(self._tone)

    def close(self) -> None:
        """End both directions; closing twice is safe."""
        self._clock.remove(self.uplink.tick)
        self.ring_caller(False)
        for sid in [*self._listeners]:
            self.remove(sid)


_TONE = "tone"


def _pace(tone: Ringback, downlink: Downlink) -> Callable[[float], None]:
    """A ticker that plays a tone to the caller in real time."""
    due: float | None = None

    def tick(now: float) -> None:
        nonlocal due
        due = now if due is None else max(due, now - MAX_QUEUED_MS / 1000)
        while due <= now:
            downlink.hear(_TONE, tone.frame(downlink.frame_size))
            due += FRAME_MS / 1000

    return tick


class Clock:
    """One thread that ticks for all calls of the process."""

    def __init__(self, tick_seconds: float = TICK_SECONDS) -> None:
        self._tick_seconds = tick_seconds
        self._tickers: tuple[Callable[[float], None], ...] = ()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="media-clock", daemon=True)
        self._thread.start()

    def add(self, ticker: Callable[[float], None]) -> None:
        """Call `ticker(time.monotonic())` from now on; it must not block."""
        with self._changed:
            self._tickers = (*self._tickers, ticker)
            self._changed.notify()

    def remove(self, ticker: Callable[[float], None]) -> None:
        """Stop calling it; it may be under way once more. An unknown one is no error."""
        with self._changed:
            self._tickers = tuple(each for each in self._tickers if each != ticker)

    def close(self) -> None:
        """Stop the thread; closing twice is safe."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(1)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped:
            if not self._tickers:
                with self._changed:
                    self._changed.wait_for(lambda: self._tickers or self._stopped)
                due = time.monotonic()
            now = time.monotonic()
            for ticker in self._tickers:
                try:
                    ticker(now)
                except Exception:
                    # One call's trouble is not the others'.
                    logger.exception("a call's audio failed and is given up")
                    self.remove(ticker)
            due = max(due + self._tick_seconds, now)
            time.sleep(max(0.0, due - time.monotonic()))


def _nothing() -> None:
    """Where nobody asked to be told."""
