"""OpenAI's `/v1/models` and `/v1/chat/completions`, streamed and not, with tool calls.

Behind it the rule-based receptionist, or any OpenAI-compatible server by URL.
Protocol: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp import web

from .completion import Reply, completion_body, pieces, usage, words_of
from .faults import Injection
from .wire import Gate, bearer, cut, log, request_id, until_gone

FIRST_TOKEN_S = 0.005
TOKEN_S = 0.006
"""A fast hosted model: about 160 tokens a second."""


@dataclass(frozen=True)
class Upstream:
    """A real model behind the endpoint: base URL (".../v1"), model name ("" keeps the client's), key."""

    url: str
    model: str = ""
    key: str = ""


class OpenAI:
    """The HTTP side. `answer` makes a reply of a request body."""

    def __init__(
        self, answer: Callable[[Mapping[str, Any]], Reply], gate: Gate, upstream: Upstream | None = None
    ) -> None:
        self._answer, self._gate, self._upstream = answer, gate, upstream
        self._client: aiohttp.ClientSession | None = None

    def routes(self) -> list[web.RouteDef]:
        """What this provider answers to."""
        return [
            web.get("/v1/models", self.models),
            web.get("/v1/models/{name:.+}", self.model),
            web.post("/v1/chat/completions", self.completions),
        ]

    async def aclose(self) -> None:
        """Close the connection to the model behind, if there is one."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def models(self, request: web.Request) -> web.Response:
        """The one model that there is."""
        if not self._known(request):
            return self._unknown()
        return web.json_response({"object": "list", "data": [self._model(self._name())]})

    async def model(self, request: web.Request) -> web.Response:
        """Any name is a model here."""
        if not self._known(request):
            return self._unknown()
        return web.json_response(self._model(request.match_info["name"]))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """One turn of a conversation."""
        if not self._known(request):
            return self._unknown()
        counts = self._gate.counts
        counts.requests += 1
        injection = self._gate.begin()
        status = injection.refusal()
        if status is not None:
            kinds = {401: "authentication_error", 429: "rate_limit_exceeded"}
            return _error(status, "the fault that was asked for", kinds.get(status, "server_error"))
        try:
            body = await request.json()
        except ValueError as error:
            return _error(400, f"not JSON: {error}", "invalid_request_error")
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return _error(400, "messages is missing, or is not a list", "invalid_request_error")
        fields = cast(dict[str, Any], body)
        heard = words_of(fields["messages"], "user")
        if heard:
            counts.note_heard(heard[-1])
        await asyncio.sleep(injection.latency_s())
        match injection.verdict(chunks=0):
            case "cut":
                cut(request)
                return web.Response(status=503)
            case "silence":
                await until_gone(request, self._gate)
            case _:
                pass
        if self._upstream is not None:
            return await self._pass_through(request, fields, injection, self._upstream)
        reply = self._answer(fields)
        counts.note(reply.text or " ".join(call.name for call in reply.calls))
        counts.tokens += usage(fields, reply)["total_tokens"]
        if not fields.get("stream"):
            return web.json_response(completion_body(fields, reply))
        return await self._stream(request, pieces(fields, reply), injection)

    async def _stream(
        self, request: web.Request, chunks: Iterator[Mapping[str, Any]], injection: Injection
    ) -> web.StreamResponse:
        response = await self._open(request)
        loop = asyncio.get_running_loop()
        due = loop.time() + FIRST_TOKEN_S
        for chunk in chunks:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not await self._whole(request, injection):
                return response
            await response.write(_event(json.dumps(chunk)))
            due += TOKEN_S
        await response.write(_event("[DONE]"))
        await response.write_eof()
        return response

    async def _whole(self, request: web.Request, injection: Injection) -> bool:
        """Apply the present fault in the middle of a stream; False when it broke."""
        verdict = injection.verdict()
        if verdict == "silence":
            await until_gone(request, self._gate)
            return request.transport is not None and not request.transport.is_closing()
        if verdict != "go":
            cut(request)
            return False
        return True

    async def _pass_through(
        self, request: web.Request, body: dict[str, Any], injection: Injection, upstream: Upstream
    ) -> web.StreamResponse:
        if self._client is None:
            self._client = aiohttp.ClientSession()
        if upstream.model:
            body = {**body, "model": upstream.model}
        headers = {"Authorization": f"Bearer {upstream.key}"} if upstream.key else {}
        url = upstream.url.rstrip("/") + "/chat/completions"
        try:
            async with self._client.post(url, json=body, headers=headers) as answer:
                if answer.status != 200 or not body.get("stream"):
                    return web.Response(
                        body=await answer.read(), status=answer.status, content_type=answer.content_type
                    )
                response = await self._open(request)
                async for line in answer.content:
                    if not await self._whole(request, injection):
                        return response
                    await response.write(line)
                await response.write_eof()
                return response
        except aiohttp.ClientConnectorError as error:
            log.warning("the language model behind the endpoint does not answer: %s", error.strerror)
            return _error(502, "the language model behind this endpoint does not answer", "server_error")

    async def _open(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
                "x-request-id": request_id(),
            }
        )
        await response.prepare(request)
        return response

    def _name(self) -> str:
        return (self._upstream.model if self._upstream else "") or "receptionist"

    @staticmethod
    def _model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": int(time.time()), "owned_by": "local"}

    def _known(self, request: web.Request) -> bool:
        if self._gate.keys.good(bearer(request, "bearer")):
            return True
        self._gate.counts.unauthorized += 1
        return False

    @staticmethod
    def _unknown() -> web.Response:
        return _error(401, "the API key is missing or not known", "invalid_api_key")


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _error(status: int, message: str, code: str) -> web.Response:
    body = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return web.json_response(body, status=status, headers={"x-request-id": request_id()})
