"""One OPTIONS request (RFC 3261 11), over UDP or TCP: whoever answers, lives."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from dataclasses import dataclass

RESEND = (0.5, 1.0, 1.5)
"""Seconds after which it is sent again over UDP."""


_CONTACT = re.compile(r"sips?:(?:[^@>;]*@)?(\[[^\]]+\]|[^:;>\s]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    transport: str
    server: str = ""
    """Server or User-Agent header."""
    contact: str = ""
    """Host of its Contact header."""


async def ask(host: str, port: int) -> Answer | None:
    """The answer over UDP, else over TCP; None when nobody answers. Raises `OSError` for an unknown host."""
    family, _, _, _, address = (
        await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    )[0]
    answer = await _udp(family, address, host, port)
    return answer or await _tcp(host, port)


async def _udp(family: int, address: tuple[object, ...], host: str, port: int) -> Answer | None:
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)
            request = _request(host, port, "UDP", sock.getsockname())
            for wait in RESEND:
                await loop.sock_sendall(sock, request)
                try:
                    async with asyncio.timeout(wait):
                        return _read(await loop.sock_recv(sock, 65_535), "udp")
                except TimeoutError:
                    continue
        except OSError:  # nobody listens there: ICMP says so
            return None
    return None


async def _tcp(host: str, port: int) -> Answer | None:
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_request(host, port, "TCP", writer.get_extra_info("sockname")))
                return _read(await reader.readuntil(b"\r\n\r\n"), "tcp")
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None


def _request(host: str, port: int, transport: str, sockname: tuple[object, ...]) -> bytes:
    tag, local = secrets.token_hex(6), f"{_bracketed(str(sockname[0]))}:{sockname[1]}"
    return (
        f"OPTIONS sip:{_bracketed(host)}:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {local};branch=z9hG4bK{tag};rport\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:doctor@{local}>;tag={tag}\r\n"
        f"To: <sip:{_bracketed(host)}:{port}>\r\n"
        f"Call-ID: {tag}@doctor\r\n"
        "CSeq: 1 OPTIONS\r\n"
        f"Contact: <sip:doctor@{local}>\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read(data: bytes, transport: str) -> Answer | None:
    lines = data.decode(errors="replace").split("\r\n")
    if not lines[0].startswith("SIP/2.0 ") or not lines[0][8:11].isdecimal():
        return None
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
    }
    contact = _CONTACT.search(headers.get("contact", ""))
    server = headers.get("server") or headers.get("user-agent") or ""
    return Answer(int(lines[0][8:11]), transport, server, contact[1].strip("[]") if contact else "")
