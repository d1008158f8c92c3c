"""Somebody in each room for `bench.service`, in a process of their own: `python -m bench._room`.

Reads one JSON line, `{"url", "tokens"}`, and says "ready" when all have joined and published. Each one says
what it hears; before anybody is there it says a little noise, so that the room has audio.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from livekit import rtc
from livekit.rtc._proto.room_pb2 import AudioEncoding

from bench._priority import go_first
from sip.service.media.room_audio import FRAME_MS, Listener, Microphone, prepare

RATE = 48_000


async def join(url: str, token: str) -> rtc.Room:
    """One echo: as quick as a participant can be, so that the service is measured and not the echo."""
    room = rtc.Room()
    microphone = Microphone(RATE)
    track = rtc.LocalAudioTrack.create_audio_track("echo", microphone.source)
    listeners: list[Listener] = []
    noise = asyncio.create_task(_hiss(microphone))

    def on_subscribed(heard: rtc.Track, *_: object) -> None:
        if isinstance(heard, rtc.RemoteAudioTrack):
            noise.cancel()
            listeners.append(Listener(heard, RATE, microphone.write))

    room.on("track_subscribed", on_subscribed)
    await room.connect(url, token)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_MICROPHONE,
        dtx=False,
        red=False,
        audio_encoding=AudioEncoding(max_bitrate=72_000),
    )
    await room.local_participant.publish_track(track, options)
    return room


async def _hiss(microphone: Microphone) -> None:
    noise = np.random.default_rng(2).normal(0, 100, RATE * FRAME_MS // 1000).astype(np.int16).tobytes()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        microphone.write(noise)
        due = max(due + FRAME_MS / 1000, loop.time())
        await asyncio.sleep(due - loop.time())


async def _main() -> None:
    prepare()
    sys.setswitchinterval(0.001)
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    rooms = [await join(orders["url"], token) for token in orders["tokens"]]
    print(json.dumps("ready"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for room in rooms:
        await room.disconnect()


if __name__ == "__main__":
    go_first()
    asyncio.run(_main())
