"""psrpc on Redis: how LiveKit's services call each other (psrpc v0.7.2).

A call is published to the method's channel; servers that would take it answer with a claim; the first
claimant is told that it has the call, runs its handler, and answers. A request that several servers of one
method receive is taken by the one that sets a lock in Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.symbol_database import Default as symbol_database
from redis.exceptions import RedisError

from sip.service.bus.channels import Channels
from sip.service.bus.messages import ClaimRequest, ClaimResponse, Msg, Request, Response

logger = logging.getLogger(__name__)

CLAIM_TIMEOUT = 1.0
"""Seconds in which a server must claim a request (psrpc's affinity timeout)."""
MAX_HANDLERS = 1000
"""Requests in work at once; more are left to other servers, so that a flood cannot grow without bound."""

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
Handler = Callable[[RequestT], Awaitable[Message]]
Affinity = Callable[[RequestT], float]


class BusError(Exception):
    """A call failed. `code` is psrpc's (`not_found`, `unavailable`, `deadline_exceeded`, …).

    `details` are protobuf messages; of a `livekit.SIPStatus` the public API makes a `SipCallError`.
    """

    def __init__(self, code: str, message: str, details: Sequence[Message] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.details = code, message, list(details)


class Bus:
    """The bus, for clients and servers of it. `await Bus.connect(url)`, and `close()` at the end."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._client_id = _identifier("CLI_")
        self._server_id = _identifier("SRV_")
        self._claims: dict[str, asyncio.Future[str]] = {}
        self._responses: dict[str, asyncio.Future[Response]] = {}
        self._handlers: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, redis_url: str) -> Bus:
        """Connect. Raises `ServiceError` when Redis does not answer."""
        return cls(await Channels.connect(redis_url))

    async def call(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[ResponseT],
        *,
        topic: tuple[str, ...] = (),
        timeout: float = 3.0,
    ) -> ResponseT:
        """Call a method of another service and return its answer.

        Raises `BusError`; among others `unavailable` when nobody serves the method or Redis is away, and
        `deadline_exceeded` after `timeout` seconds.
        """
        request_id = _identifier("REQ_")
        claim: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._claims[request_id], self._responses[request_id] = claim, answer
        try:
            async with asyncio.timeout(timeout):
                await self._channels.subscribe(f"{service}|{self._client_id}|CLAIM", self._on_claim)
                await self._channels.subscribe(f"{service}|{self._client_id}|RES", self._on_response)
                now = time.time_ns()
                envelope = Request(
                    request_id=request_id,
                    client_id=self._client_id,
                    sent_at=now,
                    expiry=now + int(timeout * 1e9),
                    raw_request=request.SerializeToString(),
                )
                await self._channels.publish(_channel(service, method, *topic, "REQ"), _seal(envelope))
                # A malformed request is answered without a claim.
                await asyncio.wait(
                    {claim, answer}, timeout=CLAIM_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
                )
                if claim.done():
                    grant = ClaimResponse(request_id=request_id, server_id=claim.result())
                    await self._channels.publish(_channel(service, method, *topic, "RCLAIM"), _seal(grant))
                elif not answer.done():
                    raise BusError("unavailable", "no response from servers")
                return _result(await answer, response_type)
        except TimeoutError as error:
            raise BusError("deadline_exceeded", f"{service}.{method}: request timed out") from error
        except (RedisError, OSError) as error:
            raise BusError("unavailable", f"Redis does not answer: {error}") from error
        finally:
            del self._claims[request_id], self._responses[request_id]

    async def serve(
        self,
        service: str,
        method: str,
        request_type: type[RequestT],
        handler: Handler[RequestT],
        *,
        topic: tuple[str, ...] = (),
        affinity: Affinity[RequestT] | None = None,
    ) -> Registration:
        """Answer a method's requests; returns once the subscription stands.

        `handler` runs in a task of its own and is cancelled at the request's deadline. What it raises reaches
        the caller: a `BusError` as it is, anything else as code `unknown`. `affinity` says how gladly this
        server takes a request; below 0 it leaves it to others.
        """
        registration = Registration(self._channels, self._server_id, self._handlers, (service, method, topic))
        await registration.start(request_type, handler, affinity)
        return registration

    async def close(self) -> None:
        """Cancel the handlers and disconnect; closing twice is safe."""
        handlers = [*self._handlers]
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        for waiting in (*self._claims.values(), *self._responses.values()):
            waiting.cancel()
        await self._channels.close()

    def _on_claim(self, data: bytes) -> None:
        claim = _open(data, ClaimRequest)
        _resolve(self._claims.get(claim.request_id), claim.server_id)

    def _on_response(self, data: bytes) -> None:
        response = _open(data, Response)
        _resolve(self._responses.get(response.request_id), response)


class Registration:
    """A served method. After `close()` no new request is taken; those in work are still answered."""

    def __init__(
        self,
        channels: Channels,
        server_id: str,
        handlers: set[asyncio.Task[None]],
        names: tuple[str, str, tuple[str, ...]],
    ) -> None:
        self._channels, self._server_id, self._handlers = channels, server_id, handlers
        self._service, self._method, topic = names
        self._requests = _channel(self._service, self._method, *topic, "REQ")
        self._grants = _channel(self._service, self._method, *topic, "RCLAIM")
        self._granted: dict[str, asyncio.Future[str]] = {}
        self._working = 0
        self._closed = False

    async def start(
        self, request_type: type[RequestT], handler: Handler[RequestT], affinity: Affinity[RequestT] | None
    ) -> None:
        """Take requests from now on."""
        work = _Work(request_type, handler, affinity)
        await self._channels.subscribe(self._grants, self._on_grant)
        await self._channels.subscribe(self._requests, lambda data: self._on_request(data, work))

    async def close(self) -> None:
        """Stop taking requests; closing twice is safe."""
        if not self._closed:
            self._closed = True
            await self._channels.unsubscribe(self._requests)
            await self._release()

    async def _release(self) -> None:
        if self._closed and not self._working:
            await self._channels.unsubscribe(self._grants)

    def _on_grant(self, data: bytes) -> None:
        grant = _open(data, ClaimResponse)
        _resolve(self._granted.get(grant.request_id), grant.server_id)

    def _on_request(self, data: bytes, work: _Work[Any]) -> None:
        envelope = _open(data, Request)
        if self._closed or envelope.expiry <= time.time_ns() or len(self._handlers) >= MAX_HANDLERS:
            return
        task = asyncio.create_task(self._take(data, envelope, work), name=f"bus-{self._method}")
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _take(self, data: bytes, envelope: Request, work: _Work[Any]) -> None:
        """Claim the request, run the handler, answer; `server_id` is set once the request is ours."""
        self._working += 1
        response = Response(request_id=envelope.request_id)
        try:
            async with asyncio.timeout(envelope.expiry / 1e9 - time.time()):
                if await self._channels.lock(data):
                    await self._answer(envelope, work, response)
        except TimeoutError:
            response.code, response.error = "deadline_exceeded", f"{self._method}: request timed out"
        except (RedisError, OSError) as error:
            logger.warning(
                "a request was lost with Redis", extra={"method": self._method, "error": str(error)}
            )
        finally:
            self._working -= 1
            await self._release()
        if response.server_id:
            response.sent_at = time.time_ns()
            with contextlib.suppress(RedisError, OSError):
                await self._channels.publish(f"{self._service}|{envelope.client_id}|RES", _seal(response))

    async def _answer(self, envelope: Request, work: _Work[Any], response: Response) -> None:
        try:
            request = work.parse(envelope.raw_request)
        except DecodeError as error:
            response.server_id = self._server_id
            response.code, response.error = "malformed_request", str(error)
            return
        affinity = work.affinity(request) if work.affinity else 1.0
        if affinity < 0 or not await self._claim(envelope, affinity):
            return
        response.server_id = self._server_id
        try:
            response.raw_response = (await work.handler(request)).SerializeToString()
        except BusError as error:
            response.code, response.error = error.code, error.message
            response.error_details.extend(_pack(detail) for detail in error.details)
        except Exception as error:
            logger.exception("a bus handler failed", extra={"method": self._method})
            response.code, response.error = "unknown", f"{type(error).__name__}: {error}"

    async def _claim(self, envelope: Request, affinity: float) -> bool:
        request_id = envelope.request_id
        granted = self._granted[request_id] = asyncio.get_running_loop().create_future()
        try:
            claim = ClaimRequest(request_id=request_id, server_id=self._server_id, affinity=affinity)
            await self._channels.publish(f"{self._service}|{envelope.client_id}|CLAIM", _seal(claim))
            return await granted == self._server_id
        finally:
            del self._granted[request_id]


class _Work(Generic[RequestT]):
    """What a method does with a request."""

    def __init__(
        self, request_type: type[RequestT], handler: Handler[RequestT], affinity: Affinity[RequestT] | None
    ) -> None:
        self._request_type, self.handler, self.affinity = request_type, handler, affinity

    def parse(self, data: bytes) -> RequestT:
        request = self._request_type()
        request.ParseFromString(data)
        return request


_LETTERS = string.ascii_letters + string.digits
_PLAIN = frozenset(_LETTERS + "_")


def _channel(*parts: str) -> str:
    """A Redis channel name: letters, digits and `_` stand as they are, the rest as `u+` and hexadecimal."""
    return "|".join("".join(map(_escape, part)) for part in parts if part)


def _escape(character: str) -> str:
    if character in _PLAIN:
        return character
    code = ord(character)
    return f"u+{code:04x}" if code < 0x10000 else f"U+{code:08x}"


def _identifier(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(12))


def _seal(message: Message) -> bytes:
    type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return Msg(type_url=type_url, value=message.SerializeToString()).SerializeToString()


def _open(data: bytes, kind: type[ResponseT]) -> ResponseT:
    envelope = Msg()
    envelope.ParseFromString(data)
    message = kind()
    message.ParseFromString(envelope.value)
    return message


def _resolve(future: asyncio.Future[Any] | None, value: object) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _result(response: Response, response_type: type[ResponseT]) -> ResponseT:
    if response.error or response.code:
        raise BusError(response.code or "unknown", response.error, [*map(_unpack, response.error_details)])
    result = response_type()
    try:
        result.ParseFromString(response.raw_response)
    except DecodeError as error:
        raise BusError("malformed_result", str(error)) from error
    return result


def _pack(detail: Message) -> AnyMessage:
    if isinstance(detail, AnyMessage):
        return detail
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _unpack(detail: AnyMessage) -> Message:
    """The message inside, or the `Any` itself where its type is not known here."""
    try:
        message = symbol_database().GetSymbol(detail.TypeName())()
    except KeyError:
        return detail
    return message if detail.Unpack(message) else detail
