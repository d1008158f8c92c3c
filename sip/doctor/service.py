"""The SIP service: does it answer, does the store answer, is its port free."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from sip.doctor import options
from sip.doctor.context import CannotRun, Context
from sip.errors import ConfigurationError
from sip.finding import Finding


def split(address: str) -> tuple[str, int]:
    """Host and port of `host[:port]`, 5060 by default. Raises `ConfigurationError`."""
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "", None
    if not host or "@" in address or "/" in address:
        raise ConfigurationError(f"{address!r} is no address of a SIP service", "", "Write HOST or HOST:PORT")
    return host, port or 5060


async def alive(context: Context) -> Sequence[Finding]:
    """Whether the SIP service answers OPTIONS."""
    address = context.sip_address or (context.stack.sip_address if context.stack else "") or context.serves
    if not address:
        if context.stack:
            return [
                Finding(
                    "sip-service-missing", "error", "The local stack runs without its SIP service.",
                    "sip stack down && sip stack up --detach",
                )
            ]  # fmt: skip
        raise CannotRun("where the SIP service listens is not known: give --sip HOST[:PORT]")
    host, port = split(address)
    try:
        answer = await options.ask(host, port)
    except socket.gaierror:
        return [Finding("sip-service-unknown", "error", f"{host} has no address.", "Check --sip", address)]
    if answer is None:
        mend = (
            f"sip stack status --name {context.stack.name}"
            if context.stack and not context.sip_address
            else "sip serve"
            if not context.sip_address
            else "Start it; open the port, UDP and TCP, in the firewall"
        )
        return [
            Finding(
                "sip-service-silent",
                "error",
                f"Nobody answers SIP OPTIONS at {host}:{port}, neither over UDP nor over TCP: no call comes"
                " in.",
                mend,
                address,
            )
        ]
    said = f" ({answer.server})" if answer.server else ""
    return [Finding("sip-service-address", "info", f"{host}:{port} answered {answer.code}{said}.")]


async def redis(context: Context) -> Sequence[Finding]:
    """Whether the store behind livekit-server and SIP service answers PING."""
    url = context.stack.redis_url if context.stack else context.settings.get("REDIS_URL", "")
    if not url:
        raise CannotRun("REDIS_URL is not set here; only a machine that runs `sip serve` needs it")
    try:
        from redis import asyncio as client
        from redis import exceptions
    except ImportError:
        raise CannotRun("the redis client is not installed (extra `service`)") from None
    where = urlsplit(url).hostname or url
    store = client.from_url(url, socket_connect_timeout=3, socket_timeout=3)
    try:
        await store.ping()
    except exceptions.AuthenticationError:
        return [_redis_failed(where, "it refuses the password", "Check the password in REDIS_URL")]
    except (exceptions.RedisError, OSError, TimeoutError, ValueError) as error:
        why = str(error).partition(".")[0] or type(error).__name__
        return [_redis_failed(where, why, "Start it, or correct REDIS_URL")]
    finally:
        await store.aclose()
    return []


def _redis_failed(where: str, why: str, mend: str) -> Finding:
    text = f"The store at {where} does not answer: {why}. livekit-server and the SIP service meet there."
    return Finding("redis-unreachable", "error", text, mend, where)


async def ports(context: Context) -> Sequence[Finding]:
    """Whether the port of `sip serve` is free, or held by a SIP service."""
    if not context.serves:
        if context.stack:
            return []
        raise CannotRun("no SIP service is meant to run on this machine (REDIS_URL is not set)")
    host, port = split(context.serves)
    taken = [name for name, kind in _KINDS if _taken(host, port, kind)]
    if not taken or await asyncio.wait_for(options.ask(host, port), 8):
        return []
    return [
        Finding(
            "sip-port-taken",
            "error",
            f"Another program holds {' and '.join(taken)} {host}:{port}, and it speaks no SIP.",
            f"ss -lptun 'sport = :{port}' names it; or choose another port with SIP_PORT",
            f"{host}:{port}",
        )
    ]


_KINDS = (("UDP", socket.SOCK_DGRAM), ("TCP", socket.SOCK_STREAM))


def _taken(host: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as sock:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return True
    return False
