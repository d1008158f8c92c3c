"""The SIP service as a process: everything started in order, stopped in reverse; signals drain it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable

import aiohttp
from livekit import api

from sip.errors import ServiceError
from sip.service.bus.rpc import Bus
from sip.service.edge import Edge
from sip.service.internal import Internal
from sip.service.registrations.link import FarLink
from sip.service.registrations.registrations import Registrations, wanted
from sip.service.routing import LiveKitDirectory, Routing
from sip.service.settings import Settings

logger = logging.getLogger(__name__)

CHECK_TIMEOUT = 5.0


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets the ready line. Raises `ServiceError`.

    The first signal drains: new calls get 503, calls that stand may end by themselves. A second ends them.
    """
    stopped = asyncio.Event()
    hurried = asyncio.Event()
    _on_signals(stopped, hurried)
    extensions = wanted(settings.registrations) if settings.registrations else []
    async with contextlib.AsyncExitStack() as stack:
        livekit = api.LiveKitAPI(settings.livekit_url, settings.api_key, settings.api_secret)
        stack.push_async_callback(livekit.aclose)
        directory = LiveKitDirectory(livekit)
        await _check_keys(directory, settings)
        bus = await Bus.connect(settings.redis_url)
        stack.push_async_callback(bus.close)
        edge = Edge(settings, Routing(bus, directory))
        stack.push_async_callback(edge.stop)
        await edge.start()
        internal = Internal(bus, edge)
        await internal.start()
        registrations = Registrations(extensions, FarLink(edge.far), edge.address)
        stack.push_async_callback(registrations.stop)
        registrations.start()
        announce(ready_line(edge))
        await stopped.wait()
        logger.info("draining", extra={"calls": len(edge.calls)})
        await internal.close()
        await registrations.stop()
        draining = asyncio.create_task(edge.drain(settings.drain_timeout))
        hurry = asyncio.create_task(hurried.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await edge.drain(0)
        hurry.cancel()


def ready_line(edge: Edge) -> str:
    """What stands on standard output once calls are taken."""
    facts = {"sip": edge.address, "transports": ["udp", "tcp"], "pid": os.getpid()}
    return f"READY {json.dumps(facts)}"


async def _check_keys(directory: LiveKitDirectory, settings: Settings) -> None:
    """Ask livekit-server something that needs the keys, before any call does."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await directory.state()
    except api.ServerError as error:
        if error.status in (401, 403):
            mend = "Set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a key of this server."
            raise ServiceError("livekit-server refuses the keys", error.message, mend) from error
        mend = "A server without a Redis store has no SIP: give both the same REDIS_URL."
        raise ServiceError("livekit-server cannot list trunks", error.message, mend) from error
    except (TimeoutError, aiohttp.ClientError) as error:
        what = f"livekit-server does not answer at {settings.livekit_url}"
        why = str(error) or type(error).__name__
        raise ServiceError(what, why, "Start it, or set LIVEKIT_URL to its address.") from error


def _on_signals(stopped: asyncio.Event, hurried: asyncio.Event) -> None:
    def on_signal() -> None:
        if stopped.is_set():
            hurried.set()
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
