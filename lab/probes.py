"""Is it there yet? One try each.

Something true means yes; None, False, `OSError` or `TimeoutError` mean not yet.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TRY = 2.0
"""Seconds that one try may take."""


async def http_ok(url: str) -> bool:
    """Whether GET answers 200."""
    parts = urlsplit(url)
    async with asyncio.timeout(TRY):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        try:
            path = parts.path or "/"
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
        finally:
            writer.close()
    return status.split()[1:2] == [b"200"]


async def redis_ping(url: str) -> bool:
    """Whether the store at `redis://[user:password@]host:port` answers PING."""
    parts = urlsplit(url)
    async with asyncio.timeout(TRY):
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or 6379, ssl=True if parts.scheme == "rediss" else None
        )
        try:
            if parts.password:
                user = [unquote(parts.username)] if parts.username else []
                writer.write(_command("AUTH", *user, unquote(parts.password)))
                if not (await reader.readline()).startswith(b"+OK"):
                    raise PermissionError("the store refuses the password")
            writer.write(_command("PING"))
            answer = await reader.readline()
        finally:
            writer.close()
    return answer.strip() == b"+PONG"


async def sip_options(address: str) -> bool:
    """Whether any SIP response to OPTIONS comes back over UDP (RFC 3261, 11): whoever answers, lives."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((host, int(port)))
        local = "{}:{}".format(*sock.getsockname())
        tag = secrets.token_hex(6)
        request = (
            f"OPTIONS sip:{address} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{tag};rport\r\n"
            "Max-Forwards: 70\r\n"
            f"From: <sip:probe@{local}>;tag={tag}\r\n"
            f"To: <sip:{address}>\r\n"
            f"Call-ID: {tag}@probe\r\n"
            "CSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        async with asyncio.timeout(TRY):
            await loop.sock_sendall(sock, request.encode())
            answer = await loop.sock_recv(sock, 65536)
    return answer.startswith(b"SIP/2.0 ")


async def log_has(log: Path, text: str) -> bool:
    """Whether the log file holds this text."""
    return text in _read(log)


async def ready_line(log: Path) -> dict[str, Any] | None:
    """The JSON object of the line `READY {…}` in a log file (docs/design.md); None while there is none."""
    found = re.search(r"^READY (\{.*\})\s*$", _read(log), re.MULTILINE)
    return json.loads(found[1]) if found else None


def _read(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _command(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(
        f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words
    )
