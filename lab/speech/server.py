"""The three providers and their administration in one HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, cast

from aiohttp import web

from .cartesia import Cartesia
from .completion import Reply
from .decoding import Decoder
from .deepgram import Deepgram
from .faults import PROVIDERS, Fault, FaultError, Faults, Provider, parse_fault
from .openai import OpenAI, Upstream
from .recognizer import Recognizer
from .synthesizer import Synthesizer
from .wire import Gate, Keys


class SpeechServer:
    """Serves until closed. `start` binds and returns the port; models are loaded by then.

    The recognizer and the synthesizer may be shared with others in the same process.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        synthesizer: Synthesizer,
        answer: Callable[[Mapping[str, Any]], Reply],
        *,
        keys: Keys | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        self.faults = Faults()
        self._recognizer, self._synthesizer, self._answer = recognizer, synthesizer, answer
        self._keys, self._upstream = keys or Keys(), upstream
        self._runner: web.AppRunner | None = None
        self._decoder: Decoder | None = None
        self._voices: ThreadPoolExecutor | None = None
        self._openai: OpenAI | None = None
        self.host, self.port = "127.0.0.1", 0

    @property
    def url(self) -> str:
        """Where the servers are; the Cartesia plugin's base URL."""
        return f"http://{self.host}:{self.port}"

    def addresses(self) -> dict[str, str]:
        """Base URLs as the plugins take them."""
        return {
            "url": self.url,
            "deepgram": f"{self.url}/v1/listen",
            "openai": f"{self.url}/v1",
            "cartesia": self.url,
        }

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; port 0 is any free port. Raises OSError when the port is taken."""
        self._decoder = Decoder(self._recognizer)
        self._voices = ThreadPoolExecutor(1, thread_name_prefix="synthesizer")
        self._openai = OpenAI(self._answer, self._gate("openai"), self._upstream)
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(Deepgram(self._decoder, self._gate("deepgram")).routes())
        app.add_routes(self._openai.routes())
        app.add_routes(Cartesia(self._synthesizer, self._voices, self._gate("cartesia")).routes())
        app.add_routes(self._admin())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.3, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.host, self.port = host, self._runner.addresses[0][1]
        return self.port

    async def aclose(self) -> None:
        """Close connections and threads; twice is no error."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._openai is not None:
            await self._openai.aclose()
        if self._decoder is not None:
            await self._decoder.aclose()
        if self._voices is not None:
            await asyncio.to_thread(self._voices.shutdown)

    def _gate(self, provider: Provider) -> Gate:
        return Gate(provider, self._keys, self.faults)

    def _admin(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self._health),
            web.get("/admin/faults", self._faults),
            web.put("/admin/faults", self._set_faults),
            web.delete("/admin/faults", self._clear_faults),
            web.put("/admin/faults/{provider}", self._set_fault),
            web.delete("/admin/faults/{provider}", self._clear_fault),
            web.get("/admin/counts", self._counts),
            web.delete("/admin/counts", self._reset_counts),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **self.addresses()})

    async def _faults(self, _: web.Request) -> web.Response:
        return web.json_response(self.faults.to_json())

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Several at once: `{provider: fault or null}`; a provider that is not named keeps its fault."""
        wanted = await _object(request)
        try:
            parsed: dict[Provider, Fault | None] = {
                _provider(name): None if fault is None else parse_fault(_fields(name, fault))
                for name, fault in wanted.items()
            }
        except FaultError as error:
            return web.json_response({"error": str(error)}, status=400)
        for provider, fault in parsed.items():
            if fault is None:
                self.faults.clear(provider)
            else:
                self.faults.set(provider, fault)
        return web.json_response(self.faults.to_json())

    async def _set_fault(self, request: web.Request) -> web.Response:
        try:
            provider = _provider(request.match_info["provider"])
            self.faults.set(provider, parse_fault(await _object(request)))
        except FaultError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.faults.to_json())

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response(self.faults.to_json())

    async def _clear_fault(self, request: web.Request) -> web.Response:
        try:
            self.faults.clear(_provider(request.match_info["provider"]))
        except FaultError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.faults.to_json())

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response({name: asdict(self.faults.counts[name]) for name in PROVIDERS})

    async def _reset_counts(self, request: web.Request) -> web.Response:
        self.faults.reset_counts()
        return await self._counts(request)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        data = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise web.HTTPBadRequest(text="not an object")
    return cast(dict[str, Any], data)


def _fields(name: str, fault: Any) -> Mapping[str, Any]:
    if not isinstance(fault, Mapping):
        raise FaultError(f"the fault of {name} is not an object")
    return cast(Mapping[str, Any], fault)


def _provider(name: str) -> Provider:
    if name not in PROVIDERS:
        raise FaultError(f"provider {name!r} is not known; {', '.join(PROVIDERS)} are")
    return name
