"""Sockets: UDP and TCP on one port of the public address, and UDP on loopback for the near leg.

`on_message` gets each message as bytes with its peer, `on_unreachable` each peer that the network says is not
there: a connection refused or lost, an ICMP error for a datagram (RFC 3261 18.4).
TLS would be one more `transport` name of `Peer` with a listener of its own; nothing above knows sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import cast

from sip.errors import ServiceError
from sip.service.signalling.datagrams import Datagrams
from sip.service.signalling.framing import PONG, Framing
from sip.service.signalling.peer import Peer

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
IDLE_TIMEOUT = 600.0
"""Seconds after which a silent connection is closed; calls keep theirs open with their own messages."""
MAX_CONNECTIONS = 1_000
MAX_UNSENT = 1_048_576
"""Bytes that wait for a peer which does not read; then its connection is closed."""
ATTEMPTS = 50

OnMessage = Callable[[bytes, Peer], None]


class Transport:
    """Listeners and connections. `port` is the bound port once `listen` has returned."""

    def __init__(self, on_message: OnMessage, on_unreachable: Callable[[Peer], None]) -> None:
        self._on_message, self._on_unreachable = on_message, on_unreachable
        self.host, self.port = "", 0
        self._udp: Datagrams | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: dict[Peer, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int, *, tcp: bool = True) -> None:
        """Bind UDP, and TCP on the same port. Port 0: any that both have free. Raises `ServiceError`."""
        for _ in range(1 if port else ATTEMPTS):
            try:
                await self._bind(host, port, tcp)
            except OSError as error:
                await self.close()
                if port or error.errno != errno.EADDRINUSE:
                    raise _cannot_bind(host, port, error) from error
            else:
                return
        raise _cannot_bind(host, port, OSError(errno.EADDRINUSE, "no port is free for both UDP and TCP"))

    def send(self, data: bytes, peer: Peer) -> None:
        """Send now, or as soon as the connection stands; `on_unreachable` says when it cannot be."""
        if not peer.reliable:
            if self._udp:
                self._udp.send(data, peer)
            return
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection()
            self._spawn(self._connect(peer, connection))
        if connection.unsent > MAX_UNSENT:
            logger.warning("a peer does not read; closing its connection", extra={"peer": str(peer)})
            connection.abort()
        else:
            connection.send(data)

    def connected(self, peer: Peer) -> bool:
        """Whether a connection to this peer stands."""
        return peer in self._connections

    async def close(self) -> None:
        """Close everything; closing twice is safe."""
        if self._udp:
            self._udp.close()
            self._udp = None
        if self._tcp:
            self._tcp.close()
            self._tcp = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections.clear()

    async def _bind(self, host: str, port: int, tcp: bool) -> None:
        self._udp = await Datagrams.bind(host, port, self._on_message, self._on_unreachable)
        self.host, self.port = self._udp.address
        if tcp:
            self._tcp = await asyncio.start_server(self._accepted, host, self.port, reuse_address=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        peer, connection = Peer("tcp", host, port), _Connection()
        self._connections[peer] = connection
        self._spawn(self._serve(peer, connection, reader, writer))

    async def _connect(self, peer: Peer, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(peer.host, peer.port)
        except (OSError, TimeoutError) as error:
            self._connections.pop(peer, None)
            logger.info("cannot connect", extra={"peer": str(peer), "error": str(error)})
            self._on_unreachable(peer)
            return
        await self._serve(peer, connection, reader, writer)

    async def _serve(
        self, peer: Peer, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, from its first byte to its last."""
        connection.open(writer)
        framing = Framing()
        try:
            while not framing.broken:
                data = await asyncio.wait_for(reader.read(65_536), IDLE_TIMEOUT)
                if not data:
                    break
                for message in framing.feed(data):
                    self._on_message(message, peer)
                for _ in range(framing.pings):
                    connection.send(PONG)
                framing.pings = 0
        except (OSError, TimeoutError) as error:
            logger.debug("connection ends", extra={"peer": str(peer), "error": str(error)})
        finally:
            if self._connections.get(peer) is connection:
                del self._connections[peer]
            writer.close()
            self._on_unreachable(peer)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Connection:
    """A TCP connection that may still be under way; what is sent before it stands waits."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: list[bytes] = []

    @property
    def unsent(self) -> int:
        if self._writer:
            return self._writer.transport.get_write_buffer_size()
        return sum(map(len, self._waiting))

    def open(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        for data in self._waiting:
            writer.write(data)
        self._waiting.clear()

    def send(self, data: bytes) -> None:
        if self._writer is None:
            self._waiting.append(data)
        elif not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        if self._writer:
            self._writer.transport.abort()


def local_address(towards: str) -> str:
    """The address of this machine from which `towards` is reached; no packet is sent."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((towards, 9))
        return cast(str, probe.getsockname()[0])
    return "127.0.0.1"


def _cannot_bind(host: str, port: int, error: OSError) -> ServiceError:
    what = f"the SIP port {host}:{port} cannot be opened"
    if error.errno == errno.EADDRINUSE:
        return ServiceError(
            what,
            "another program has it",
            "Stop that program, or choose another with --port (0: any free port).",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        mend = "Choose an address of this machine with --host."
        return ServiceError(what, "this machine has no such address", mend)
    return ServiceError(what, error.strerror or str(error), "Choose another address with --host and --port.")
