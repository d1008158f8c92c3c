"""Cartesia's `/tts/websocket` and `/tts/bytes`.

Protocol: https://docs.cartesia.ai/api-reference/tts/tts. One websocket carries many contexts; a context is
one utterance whose text may come in pieces (`continue`).
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from aiohttp import WSMsgType, web

from .audio import wav_bytes
from .cartesia_context import Context
from .cartesia_messages import Request, RequestError, error_message
from .synthesizer import Synthesizer
from .wire import Gate, bearer, cut, request_id, until_gone

VERSION_HEADERS = {"cartesia-version": "2025-04-16"}


class Cartesia:
    """The HTTP side: websocket and bytes."""

    def __init__(self, synthesizer: Synthesizer, threads: ThreadPoolExecutor, gate: Gate) -> None:
        self._synthesizer, self._threads, self._gate = synthesizer, threads, gate

    def routes(self) -> list[web.RouteDef]:
        """What this provider answers to."""
        return [web.get("/tts/websocket", self.stream), web.post("/tts/bytes", self.bytes)]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One websocket: contexts in, audio out."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        connecting = self._gate.begin()
        status = connecting.refusal()
        if status is not None:
            return _refuse(status, "the fault that was asked for")
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        socket.headers["x-request-id"] = request_id()
        await socket.prepare(request)
        self._gate.counts.connections += 1
        self._gate.counts.open += 1
        contexts: dict[str, Context] = {}
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    continue
                await self._on(request, socket, contexts, cast(str, message.data))
        finally:
            self._gate.counts.open -= 1
            for context in list(contexts.values()):
                await context.cancel()
        return socket

    async def _on(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        contexts: dict[str, Context],
        text: str,
    ) -> None:
        context_id: str | None = None
        try:
            try:
                data = json.loads(text)
            except ValueError as error:
                raise RequestError(f"not JSON: {error}") from None
            if not isinstance(data, dict):
                raise RequestError("not an object")
            fields = cast(dict[str, Any], data)
            context_id = str(fields["context_id"]) if fields.get("context_id") is not None else None
            if fields.get("cancel"):
                context = contexts.get(context_id or "")
                if context is not None:
                    await context.cancel()
                return
            spoken = Request.parse(fields)
        except RequestError as error:
            await socket.send_json(error_message(context_id, 400, str(error)))
            return
        name = context_id or request_id()
        context = contexts.get(name)
        if context is None:
            self._gate.counts.requests += 1
            context = Context(name, request, socket, self._synthesizer, self._threads, self._gate)
            contexts[name] = context
            context.on_done(lambda: contexts.pop(name, None))
        context.push(spoken)

    async def bytes(self, request: web.Request) -> web.StreamResponse:
        """The whole audio of one transcript, sent as it is made."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        counts = self._gate.counts
        counts.requests += 1
        injection = self._gate.begin()
        status = injection.refusal()
        if status is not None:
            return _refuse(status, "the fault that was asked for")
        try:
            fields = await request.json()
            spoken = Request.parse(cast(dict[str, Any], fields) if isinstance(fields, dict) else {})
        except (ValueError, RequestError) as error:
            return _refuse(400, str(error))
        counts.characters += len(spoken.transcript)
        counts.note(spoken.transcript)
        await asyncio.sleep(injection.latency_s())
        loop = asyncio.get_running_loop()
        if spoken.container == "wav":
            pcm = await loop.run_in_executor(self._threads, spoken.speak_all, self._synthesizer)
            counts.audio_s += len(pcm) / spoken.sample_rate
            if (verdict := injection.verdict(0.0)) != "go":
                return await self._broken(request, verdict)
            return web.Response(body=wav_bytes(pcm, spoken.sample_rate), content_type="audio/wav")
        if (verdict := injection.verdict(0.0, chunks=0)) != "go":
            return await self._broken(request, verdict)
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm", "x-request-id": request_id()})
        await response.prepare(request)
        phrases = spoken.phrases(self._synthesizer, spoken.transcript)
        while (phrase := await loop.run_in_executor(self._threads, next, phrases, None)) is not None:
            for chunk in spoken.chunks(phrase.pcm):
                verdict = injection.verdict(len(chunk) / spoken.sample_rate * 1000)
                if verdict != "go":
                    await self._broken(request, verdict)
                    return response
                await response.write(spoken.encode(chunk))
                counts.audio_s += len(chunk) / spoken.sample_rate
        await response.write_eof()
        return response

    async def _broken(self, request: web.Request, verdict: str) -> web.Response:
        if verdict == "silence":
            await until_gone(request, self._gate)
        cut(request)
        return web.Response(status=503)

    def _refusal(self, request: web.Request) -> web.Response | None:
        key = (
            request.headers.get("X-API-Key")
            or request.query.get("api_key")
            or request.query.get("access_token")
            or bearer(request, "bearer")
        )
        if self._gate.keys.good(key or ""):
            return None
        self._gate.counts.unauthorized += 1
        return _refuse(401, "the API key is missing or not known")


def _refuse(status: int, message: str) -> web.Response:
    body = {"error": message, "request_id": request_id()}
    return web.json_response(body, status=status, headers=VERSION_HEADERS)
