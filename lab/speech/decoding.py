"""Who decodes when: finals at once, partials one at a time and never a stale one."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .recognizer import Recognizer, Transcript
from .vad import RATE


class Decoder:
    """Decodes the audio of all calls on a few threads shared by them.

    Finals may use every thread, partials one at most, so a final never waits behind them. Each call has one
    place for a partial that waits: a newer one replaces it.
    """

    def __init__(self, recognizer: Recognizer, threads: int = 2) -> None:
        self._recognizer = recognizer
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="recognizer")
        self._waiting: dict[Hashable, tuple[NDArray[np.int16], asyncio.Future[Transcript | None]]] = {}
        self._partials: asyncio.Task[None] | None = None

    async def final(self, pcm: NDArray[np.int16]) -> Transcript:
        """Decode now; 16 kHz, any length."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._recognizer.transcribe, pcm, RATE)

    async def partial(self, call: Hashable, pcm: NDArray[np.int16]) -> Transcript | None:
        """Decode when there is time; None when a newer partial or the end of the call came first."""
        self.forget(call)
        future: asyncio.Future[Transcript | None] = asyncio.get_running_loop().create_future()
        self._waiting[call] = (pcm, future)
        if self._partials is None or self._partials.done():
            self._partials = asyncio.create_task(self._run_partials())
        return await future

    def forget(self, call: Hashable) -> None:
        """Drop the partial of this call that waits, if any."""
        waiting = self._waiting.pop(call, None)
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(None)

    async def aclose(self) -> None:
        """Finish what runs and stop the threads; twice is no error."""
        for call in list(self._waiting):
            self.forget(call)
        if self._partials is not None:
            await self._partials
        await asyncio.to_thread(self._pool.shutdown)

    async def _run_partials(self) -> None:
        while self._waiting:
            call = next(iter(self._waiting))
            pcm, future = self._waiting.pop(call)
            if future.done():
                continue
            try:
                transcript = await self.final(pcm)
            except RuntimeError as error:
                if not future.done():
                    future.set_exception(error)
                continue
            if not future.done():
                future.set_result(transcript)
