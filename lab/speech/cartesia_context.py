"""One context of a Cartesia websocket: text in pieces, audio out while it is made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from .cartesia_messages import (
    Request,
    chunk_message,
    done_message,
    error_message,
    flush_message,
    timestamps_message,
)
from .synthesizer import Phrase, Synthesizer
from .wire import Gate, cut, log, until_gone

FASTER = 10.0
"""Audio is sent this many times faster than it plays: fast, but a stream, as from a real provider."""
_SENTENCES = re.compile(r".*[.!?…][\"”’')\]]*(?=\s|$)", re.DOTALL)


class Context:
    """Speaks what is pushed, in order, until the last piece was spoken or it is cancelled."""

    def __init__(
        self,
        name: str,
        request: web.Request,
        socket: web.WebSocketResponse,
        synthesizer: Synthesizer,
        threads: ThreadPoolExecutor,
        gate: Gate,
    ) -> None:
        self._name, self._request, self._socket = name, request, socket
        self._synthesizer, self._threads, self._gate = synthesizer, threads, gate
        self._pieces: asyncio.Queue[Request] = asyncio.Queue()
        self._injection = gate.begin()
        self._offset = 0.0
        self._sent = False
        self._flushes = 0
        self._task = asyncio.create_task(self._run())

    def push(self, piece: Request) -> None:
        """Say this after what was pushed before."""
        self._pieces.put_nowait(piece)

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call when the context is over, however it ended."""
        self._task.add_done_callback(lambda _: callback())

    async def cancel(self) -> None:
        """Stop at once; no more of this context is sent. Twice is no error."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        try:
            await self._speak_all()
        except ConnectionError:
            log.debug("the client of a spoken context left")

    async def _speak_all(self) -> None:
        status = self._injection.refusal()
        if status is not None:
            await self._socket.send_json(error_message(self._name, status, "the fault that was asked for"))
            return
        await asyncio.sleep(self._injection.latency_s())
        text = ""
        piece: Request | None = None
        while piece is None or piece.more:
            try:
                timeout = piece.buffer_s if piece is not None and text.strip() else None
                piece = await asyncio.wait_for(self._pieces.get(), timeout)
            except TimeoutError:
                assert piece is not None  # only a piece sets a timeout
                if not await self._say(text, piece):
                    return
                text = ""
                continue
            text += piece.transcript
            whole = self._speakable(text, piece)
            if whole.strip() and not await self._say(whole, piece):
                return
            text = text[len(whole) :]
            if piece.flush:
                self._flushes += 1
                await self._socket.send_json(flush_message(self._name, self._flushes))
        await self._socket.send_json(done_message(self._name))

    @staticmethod
    def _speakable(text: str, piece: Request) -> str:
        """What can be spoken without waiting: all of it at an end, else whole sentences."""
        if not piece.more or piece.flush or piece.buffer_s <= 0:
            return text
        match = _SENTENCES.match(text)
        return match.group() if match else ""

    async def _say(self, text: str, piece: Request) -> bool:
        """Send the audio of `text`; False when the context is broken."""
        counts = self._gate.counts
        counts.characters += len(text)
        counts.note(text.strip())
        loop = asyncio.get_running_loop()
        phrases = piece.phrases(self._synthesizer, text)
        began = loop.time()
        sent_s = 0.0
        while (phrase := await loop.run_in_executor(self._threads, next, phrases, None)) is not None:
            first = True
            for chunk in piece.chunks(phrase.pcm):
                length = len(chunk) / piece.sample_rate
                if not await self._whole(length * 1000):
                    return False
                now = loop.time()
                await self._socket.send_json(
                    chunk_message(self._name, piece.encode(chunk), (now - began) * 1000)
                )
                if first and piece.timestamps:
                    await self._send_words(phrase)
                first = False
                sent_s += length
                self._gate.counts.audio_s += length
                # The first chunks leave at once; then the stream holds its pace.
                await asyncio.sleep(max(0.0, began + sent_s / FASTER - now))
            self._offset += len(phrase.pcm) / piece.sample_rate
        return True

    async def _send_words(self, phrase: Phrase) -> None:
        if phrase.words:
            await self._socket.send_json(timestamps_message(self._name, phrase.words, self._offset))

    async def _whole(self, audio_ms: float) -> bool:
        """Apply the present fault; False when nothing more of this context is sent."""
        verdict = self._injection.verdict(audio_ms)
        if verdict == "cut":
            cut(self._request)
        elif verdict == "http":
            status = self._injection.status
            await self._socket.send_json(error_message(self._name, status, "the fault that was asked for"))
        elif verdict == "silence":
            await until_gone(self._request, self._gate)
            return self._request.transport is not None and not self._request.transport.is_closing()
        return verdict == "go"
