"""SIP messages over one UDP socket or one TCP connection: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

_LENGTH = re.compile(rb"^(?:Content-Length|l)\s*:\s*(\d+)", re.IGNORECASE | re.MULTILINE)

Received = Callable[[bytes | None], None]
"""Gets every message, and None once the connection is gone."""


class Wire(Protocol):
    """One way to the far end."""

    @property
    def local(self) -> tuple[str, int]:
        """Our address and port."""
        ...

    def send(self, data: bytes) -> None:
        """Send one message."""
        ...

    def close(self) -> None:
        """Close it; closing twice is safe."""
        ...


async def open_wire(transport: str, host: str, port: int, received: Received) -> Wire:
    """A wire to `host:port` over "udp" or "tcp". Raises `OSError`."""
    loop = asyncio.get_running_loop()
    if transport == "tcp":
        _, made = await loop.create_connection(lambda: _Stream(received), host, port)
        return made
    _, datagrams = await loop.create_datagram_endpoint(lambda: _Datagrams(received), remote_addr=(host, port))
    return datagrams


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: Received) -> None:
        self._received = received
        self._local = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._local = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data.strip():
            self._received(data)

    def error_received(self, exc: Exception) -> None:
        # ICMP "port unreachable": nobody listens there, and no retransmission will help.
        self._received(None)

    @property
    def local(self) -> tuple[str, int]:
        return self._local

    def send(self, data: bytes) -> None:
        self._transport.sendto(data)

    def close(self) -> None:
        self._transport.close()


class _Stream(asyncio.Protocol):
    def __init__(self, received: Received) -> None:
        self._received = received
        self._buffer = b""
        self._local = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._local = transport.get_extra_info("sockname")[:2]

    def data_received(self, data: bytes) -> None:
        """Cut the stream at Content-Length (RFC 3261 18.3)."""
        self._buffer = (self._buffer + data).lstrip(b"\r\n")
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer[: head + 2])
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:].lstrip(b"\r\n")
            self._received(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._received(None)

    @property
    def local(self) -> tuple[str, int]:
        return self._local

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._transport.close()
