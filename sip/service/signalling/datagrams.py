"""A UDP socket that hears of the peers which are not there: on Linux, from ICMP errors (`IP_RECVERR`, ip(7)).

Without that a dead port is silence, and a call to it waits for as long as a transaction lives.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import cast

from sip.service.signalling.peer import Peer

logger = logging.getLogger(__name__)

RECEIVE_BUFFER = 4_194_304
MAX_ERRORS = 64
"""ICMP errors looked at in one go."""
_CONTROL_BYTES = 512
# linux/in.h, linux/in6.h, linux/errqueue.h; Python names none of them before 3.14.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""`struct sock_extended_err`: errno, origin, type, code, padding, info, data."""
_ICMP, _ICMP6 = 2, 3
"""Origins of an error that the network reported."""
_FAILURES = {_ICMP: {3, 12}, _ICMP6: {1, 4}}
"""ICMP types that say so: destination unreachable, parameter problem. RFC 3261 18.4 ignores the others."""
_LOCAL = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL, errno.EINVAL}
"""What `sendto` says of an address that this machine cannot send to at all."""


class Datagrams(asyncio.DatagramProtocol):
    """One bound socket; `bind` makes it. Called back on the event loop, `on_unreachable` never by `send`."""

    def __init__(
        self,
        ours: socket.socket,
        on_message: Callable[[bytes, Peer], None],
        on_unreachable: Callable[[Peer], None],
    ) -> None:
        self._socket, self._on_message, self._on_unreachable = ours, on_message, on_unreachable
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def bind(
        cls,
        host: str,
        port: int,
        on_message: Callable[[bytes, Peer], None],
        on_unreachable: Callable[[Peer], None],
    ) -> Datagrams:
        """Bind to an address or a name of this machine. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        ours = socket.socket(family, socket.SOCK_DGRAM)
        try:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            _ask_for_errors(ours)
            ours.bind(address)
        except OSError:
            ours.close()
            raise
        _, made = await loop.create_datagram_endpoint(
            lambda: cls(ours, on_message, on_unreachable), sock=ours
        )
        return made

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def send(self, data: bytes, peer: Peer) -> None:
        """Send now; nothing once closed. What cannot be sent is reported a moment later."""
        if self._transport is None or self._transport.is_closing():
            return
        for attempt in range(MAX_ERRORS):
            try:
                self._socket.sendto(data, (peer.host, peer.port))
            except BlockingIOError:
                self._transport.sendto(data, (peer.host, peer.port))
            except OSError as error:
                # An earlier datagram's error is told to whoever sends next, and his own is then not sent.
                if self._read_errors() or (attempt == 0 and error.errno not in _LOCAL):
                    continue
                self._cannot_send(error, peer)
            return

    def close(self) -> None:
        """Close; closing twice is safe."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop watches the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A message. Some phones keep a NAT mapping open with CRLF or a zero byte, which is none."""
        if data.strip(b"\r\n\0"):
            self._on_message(data, Peer("udp", addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """The error queue has something."""
        self._read_errors()

    def _cannot_send(self, error: OSError, peer: Peer) -> None:
        logger.info("cannot send", extra={"peer": str(peer), "error": error.strerror})
        if error.errno in _LOCAL:
            self._report(peer)

    def _read_errors(self) -> int:
        """Empty the error queue, which would wake the event loop until it is empty; how many there were."""
        if sys.platform != "linux":
            return 0
        for count in range(MAX_ERRORS):
            try:
                _, controls, _, address = self._socket.recvmsg(0, _CONTROL_BYTES, _MSG_ERRQUEUE)
            except OSError:
                return count
            if any(_is_failure(level, kind, data) for level, kind, data in controls):
                self._report(Peer("udp", address[0], address[1]))
        return MAX_ERRORS

    def _report(self, peer: Peer) -> None:
        # Not at once: who sends does not expect the answer before he is done.
        asyncio.get_running_loop().call_soon(self._on_unreachable, peer)


def _ask_for_errors(ours: socket.socket) -> None:
    if sys.platform != "linux":
        return
    if ours.family == socket.AF_INET6:
        ours.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        ours.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _is_failure(level: int, kind: int, data: bytes) -> bool:
    if (level, kind) not in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
        return False
    number, origin, icmp_type, _, _, _, _ = _EXTENDED_ERROR.unpack_from(data)
    # "Fragmentation needed" is an unreachable destination, too, but only for that size.
    return number != errno.EMSGSIZE and icmp_type in _FAILURES.get(origin, ())
