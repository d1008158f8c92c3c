"""Speech and language servers of a few lines that fail on demand, for the unmodified plugins.

They speak Deepgram's, OpenAI's and Cartesia's wire protocols far enough for a call: recognition "hears" the
next line of a script after each piece of loud audio, the model answers by a function, synthesis is a tone.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

Reply = str | dict[str, Any]
"""Words, or `{"tool": name, "arguments": {…}, "text": words before it}`."""


@dataclass
class Providers:
    """Faults, none by default. STT: `401`, `cut`, `silent`; LLM: `500`, `429`, `hang`, `empty`; TTS: `401`,
    `hang`, `cut`."""

    stt: str = ""
    llm: str = ""
    tts: str = ""
    script: list[str] = field(default_factory=list[str])
    """What recognition hears next."""
    answer: Callable[[list[dict[str, Any]]], Reply] = lambda messages: "All right."
    seconds_per_word: float = 0.25
    asked: list[str] = field(default_factory=list[str])
    """What was requested, in order: `stt`, `llm`, `tts`."""
    url: str = ""

    @property
    def env(self) -> dict[str, str]:
        """Settings that point a worker here."""
        return {
            "DEEPGRAM_BASE_URL": f"{self.url}/v1/listen",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "CARTESIA_BASE_URL": self.url,
        }

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """Deepgram's streaming websocket."""
        self.asked.append("stt")
        if self.stt == "401":
            return web.json_response({"err_code": "INVALID_AUTH"}, status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        rate = int(request.query["sample_rate"])
        position, loud, quiet = 0.0, 0.0, 0.0
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                if json.loads(message.data).get("type") == "CloseStream":
                    break
                continue
            samples = np.frombuffer(message.data, dtype="<i2").astype(np.float32)
            seconds = len(samples) / rate
            position += seconds
            if len(samples) and np.sqrt(np.mean(samples**2)) > 500:
                loud, quiet = loud + seconds, 0.0
                if self.stt == "cut":
                    await socket.close(code=1011)
                    break
            else:
                quiet += seconds
            if loud > 0.2 and quiet > 0.15 and self.stt != "silent":
                words = self.script.pop(0) if self.script else "hello"
                await socket.send_json(_results(words, position - quiet - loud, loud))
                loud = 0.0
        return socket

    async def models(self, request: web.Request) -> web.Response:
        """OpenAI's list of models, asked for at warm-up."""
        return web.json_response({"object": "list", "data": []})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's streamed chat completion."""
        self.asked.append("llm")
        if self.llm in ("500", "429"):
            return web.json_response({"error": {"message": "no"}}, status=int(self.llm))
        if self.llm == "hang":
            await asyncio.Event().wait()
        body = await request.json()
        answer = "" if self.llm == "empty" else self.answer(body["messages"])
        tool = answer if isinstance(answer, dict) else None
        text = str(tool.get("text", "")) if tool else str(answer)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": f"{word} "} for word in text.split()]
        if tool:
            function = {"name": tool["tool"], "arguments": json.dumps(tool.get("arguments", {}))}
            deltas.append(
                {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
            )
        for delta in deltas:
            await response.write(_chunk([{"index": 0, "delta": delta, "finish_reason": None}]))
        finish = "tool_calls" if tool else "stop"
        await response.write(_chunk([{"index": 0, "delta": {}, "finish_reason": finish}]))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """Cartesia's websocket."""
        self.asked.append("tts")
        if self.tts == "401":
            return web.json_response({"error": "no"}, status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT or self.tts == "hang":
                continue
            data = json.loads(message.data)
            if self.tts == "401":  # a key withdrawn while the socket is open
                error = {"type": "error", "status_code": 401, "error": "no", "done": True}
                await socket.send_json({**error, "context_id": data["context_id"]})
                continue
            if data.get("transcript", "").strip():
                audio = base64.b64encode(self._tone(data)).decode()
                context = data["context_id"]
                await socket.send_json({"type": "chunk", "data": audio, "context_id": context, "done": False})
                if self.tts == "cut":
                    await socket.close(code=1011)
            if not data.get("continue"):
                await socket.send_json({"type": "done", "done": True, "context_id": data["context_id"]})
        return socket

    async def speak_once(self, request: web.Request) -> web.Response:
        """Cartesia's `/tts/bytes`."""
        self.asked.append("tts")
        if self.tts == "401":
            return web.json_response({"error": "no"}, status=401)
        if self.tts == "hang":
            await asyncio.Event().wait()
        return web.Response(body=self._tone(await request.json()), content_type="audio/pcm")

    def _tone(self, data: dict[str, Any]) -> bytes:
        rate = int(data["output_format"]["sample_rate"])
        count = int(len(data["transcript"].split()) * self.seconds_per_word * rate)
        return (8000 * np.sin(np.arange(count) * 2 * np.pi * 440 / rate)).astype("<i2").tobytes()


@asynccontextmanager
async def serve(providers: Providers | None = None) -> AsyncGenerator[Providers]:
    """Run them on a free port of 127.0.0.1."""
    providers = providers or Providers()
    app = web.Application()
    app.router.add_get("/v1/listen", providers.listen)
    app.router.add_get("/v1/models", providers.models)
    app.router.add_post("/v1/chat/completions", providers.complete)
    app.router.add_get("/tts/websocket", providers.speak)
    app.router.add_post("/tts/bytes", providers.speak_once)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield providers
    finally:
        await runner.cleanup()


def _results(text: str, start: float, duration: float) -> dict[str, Any]:
    words = text.split()
    step = duration / max(len(words), 1)
    return {
        "type": "Results",
        "metadata": {"request_id": "r"},
        "is_final": True,
        "speech_final": True,
        "start": start,
        "duration": duration,
        "channel": {
            "alternatives": [
                {
                    "transcript": text,
                    "confidence": 0.99,
                    "words": [
                        {
                            "word": word,
                            "punctuated_word": word,
                            "start": start + i * step,
                            "end": start + (i + 1) * step,
                            "confidence": 0.99,
                        }
                        for i, word in enumerate(words)
                    ],
                }
            ]
        },
    }


def _chunk(choices: list[dict[str, Any]]) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return f"data: {json.dumps(body)}\n\n".encode()
