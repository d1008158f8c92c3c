"""PCM in and out of rooms at little cost: one short path for the audio events of all calls of a process.

`livekit.rtc` hands every event, the end of every captured frame included, to every room and audio stream of
the process; with n calls each frame is looked at n times, and each look wakes the event loop. Here an audio
frame goes to the one listener that it is for, on the thread that brings it, and the ends of captured frames
go nowhere. This reaches below the public API of `livekit` 1.1; tests/stack/test_media.py notices a change.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.rtc import _ffi_client
from livekit.rtc._proto import audio_frame_pb2, ffi_pb2

from sip.service.media.join_once import join_once

logger = logging.getLogger(__name__)

FRAME_MS = 10
"""What a microphone takes and a listener gets at a time."""
_CAPTURE_ID = 2**63 - 1
# Asynchronous ids count up from 1: nobody else's capture carries this one.


def _tag(field: str) -> int:
    """First byte of an event whose `message` is this one: its field number, length-delimited."""
    return ffi_pb2.FfiEvent.DESCRIPTOR.fields_by_name[field].number << 3 | 2


_FRAME_TAG, _CAPTURED_TAG = _tag("audio_stream_event"), _tag("capture_audio_frame")


def frame_bytes(rate: int) -> int:
    """Bytes of one frame of 16-bit mono PCM at `rate` Hz."""
    return rate * FRAME_MS // 1000 * 2


class _Events:
    """The process's events, in front of the library's own handling of them."""

    def __init__(self) -> None:
        self.listeners: dict[int, Callable[[bytes], None]] = {}
        self.failed_captures = 0
        self._known = threading.local()
        self._others: Callable[[Any, int], None] = _ffi_client.ffi_event_callback
        # The library hands this to its native part when the first room or source is made.
        self.callback = _ffi_client.ffi_cb_fnc(self._on_event)
        _ffi_client.ffi_event_callback = self.callback
        self.client = _ffi_client.FfiClient.instance
        self.library = self.client._ffi_lib

    def _on_event(self, data: Any, size: int) -> None:
        """Called for each event, on a thread of the library."""
        if not hasattr(self._known, "thread"):
            # Python forgets a foreign thread after each callback, and makes it anew for the next, which costs
            # more than the callback. One unmatched Ensure makes it stay; the library has few such threads.
            ctypes.pythonapi.PyGILState_Ensure()
            self._known.thread = True
        tag = data[0]
        if tag == _FRAME_TAG:
            event = ffi_pb2.FfiEvent.FromString(ctypes.string_at(data, size)).audio_stream_event
            if event.HasField("frame_received"):
                self._hear(event.stream_handle, event.frame_received.frame)
        elif tag == _CAPTURED_TAG:
            self._captured(data, size)
        else:
            self._others(data, size)

    def _hear(self, stream: int, frame: Any) -> None:
        listener = self.listeners.get(stream)
        try:
            if listener is not None:
                info = frame.info
                listener(ctypes.string_at(info.data_ptr, 2 * info.samples_per_channel))
        except Exception:
            # Raising into the library's thread would end it, and one call's trouble is not the others'.
            logger.exception("a frame of a room's audio was lost")
        finally:
            # A frame that nobody drops stays in memory for good.
            self.library.livekit_ffi_drop_handle(frame.handle.id)

    def _captured(self, data: Any, size: int) -> None:
        end = ffi_pb2.FfiEvent.FromString(ctypes.string_at(data, size)).capture_audio_frame
        if end.async_id != _CAPTURE_ID:
            self._others(data, size)
        elif end.error:
            self.failed_captures += 1


_events: _Events | None = None


def prepare() -> _Events:
    """Put the short path in place; must come before the process's first room or audio source."""
    global _events
    if _events is None:
        if _ffi_client.FfiClient._instance is not None:
            raise RuntimeError("livekit.rtc was used before sip.service.media.room_audio.prepare()")
        _events = _Events()
        join_once(_events.client)
    return _events


def keep_warm() -> rtc.LocalAudioTrack:
    """As long as what this returns lives, the library keeps its threads and codecs between two calls.

    Without any room or track it throws all of them away, and the next caller waits until they are back.
    """
    prepare()
    return rtc.LocalAudioTrack.create_audio_track("warm", rtc.AudioSource(8_000, 1, queue_size_ms=0))


class Microphone:
    """What the room hears from us: 16-bit mono PCM, unqueued, so that nothing of it can be late."""

    def __init__(self, rate: int) -> None:
        self._library = prepare().library
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
        # The same request for each frame: only the samples behind its pointer change, and they are copied
        # before it returns.
        data = request.SerializeToString()
        self._request = (ctypes.c_ubyte * len(data)).from_buffer_copy(data)
        self._request_size = len(data)
        self._response = ctypes.POINTER(ctypes.c_ubyte)()
        self._response_size = ctypes.c_size_t()
        self._to = (ctypes.byref(self._response), ctypes.byref(self._response_size))

    def write(self, pcm: bytes) -> None:
        """Say one frame. Returns at once; one thread at a time."""
        if self.source._ffi_handle.disposed:
            return
        ctypes.memmove(self._pcm, pcm, self._size)
        handle = self._library.livekit_ffi_request(self._request, self._request_size, *self._to)
        self._library.livekit_ffi_drop_handle(handle)

    def close(self) -> None:
        """Release it; closing twice is safe."""
        self.source._ffi_handle.dispose()


class Listener:
    """What one remote track says: `on_frame` gets PCM at `rate` Hz every 10 ms, on another thread."""

    def __init__(self, track: rtc.RemoteAudioTrack, rate: int, on_frame: Callable[[bytes], None]) -> None:
        self._events = prepare()
        request = ffi_pb2.FfiRequest()
        stream = request.new_audio_stream
        stream.track_handle = track._ffi_handle.handle
        stream.type = audio_frame_pb2.AudioStreamType.AUDIO_STREAM_NATIVE
        stream.sample_rate = rate
        stream.num_channels = 1
        response = self._events.client.request(request)
        self._handle = _ffi_client.FfiHandle(response.new_audio_stream.stream.handle.id)
        self._events.listeners[self._handle.handle] = on_frame

    def close(self) -> None:
        """Stop listening; closing twice is safe. A frame under way may still arrive."""
        self._events.listeners.pop(self._handle.handle, None)
        self._handle.dispose()
