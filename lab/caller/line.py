"""The caller's end of the audio: a thread that sends and plays RTP every 20 ms, and keeps all of it.

Both directions run on one steady clock, so the recording is exact by construction: frame n of what was sent
is what a microphone took in the 20 ms before its packet left; frame n of what was heard is what the
loudspeaker plays in the 20 ms after it left the jitter buffer.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .codec import Codec
from .rtp import JitterBuffer, Packet, Statistics, key_press, parse
from .sdp import Media

Pcm = NDArray[np.int16]
Done = Callable[[float], None]

SO_TIMESTAMPNS = 35
"""Linux stamps packets as they arrive (socket(7)): a busy machine does not make them late."""
FRAME = 0.020
"""Seconds of audio in a packet."""
KEY_FRAMES = 5
"""A key is held for 100 ms ..."""
KEY_PAUSE = 4
"""... and the next one comes 80 ms after the last packet of its end."""


class Line(threading.Thread):
    """Audio of one call. It listens from the start and sends once `connect` told where to.

    `play`, `press`, `echo` and `noise` may be called from any thread.
    """

    def __init__(self, host: str, codec: Codec, on_frame: Callable[[Pcm, float], None]) -> None:
        super().__init__(name="caller-line", daemon=True)
        self.codec = codec
        self.rate = codec.rate
        self.statistics = Statistics()
        self.buffer = JitterBuffer(codec.rate)
        self._coder = codec.coder()
        self._on_frame = on_frame
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.port: int = self._socket.getsockname()[1]
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._to: tuple[str, int] | None = None
        self._events = 0
        self._size = round(FRAME * codec.rate)
        self._queue: deque[tuple[Pcm, Done]] = deque()
        self._keys: deque[tuple[bytes, bool] | Done | None] = deque()
        self._echo: tuple[float, int, float] | None = None
        self._noise: tuple[Pcm, float] | None = None
        self._sent: list[Pcm] = []
        self._heard: list[Pcm] = []
        self._ssrc = random.getrandbits(32)
        self._sequence, self._timestamp = random.getrandbits(15), random.getrandbits(31)
        self._key_timestamp = 0
        self.began = 0.0
        """Time of the first sample that was sent (monotonic clock)."""

    def connect(self, media: Media) -> None:
        """Send to the far end from now on; to nobody while it holds the call."""
        with self._lock:
            self._to = (media.host, media.port) if media.port and media.receives else None
            self._events = media.events

    def play(self, pcm: Pcm, rate: int, done: Done) -> None:
        """Send these samples next; `done(time)` is called from the line's thread when the last has left."""
        with self._lock:
            self._queue.append((resampled(pcm, rate, self.rate), done))

    def press(self, digits: str, done: Done) -> None:
        """Press keys; `done(time)` when the last one is released."""
        with self._lock:
            for digit in digits:
                self._keys += [*key_press(digit, KEY_FRAMES), *[None] * KEY_PAUSE]
            self._keys.append(done)

    def echo(self, down_db: float, late: float, seconds: float) -> None:
        """Send back what is heard from now on, so much fainter and later."""
        with self._lock:
            self._echo = (10 ** (-down_db / 20), round(late * self.rate), time.monotonic() + seconds)

    def noise(self, loop: NDArray[np.float64], seconds: float) -> None:
        """Send this noise (samples from -1 to 1 at the codec's rate, repeated) under everything else."""
        with self._lock:
            self._noise = (np.asarray(loop * 32767, np.int16), time.monotonic() + seconds)

    def close(self) -> None:
        """Stop the thread and close the socket; closing twice is safe."""
        self._over.set()
        if self.is_alive():
            self.join(2)
        self._socket.close()

    def heard_since(self, at: float) -> Pcm:
        """What was heard from a time on to now, at the codec's rate."""
        with self._lock:
            frames = self._heard[max(0, int((at - self.began) / FRAME) - 1) :]
        return np.concatenate(frames) if frames else np.zeros(0, np.int16)

    def recording(self, start: float, end: float, rate: int) -> tuple[Pcm, Pcm]:
        """(sent, heard) between two times of the monotonic clock, at `rate`."""
        with self._lock:
            tracks = (self._sent, self.began), (self._heard, self.began + FRAME)
            whole = [(np.concatenate([*frames, np.zeros(0, np.int16)]), at) for frames, at in tracks]
        length = max(0, round((end - start) * rate))
        sent, heard = (_cut(resampled(pcm, self.rate, rate), at - start, length, rate) for pcm, at in whole)
        return sent, heard

    def run(self) -> None:
        """Receive all the time, send and play every 20 ms, until `close`."""
        self.began = time.monotonic()
        count = 0
        try:
            while not self._over.is_set():
                count += 1
                due = self.began + count * FRAME
                self._receive(due)
                self._tick(due)
        finally:
            self._abandon()

    def _receive(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            self._drain()
        self._drain()

    def _drain(self) -> None:
        """Everything that has arrived."""
        while True:
            try:
                data, ancillary, *_ = self._socket.recvmsg(4096, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            packet = parse(data)
            if packet is None:
                continue
            at = _arrival(ancillary)
            self.statistics.arrived(packet, at)
            if packet.payload_type == self.codec.payload_type and packet.payload:
                self.buffer.arrived(packet, self._coder.decode(packet.payload), at)

    def _tick(self, due: float) -> None:
        heard = self.buffer.play(due, self._size)
        with self._lock:
            self._heard.append(heard)
            frame, finished = self._next_frame()
            self._sent.append(frame)
            key = self._next_key()
            to, events = self._to, self._events
        self._timestamp += 160
        if to is not None:
            if isinstance(key, tuple) and events:
                if key[1]:
                    self._key_timestamp = self._timestamp
                payload, marker = key
                self._send(
                    Packet(events, self._sequence, self._key_timestamp, self._ssrc, payload, marker), to
                )
            else:
                payload = self._coder.encode(frame)
                kind = self.codec.payload_type
                self._send(Packet(kind, self._sequence, self._timestamp, self._ssrc, payload), to)
        if callable(key):
            finished.append(key)
        for done in finished:
            done(due)
        self._on_frame(heard, due)

    def _send(self, packet: Packet, to: tuple[str, int]) -> None:
        self._sequence += 1
        try:
            self._socket.sendto(packet.pack(), to)
        except (BlockingIOError, ConnectionRefusedError):
            # A full queue or a far end that has gone loses a packet, as on any network.
            return

    def _next_key(self) -> tuple[bytes, bool] | Done | None:
        return self._keys.popleft() if self._keys else None

    def _next_frame(self) -> tuple[Pcm, list[Done]]:
        """The caller's voice, noise and echo in one frame, and who waits for its end."""
        mixed = np.zeros(self._size, np.int32)
        finished: list[Done] = []
        filled = 0
        while filled < self._size and self._queue:
            pcm, done = self._queue.popleft()
            part = pcm[: self._size - filled]
            mixed[filled : filled + len(part)] += part
            filled += len(part)
            if len(part) < len(pcm):
                self._queue.appendleft((pcm[len(part) :], done))
            else:
                finished.append(done)
        now = time.monotonic()
        if self._noise is not None and now < self._noise[1]:
            loop = self._noise[0]
            mixed += loop[(len(self._sent) * self._size + np.arange(self._size)) % len(loop)]
        if self._echo is not None and now < self._echo[2]:
            mixed += self._echoed(*self._echo[:2])
        return np.clip(mixed, -32768, 32767).astype(np.int16), finished

    def _echoed(self, gain: float, late: int) -> NDArray[np.int32]:
        """What was played `late` samples before this frame was taken."""
        # The last heard frame begins to play when this one ends.
        first = (len(self._heard) - 2) * self._size - late
        frames = self._heard[max(0, first // self._size) : first // self._size + 2]
        if first < 0 or not frames:
            return np.zeros(self._size, np.int32)
        offset = first % self._size
        return np.asarray(np.concatenate(frames)[offset : offset + self._size] * gain, np.int32)

    def _abandon(self) -> None:
        """The call is over: nobody waits any longer."""
        now = time.monotonic()
        with self._lock:
            left = [done for _, done in self._queue] + [key for key in self._keys if callable(key)]
            self._queue.clear()
            self._keys.clear()
        for done in left:
            done(now)


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When a datagram came, on the monotonic clock: by the kernel's stamp where there is one, else now."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack_from("@ll", data)
            return time.monotonic() - (time.time() - (seconds + nanoseconds * 1e-9))
    return time.monotonic()


def resampled(samples: Pcm, rate_in: int, rate_out: int) -> Pcm:
    """Samples at another rate."""
    if rate_in == rate_out or not len(samples):
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate_in, rate_out), np.int16)


def _cut(pcm: Pcm, offset: float, length: int, rate: int) -> Pcm:
    """`length` samples of a track that begins `offset` seconds after (negative: before) the wanted start."""
    shift = round(offset * rate)
    pcm = pcm[-shift:] if shift < 0 else np.concatenate((np.zeros(shift, np.int16), pcm))
    return np.concatenate((pcm[:length], np.zeros(max(0, length - len(pcm)), np.int16)))
