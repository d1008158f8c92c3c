"""The edge's side of a PIN: what the caller hears, which keys came, whom to ask, until one opens a room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from typing import Any, Generic, TypeVar

from sip.service.calls.pin import Collector, GiveUp, Try, Wait

logger = logging.getLogger(__name__)

_Room = TypeVar("_Room")


class NotAdmitted(Exception):
    """The caller typed no PIN or wrong ones; `reason` is `pin.NO_PIN` or `pin.WRONG_PIN`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PinPrompt(Generic[_Room]):
    """Asks for a PIN. `play` lets the caller hear a sound and returns at its end; `open` asks livekit-server
    for a PIN's room, None where it opens none. The caller may type while he hears something: that ends it."""

    def __init__(
        self, play: Callable[[str], Coroutine[Any, Any, None]], open: Callable[[str], Awaitable[_Room | None]]
    ) -> None:
        self._play, self._open = play, open
        self._collector = Collector()
        self._news = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None

    @property
    def wrong_tries(self) -> int:
        """How many PINs opened no room."""
        return self._collector.wrong_tries

    def press(self, keys: str) -> None:
        """The caller pressed these keys."""
        for key in keys:
            self._collector.press(key, self._now())
        if self._playing is not None and not self._playing.done():
            self._say("")
        self._news.set()

    async def run(self) -> _Room:
        """The room. Raises `NotAdmitted` after the farewell, and what `open` raises."""
        sound = "enter_pin"
        try:
            while True:
                self._say(sound)
                verdict = await self._verdict()
                if isinstance(verdict, GiveUp):
                    self._hush()
                    await self._play("goodbye")
                    raise NotAdmitted(verdict.reason)
                room = await self._open(verdict.pin) if verdict.pin is not None else None
                if room is not None:
                    return room
                self._collector.wrong()
                sound = "wrong_pin"
        finally:
            self._hush()

    async def _verdict(self) -> Try | GiveUp:
        while isinstance(verdict := self._collector.verdict(self._now()), Wait):
            self._news.clear()
            try:
                async with asyncio.timeout_at(None if verdict.until == inf else verdict.until):
                    await self._news.wait()
            except TimeoutError:
                continue
        return verdict

    def _say(self, sound: str) -> None:
        self._hush()
        self._playing = asyncio.create_task(self._play(sound))
        self._playing.add_done_callback(self._said)

    def _said(self, playing: asyncio.Task[None]) -> None:
        if playing.cancelled():
            return
        if error := playing.exception():
            # Who hears nothing may still know what to type.
            logger.warning("a caller was not asked for a PIN", extra={"error": repr(error)})
        self._collector.listen(self._now())
        self._news.set()

    def _hush(self) -> None:
        """Wait no longer for the end of what is played."""
        if self._playing is not None:
            self._playing.cancel()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
