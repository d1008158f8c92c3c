"""Deepgram's `/v1/listen`: streaming over a websocket and whole recordings by POST.

Protocol: https://developers.deepgram.com/reference/speech-to-text/listen-streaming
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from . import deepgram_messages as messages
from .audio import DECODERS, AudioFormatError, read_wav
from .decoding import Decoder
from .deepgram_messages import Options, is_true
from .deepgram_stream import Stream
from .recognizer import resample
from .wire import Gate, bearer, cut, request_id, until_gone


class Deepgram:
    """The HTTP side: `listen` is the handler of GET (websocket) and POST."""

    def __init__(self, decoder: Decoder, gate: Gate) -> None:
        self._decoder, self._gate = decoder, gate

    def routes(self) -> list[web.RouteDef]:
        """What this provider answers to."""
        return [web.get("/v1/listen", self.stream), web.post("/v1/listen", self.recording)]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One websocket, one stream of audio."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        try:
            options = Options.parse(dict(request.query))
        except AudioFormatError as error:
            return refuse(400, "Bad Request", str(error))
        injection = self._gate.begin()
        status = injection.refusal()
        if status is not None:
            return refuse(status, "Injected", "the fault that was asked for")
        if injection.verdict(0.0, chunks=0) == "cut":
            cut(request)
            return web.Response(status=503)
        session = request_id()
        socket = web.WebSocketResponse(heartbeat=None, max_msg_size=4 << 20)
        socket.headers["dg-request-id"] = session
        await socket.prepare(request)
        counts = self._gate.counts
        counts.connections += 1
        counts.open += 1
        stream = Stream(request, socket, options, self._decoder, self._gate, session)
        try:
            await stream.run()
        finally:
            self._gate.counts.open -= 1
        return socket

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """A whole recording: WAV, or raw audio with `encoding` and `sample_rate` in the query."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        self._gate.counts.requests += 1
        injection = self._gate.begin()
        status = injection.refusal()
        if status is not None:
            return refuse(status, "Injected", "the fault that was asked for")
        body = await request.read()
        try:
            if body[:4] == b"RIFF":
                pcm, rate = read_wav(body)
            elif "encoding" in request.query:
                options = Options.parse(dict(request.query))
                pcm = DECODERS[options.encoding](body)[:: options.channels]
                rate = options.sample_rate
            else:
                raise AudioFormatError("neither a WAV file nor `encoding` and `sample_rate` in the query")
        except AudioFormatError as error:
            return refuse(400, "Bad Request", f"failed to process audio: {error}")
        await asyncio.sleep(injection.latency_s())
        match injection.verdict(len(pcm) / rate * 1000):
            case "cut":
                cut(request)
                return web.Response(status=503)
            case "silence":
                await until_gone(request, self._gate)
            case _:
                pass
        transcript = await self._decoder.final(resample(pcm, rate))
        self._gate.counts.audio_s += len(pcm) / rate
        self._gate.counts.note(transcript.text)
        punctuate = is_true(request.query.get("punctuate")) or is_true(request.query.get("smart_format"))
        model = request.query.get("model", "nova-3")
        return web.json_response(messages.recording(transcript, len(pcm) / rate, model, punctuate))

    def _refusal(self, request: web.Request) -> web.Response | None:
        key = bearer(request, "token", "bearer")
        protocols = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if not key and len(protocols) == 2 and protocols[0] in ("token", "bearer"):
            key = protocols[1]
        if self._gate.keys.good(key):
            return None
        self._gate.counts.unauthorized += 1
        return refuse(401, "INVALID_AUTH", "Invalid credentials.")


def refuse(status: int, code: str, message: str) -> web.Response:
    """An error in Deepgram's shape."""
    body = {"err_code": code, "err_msg": message, "request_id": request_id()}
    return web.json_response(body, status=status, headers={"dg-error": message})
