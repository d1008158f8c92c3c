"""What the three servers share: keys, ids, timers and the ways to break a connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass

from aiohttp import web

from .faults import Counts, Faults, Injection, Provider

log = logging.getLogger("lab.speech")


@dataclass(frozen=True)
class Keys:
    """Which API keys are good: any that is not empty, unless some are listed."""

    allowed: frozenset[str] = frozenset()

    def good(self, key: str) -> bool:
        """Whether this key may use the servers."""
        return bool(key) and (not self.allowed or key in self.allowed)


@dataclass(frozen=True)
class Gate:
    """The door of one provider: keys, faults, counts."""

    provider: Provider
    keys: Keys
    faults: Faults

    @property
    def counts(self) -> Counts:
        """This provider's counters."""
        return self.faults.counts[self.provider]

    def begin(self) -> Injection:
        """A unit of work under this provider's faults."""
        return self.faults.begin(self.provider, asyncio.get_running_loop().time)


def bearer(request: web.Request, *schemes: str) -> str:
    """The key of an Authorization header with one of these schemes, else empty."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() in schemes else ""


def request_id() -> str:
    """A new id, in the shape that all three providers use."""
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def cut(request: web.Request) -> None:
    """Break the TCP connection without a word."""
    if request.transport is not None:
        request.transport.abort()


async def until_gone(request: web.Request, gate: Gate) -> None:
    """Say nothing until the client leaves or the provider's fault is taken back."""
    changed = gate.faults.watch(gate.provider)
    try:
        while gate.faults.current(gate.provider).fail == "silence" or not changed.is_set():
            transport = request.transport
            if transport is None or transport.is_closing():
                return
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), 0.5)
            except TimeoutError:
                continue
    finally:
        gate.faults.unwatch(gate.provider, changed)
