"""One websocket of Deepgram's: audio in, results out, in order and as early as they are known."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

from aiohttp import WSMsgType, web

from . import deepgram_messages as messages
from .audio import DECODERS
from .decoding import Decoder
from .deepgram_messages import Options
from .listening import Ended, Event, Heard, Listener, SpeechStarted
from .recognizer import NOTHING, StreamResampler, Transcript
from .vad import RATE
from .wire import Gate, cut, log

IDLE_S = 12.0
"""Without audio or KeepAlive for this long the connection is closed, as Deepgram does (NET-0001)."""
PARTIAL_S = 0.25
"""Shortest time between two interim results."""
PARTIAL_SHARE = 3.0
"""A partial that took t to decode is followed by the next no sooner than this many t: a third of a core."""

Message = dict[str, Any]


class Stream:
    """The life of one connection: `run` returns when it is over."""

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        options: Options,
        decoder: Decoder,
        gate: Gate,
        session: str,
    ) -> None:
        self._request, self._socket, self._options = request, socket, options
        self._decoder, self._gate, self._session = decoder, gate, session
        self._injection = gate.begin()
        self._listener = Listener(options.endpointing_s, PARTIAL_S)
        self._decode = DECODERS[options.encoding]
        self._resampler = StreamResampler(options.sample_rate)
        # Each message with the time at which it was known; a task is a final that is still being decoded.
        self._outbox: asyncio.Queue[tuple[float, Message | asyncio.Task[Message]] | None] = asyncio.Queue()
        self._segment = 0
        self._guess: tuple[int, float, asyncio.Task[Transcript]] | None = None
        self._partial: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._last_word_end = 0.0
        self._utterance_open = False
        self._muted = False
        self._received_s = 0.0

    async def run(self) -> None:
        """Read until the client is done, then send what is still owed."""
        sender = asyncio.create_task(self._send_all())
        try:
            await self._receive_all()
        finally:
            self._decoder.forget(self)
            self._outbox.put_nowait(None)
            if self._request.transport is None or self._request.transport.is_closing():
                sender.cancel()
            try:
                await sender
            except asyncio.CancelledError:
                log.debug("a listening connection ended while results waited")
            for task in (self._partial, self._guess[2] if self._guess else None):
                if task is not None and not task.done():
                    task.cancel()
            if not self._socket.closed:
                await self._socket.close()

    async def _receive_all(self) -> None:
        changed = self._gate.faults.watch(self._gate.provider)
        waiting = asyncio.create_task(changed.wait())
        try:
            while True:
                receive = asyncio.create_task(self._socket.receive())
                done, _ = await asyncio.wait(
                    (receive, waiting), timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
                )
                if waiting in done:
                    changed.clear()
                    waiting = asyncio.create_task(changed.wait())
                    if await self._faulty(0.0, chunks=0):
                        receive.cancel()
                        return
                if receive not in done:
                    if not done:
                        receive.cancel()
                        await self._socket.close(code=1011, message=b"NET-0001")
                        return
                    await asyncio.wait((receive,))
                message = receive.result()
                if message.type == WSMsgType.BINARY:
                    if await self._audio(cast(bytes, message.data)):
                        return
                elif message.type == WSMsgType.TEXT:
                    if await self._control(cast(str, message.data)):
                        return
                else:
                    return
        finally:
            waiting.cancel()
            self._gate.faults.unwatch(self._gate.provider, changed)

    async def _faulty(self, audio_ms: float, chunks: int = 1) -> bool:
        """Apply the present fault; True when the connection is no more."""
        verdict = self._injection.verdict(audio_ms, chunks)
        self._muted = verdict == "silence"
        if verdict == "cut":
            cut(self._request)
            return True
        if verdict == "http":
            await self._socket.close(code=1011, message=f"injected {self._injection.status}".encode())
            return True
        return False

    async def _audio(self, data: bytes) -> bool:
        if not data:
            return await self._control('{"type": "CloseStream"}')
        pcm = self._decode(data)[:: self._options.channels]
        seconds = len(pcm) / self._options.sample_rate
        self._gate.counts.audio_s += seconds
        self._received_s += seconds
        if await self._faulty(seconds * 1000):
            return True
        events = self._listener.push(self._resampler(pcm))
        paused = any(isinstance(event, Heard) and event.paused for event in events)
        for event in events:
            # A pause in the same 50 ms decodes all that the partial would.
            if not (paused and isinstance(event, Heard) and not event.paused):
                self._on(event)
        self._watch_utterance()
        return False

    async def _control(self, text: str) -> bool:
        """Answer a control message; True after CloseStream."""
        try:
            kind = str(json.loads(text)["type"])
        except (ValueError, KeyError, TypeError):
            await self._socket.close(code=1008, message=b"DATA-0000")
            return True
        if kind == "Finalize":
            events = self._listener.flush()
            for event in events:
                self._on(event, finalize=True)
            if not events:
                self._post(self._results(NOTHING, self._listener.time, 0.0, final=True, finalize=True))
        elif kind == "CloseStream":
            for event in self._listener.flush():
                self._on(event)
            self._post(messages.metadata(self._session, self._received_s, self._options.model))
            return True
        elif kind != "KeepAlive":
            log.debug("an unknown control message on a listening connection")
        return False

    def _on(self, event: Event, finalize: bool = False) -> None:
        match event:
            case SpeechStarted(at):
                self._utterance_open = True
                if self._options.vad_events:
                    self._post(messages.speech_started(at))
            case Heard():
                if event.paused:
                    self._guess_now(event)
                else:
                    self._partial_now(event)
            case Ended():
                self._end(event, finalize)

    def _guess_now(self, heard: Heard) -> None:
        """A pause: decode at once, for the final if it is one, for an interim result if it is not."""
        task = asyncio.create_task(self._decoder.final(heard.pcm))
        self._decoder.forget(self)
        self._guess = (heard.segment, heard.voiced, task)
        if self._options.interim_results:
            task.add_done_callback(lambda done: self._interim(heard, done))

    def _partial_now(self, heard: Heard) -> None:
        now = time.monotonic()
        if not self._options.interim_results or now < self._not_before:
            return
        if self._partial is not None and not self._partial.done():
            return
        self._partial = asyncio.create_task(self._run_partial(heard))

    async def _run_partial(self, heard: Heard) -> None:
        began = time.monotonic()
        transcript = await self._decoder.partial(self, heard.pcm)
        self._not_before = began + PARTIAL_SHARE * (time.monotonic() - began)
        if transcript is not None:
            self._interim_results(heard, transcript)

    def _interim(self, heard: Heard, done: asyncio.Task[Transcript]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._interim_results(heard, done.result())

    def _interim_results(self, heard: Heard, transcript: Transcript) -> None:
        """Sent only while its segment is open: after the final it would be stale."""
        if heard.segment == self._segment and transcript.text:
            self._post(self._results(transcript, heard.start, len(heard.pcm) / RATE))

    def _end(self, ended: Ended, finalize: bool) -> None:
        self._segment = ended.segment + 1
        self._decoder.forget(self)
        guess, self._guess = self._guess, None
        same = guess is not None and guess[:2] == (ended.segment, ended.voiced)
        decoding = guess[2] if guess is not None and same and ended.endpoint else None

        async def final() -> Message:
            transcript = await (decoding or self._decoder.final(ended.pcm))
            self._gate.counts.note(transcript.text)
            if transcript.words:
                self._last_word_end = ended.start + transcript.words[-1].end
            length = ended.end - ended.start
            return self._results(
                transcript, ended.start, length, final=True, endpoint=ended.endpoint, finalize=finalize
            )

        self._post(asyncio.create_task(final()))

    def _watch_utterance(self) -> None:
        wanted = self._options.utterance_end_s
        if wanted is None or not self._utterance_open or self._listener.speaking:
            return
        if self._listener.silence_s >= wanted:
            self._utterance_open = False
            self._post(messages.utterance_end(self._last_word_end))

    def _results(
        self,
        transcript: Transcript,
        start: float,
        length: float,
        final: bool = False,
        endpoint: bool = False,
        finalize: bool = False,
    ) -> Message:
        return messages.results(
            transcript,
            self._options,
            self._session,
            start,
            length,
            is_final=final,
            speech_final=endpoint,
            finalize=finalize,
        )

    def _post(self, message: Message | asyncio.Task[Message]) -> None:
        self._outbox.put_nowait((time.monotonic(), message))

    async def _send_all(self) -> None:
        """Send in order; an injected latency delays each message from the moment it was known."""
        while (item := await self._outbox.get()) is not None:
            known, message = item
            if isinstance(message, asyncio.Task):
                message = await message
            wait = known + self._injection.latency_s() - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if self._socket.closed:
                return
            if not self._muted:
                await self._socket.send_json(message)
