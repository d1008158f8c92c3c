"""Does every part of a running stack answer now?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from lab import probes
from lab.stack import parts
from sip.local import LocalStack

_HEALTH = {parts.SPEECH: "/health"}


@dataclass(frozen=True)
class Health:
    """One part, asked just now."""

    part: str
    ok: bool
    address: str
    pid: int
    log: str
    ms: float
    """How long the answer took."""
    problem: str = ""


async def check(stack: LocalStack) -> list[Health]:
    """Ask every part that the stack started, at the same time; each has two seconds."""
    return list(await asyncio.gather(*(_ask(stack, name) for name in stack.parts)))


async def _ask(stack: LocalStack, name: str) -> Health:
    part = stack.parts[name]
    address = str(part["address"])
    started, ok, problem = time.monotonic(), False, "no answer"
    try:
        if name == parts.VALKEY:
            ok = await probes.redis_ping(stack.redis_url)
        elif name == parts.SIP:
            ok = await probes.sip_options(address)
        else:
            ok = await probes.http_ok(f"http://{address}{_HEALTH.get(name, '/')}")
        problem = "" if ok else "it answers, but not with success"
    except TimeoutError:
        problem = f"no answer within {probes.TRY:g} s"
    except OSError as error:
        problem = str(error)
    ms = (time.monotonic() - started) * 1000
    return Health(name, ok, address, part["pid"], str(part["log"]), ms, problem)
