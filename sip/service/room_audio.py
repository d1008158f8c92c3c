"""PCM in and out of rooms at little cost: one path for the audio events of all calls of a process.

`livekit.rtc` hands every event, the end of every captured frame included, to every room and audio stream
of the process; with n calls each frame is looked at n times, and each look wakes the event loop. Here
audio events go to the one stream that they are for, on the thread that brings them, and the ends of
captured frames go nowhere. This reaches below the public API of `livekit` 1.1;
`tests/unit/test_room_audio.py` holds what it relies on.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any, cast

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiHandle, FfiQueue
from livekit.rtc._proto import audio_frame_pb2, ffi_pb2

logger = logging.getLogger(__name__)

FRAME_MS = 10
"""What a microphone takes and a listener gets at a time."""
_CAPTURE_ID = 2**63 - 1
# Asynchronous ids count up from 1: nobody else's capture carries this one.


def frame_bytes(rate: int) -> int:
    """Bytes of one frame of 16-bit mono PCM at `rate` Hz."""
    return rate * FRAME_MS // 1000 * 2


class _Router(FfiQueue[Any]):
    """Stands in the place of the library's event queue."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: dict[int, Callable[[bytes], None]] = {}
        self.failed_captures = 0

    def put(self, item: Any) -> None:
        """Called on a thread of the library for each event."""
        kind = item.WhichOneof("message")
        if kind == "audio_stream_event":
            event = item.audio_stream_event
            if event.HasField("frame_received"):
                self._hear(event.stream_handle, event.frame_received.frame)
        elif kind == "capture_audio_frame" and item.capture_audio_frame.async_id == _CAPTURE_ID:
            if item.capture_audio_frame.error:
                self.failed_captures += 1
        else:
            super().put(item)

    def _hear(self, stream: int, frame: Any) -> None:
        listener = self.listeners.get(stream)
        try:
            if listener is not None:
                info = frame.info
                listener(ctypes.string_at(info.data_ptr, 2 * info.samples_per_channel * info.num_channels))
        finally:
            # A frame that nobody drops stays in memory for good.
            FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(frame.handle.id)


def router() -> _Router:
    """The process's router; put in place by the first call, which must come before the first room."""
    queue = cast(object, FfiClient.instance.queue)
    if not isinstance(queue, _Router):
        queue = _Router()
        FfiClient.instance._queue = queue
    return queue


class Microphone:
    """What the room hears from us: 16-bit mono PCM, unqueued, so that nothing of it can be late."""

    def __init__(self, rate: int) -> None:
        router()
        self.rate = rate
        self.source = rtc.AudioSource(rate, 1, queue_size_ms=0)
        self._size = frame_bytes(rate)
        self._pcm = ctypes.create_string_buffer(self._size)
        request = ffi_pb2.FfiRequest()
        capture = request.capture_audio_frame
        capture.source_handle = self.source._ffi_handle.handle
        capture.request_async_id = _CAPTURE_ID
        capture.buffer.data_ptr = ctypes.addressof(self._pcm)
        capture.buffer.num_channels = 1
        capture.buffer.sample_rate = rate
        capture.buffer.samples_per_channel = self._size // 2
        # The same request for each frame: only the samples behind its pointer change, and they are
        # copied at once.
        self._request = ctypes.create_string_buffer(request.SerializeToString())
        self._request_size = len(self._request) - 1
        self._request_at = ctypes.cast(self._request, ctypes.POINTER(ctypes.c_ubyte))
        self._response = ctypes.POINTER(ctypes.c_ubyte)()
        self._response_size = ctypes.c_size_t()
        self._library = FfiClient.instance._ffi_lib

    def write(self, pcm: bytes) -> None:
        """Say one frame. Returns at once; one thread at a time."""
        if self.source._ffi_handle.disposed:
            return
        ctypes.memmove(self._pcm, pcm, self._size)
        handle = self._library.livekit_ffi_request(
            self._request_at,
            self._request_size,
            ctypes.byref(self._response),
            ctypes.byref(self._response_size),
        )
        self._library.livekit_ffi_drop_handle(handle)

    def close(self) -> None:
        """Release it; closing twice is safe."""
        self.source._ffi_handle.dispose()


class Listener:
    """What one remote track says: `on_frame` gets PCM at `rate` Hz every 10 ms, on another thread."""

    def __init__(self, track: rtc.RemoteAudioTrack, rate: int, on_frame: Callable[[bytes], None]) -> None:
        request = ffi_pb2.FfiRequest()
        stream = request.new_audio_stream
        stream.track_handle = track._ffi_handle.handle
        stream.type = audio_frame_pb2.AudioStreamType.AUDIO_STREAM_NATIVE
        stream.sample_rate = rate
        stream.num_channels = 1
        response = FfiClient.instance.request(request)
        self._handle = FfiHandle(response.new_audio_stream.stream.handle.id)
        router().listeners[self._handle.handle] = on_frame

    def close(self) -> None:
        """Stop listening; closing twice is safe. A frame under way may still arrive."""
        router().listeners.pop(self._handle.handle, None)
        self._handle.dispose()
