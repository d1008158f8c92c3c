"""RTP between the public address and baresip's private sockets, where the service is not loopback alone.

baresip binds its sockets to every interface and names one address in its SDP, that of the near leg. A call
of a service on another address therefore has a relay: an RTP and an RTCP socket on the public address, the
same on loopback, and one thread for the calls of the process that passes datagrams on as they are.
"""

from __future__ import annotations

import contextlib
import errno
import random
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

HOST = "127.0.0.1"
MAX_DATAGRAM = 2048
BURST = 16
"""Datagrams passed on from one socket before the next gets its turn."""
ANY_PORT = (16_384, 65_535)
_TAKEN = {errno.EADDRINUSE, errno.EACCES}

Address = tuple[str, int]


class NoPort(Exception):
    """The range of RTP ports is used up."""


@dataclass(eq=False)
class _Way:
    """What arrives on one socket leaves by another, to `to` (None: it is dropped)."""

    socket: socket.socket
    out: socket.socket
    to: Address | None = None
    learns: _Way | None = None
    """The way back, whose `to` follows the source of what arrives here from `learns_from`."""
    learns_from: str = ""


class Relay:
    """One call's relay; ports are known at once, addresses when both sides have said theirs."""

    def __init__(self, host: str, ports: tuple[int, int]) -> None:
        """Raises `NoPort`, and `OSError` for an address that is not of this machine."""
        self._far = _pair(host, ports)
        try:
            self._near = _pair(HOST, ANY_PORT)
        except NoPort:
            _close(self._far)
            raise
        self._in = [_Way(far, near) for far, near in zip(self._far, self._near, strict=True)]
        self._out = [_Way(near, far) for far, near in zip(self._far, self._near, strict=True)]
        for way, back in zip(self._in, self._out, strict=True):
            way.learns = back

    @property
    def far_port(self) -> int:
        """For RTP from the far end, on the public address; RTCP has the next one."""
        return self._far[0].getsockname()[1]

    @property
    def near_port(self) -> int:
        """For RTP from baresip, on loopback."""
        return self._near[0].getsockname()[1]

    @property
    def ways(self) -> list[_Way]:
        """All four."""
        return [*self._in, *self._out]

    def towards_near(self, port: int) -> None:
        """baresip's own RTP port, on loopback."""
        for offset, way in enumerate(self._in):
            way.to = (HOST, port + offset)

    def towards_far(self, host: str, port: int, behind_nat: str) -> None:
        """Where the far end wants its audio; port 0: nowhere.

        `behind_nat` is the public address of a far end whose own is private: then the source of what comes
        from there is where its audio goes. From elsewhere nobody can draw a call's audio to himself.
        """
        for offset, (way, back) in enumerate(zip(self._out, self._in, strict=True)):
            way.to = (host, port + offset) if port and host != "0.0.0.0" else None
            back.learns_from = behind_nat

    def close(self) -> None:
        """Close all sockets; closing twice is safe."""
        _close(self._far)
        _close(self._near)


class Relays:
    """The relays of a process and their thread, which starts with the first one."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ, None)

    def add(self, relay: Relay) -> None:
        """Pass on what comes."""
        for way in relay.ways:
            self._selector.register(way.socket, selectors.EVENT_READ, way)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rtp-relay", daemon=True)
            self._thread.start()

    def remove(self, relay: Relay) -> None:
        """Stop and close it."""
        for way in relay.ways:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(way.socket)
        relay.close()

    def close(self) -> None:
        """Stop the thread; closing twice is safe."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        if self._thread is not None:
            self._thread.join(1)
        self._waker.close()

    def _run(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():
                if key.data is not None:
                    _pass_on(key.data)


def _pass_on(way: _Way) -> None:
    receive, send = way.socket.recvfrom, way.out.sendto
    for _ in range(BURST):
        try:
            data, source = receive(MAX_DATAGRAM)
        except OSError:
            # Nothing more, an ICMP error of something sent before, or the call has ended.
            return
        if way.learns is not None and way.learns_from == source[0]:
            way.learns.to = source[:2]
        if way.to is not None:
            # A datagram that cannot be sent is lost, as any may be.
            with contextlib.suppress(OSError):
                send(data, way.to)


def _pair(host: str, ports: tuple[int, int]) -> tuple[socket.socket, socket.socket]:
    """An even port for RTP and the next one for RTCP (RFC 3550 11), chosen by chance."""
    for port in _even_ports(ports):
        made: list[socket.socket] = []
        try:
            for each in (port, port + 1):
                made.append(
                    socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
                )
                made[-1].setblocking(False)
                made[-1].bind((host, each))
        except OSError as error:
            _close(made)
            if error.errno in _TAKEN:
                continue
            raise
        return made[0], made[1]
    raise NoPort(f"no RTP port is free from {ports[0]} to {ports[1]}")


def _even_ports(ports: tuple[int, int]) -> Iterator[int]:
    even = range(ports[0] + ports[0] % 2, ports[1], 2)
    start = random.randrange(len(even)) if even else 0
    for index in range(len(even)):
        yield even[(start + index) % len(even)]


def _close(sockets: list[socket.socket] | tuple[socket.socket, ...]) -> None:
    for each in sockets:
        each.close()
