"""The first sentence, ready before the telephone rings.

Each worker process serves one call, so the greeting is synthesised while it waits for that call, by the
synthesis that the call will use, and kept in its memory. If that did not work, or not yet, the greeting is
synthesised live.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.voice import SpeechHandle

from agent.sounds import Recording

logger = logging.getLogger(__name__)

Synthesise = Callable[[str], Awaitable[Recording]]


class Greeting:
    """One sentence and, once it is made, its audio."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._recording: Recording | None = None
        self._thread: threading.Thread | None = None

    @property
    def recording(self) -> Recording | None:
        """The audio; None as long as there is none."""
        return self._recording

    def prepare(self, synthesise: Synthesise, timeout: float = 8.0) -> None:
        """Make the audio beside the process's other work; a failure is logged and the greeting stays live."""

        async def make() -> None:
            async with asyncio.timeout(timeout):
                self._recording = await synthesise(self.text)

        def run() -> None:
            try:
                asyncio.run(make())
            except Exception as error:  # noqa: BLE001 whatever it is, the call synthesises live and shows it
                logger.warning("greeting not prepared", extra={"why": repr(error)})

        self._thread = threading.Thread(target=run, name="greeting", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the audio is made or has failed."""
        if self._thread is not None:
            self._thread.join(timeout)

    def say(self, session: AgentSession[Any]) -> SpeechHandle:
        """Begin to speak it."""
        if self._recording is None or session.output.audio is None:
            return session.say(self.text)
        return session.say(self.text, audio=self._recording.frames())
