"""Redis pub/sub channels that survive a restart of Redis: the transport under the bus.

Nothing is stored by pub/sub: what is published while Redis is away is lost, and its caller times out. Every
subscription comes back by itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from google.protobuf.message import DecodeError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sip.errors import ServiceError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
MAX_CONNECTIONS = 32
RECONNECT_DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to reach Redis again; the last one repeats."""
LOCK_EXPIRY = 5
"""Seconds for which a message's lock stands in Redis, as in psrpc."""
# Seconds of silence before the kernel asks whether Redis is still there, between questions, and their number.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Channels:
    """One connection to Redis for publishing, one for what is subscribed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: PubSub = redis.pubsub()
        self._pubsub_lock = asyncio.Lock()
        self._routes: dict[str, Callable[[bytes], None]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._has_routes = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="bus-reader")

    @classmethod
    async def connect(cls, redis_url: str) -> Channels:
        """Connect. Raises `ServiceError` when Redis does not answer."""
        mend = "Start the store that livekit-server uses, or set REDIS_URL to its address."
        try:
            pool = BlockingConnectionPool.from_url(
                redis_url,
                # More at once wait for a connection instead of failing.
                max_connections=MAX_CONNECTIONS,
                timeout=CONNECT_TIMEOUT,
                socket_connect_timeout=CONNECT_TIMEOUT,
                socket_timeout=None,
                socket_keepalive=True,
                socket_keepalive_options={
                    getattr(socket, name): value
                    for name, value in _KEEPALIVE.items()
                    if hasattr(socket, name)
                },
                # Reconnecting is this module's business: it must wait for every subscription's confirmation.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
            redis = Redis.from_pool(pool)
        except ValueError as error:
            raise ServiceError("not an address of a Redis", str(error), mend) from error
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await cast(Awaitable[Any], redis.ping())
        except (RedisError, OSError, TimeoutError) as error:
            await redis.aclose()
            raise ServiceError("Redis does not answer", str(error) or type(error).__name__, mend) from error
        return cls(redis)

    async def publish(self, channel: str, payload: bytes) -> None:
        """Publish. Raises `RedisError` or `OSError` when Redis is away."""
        await self._redis.publish(channel, payload)

    async def lock(self, payload: bytes) -> bool:
        """Whether this process is the first of all subscribers to take this message."""
        digest = base64.b64encode(hashlib.sha256(payload).digest()).decode()
        return bool(await self._redis.set(digest, secrets.randbelow(2**62), nx=True, ex=LOCK_EXPIRY))

    async def subscribe(self, channel: str, on_message: Callable[[bytes], None]) -> None:
        """Hand every message of the channel to `on_message`; returns once Redis has confirmed."""
        if channel not in self._routes:
            self._routes[channel] = on_message
            self._confirmed[channel] = asyncio.Event()
            # A lost connection is the reader's business: it subscribes to every route again.
            with contextlib.suppress(RedisError, OSError):
                async with self._pubsub_lock:
                    await self._pubsub.subscribe(channel)
            self._has_routes.set()
        await self._confirmed[channel].wait()

    async def unsubscribe(self, channel: str) -> None:
        """Forget the channel; one that is unknown is no error."""
        if self._routes.pop(channel, None) is not None:
            del self._confirmed[channel]
            with contextlib.suppress(RedisError, OSError):
                async with self._pubsub_lock:
                    await self._pubsub.unsubscribe(channel)

    async def close(self) -> None:
        """Disconnect; closing twice is safe."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._pubsub.aclose()
        await self._redis.aclose()

    async def _read(self) -> None:
        attempt = 0
        while True:
            await self._has_routes.wait()
            try:
                async for message in self._pubsub.listen():
                    attempt = 0
                    self._on_message(message)
                # No subscription stands: none is wanted, or none could be made while Redis was away.
                self._has_routes.clear()
                if self._routes:
                    await self._subscribe_again()
            except (RedisError, OSError) as error:
                delay = RECONNECT_DELAYS[min(attempt, len(RECONNECT_DELAYS) - 1)]
                attempt += 1
                logger.warning("lost Redis, trying again", extra={"error": str(error), "delay_s": delay})
                await asyncio.sleep(delay)
                with contextlib.suppress(RedisError, OSError):
                    await self._subscribe_again()

    async def _subscribe_again(self) -> None:
        async with self._pubsub_lock:
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.aclose()
            for confirmed in self._confirmed.values():
                confirmed.clear()
            self._pubsub = self._redis.pubsub()
            self._has_routes.set()
            if self._routes:
                await self._pubsub.subscribe(*self._routes)

    def _on_message(self, message: dict[str, Any]) -> None:
        channel = cast(bytes, message["channel"]).decode()
        if message["type"] == "subscribe":
            if confirmed := self._confirmed.get(channel):
                confirmed.set()
        elif message["type"] == "message" and (route := self._routes.get(channel)):
            try:
                route(cast(bytes, message["data"]))
            except DecodeError:
                logger.warning("undecodable message on the bus", extra={"channel": channel})
