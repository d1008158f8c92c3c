"""A UDP socket that hears of peers which are not there."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from sip.service.signalling.datagrams import Datagrams
from sip.service.signalling.peer import Peer

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="ICMP errors reach unconnected sockets on Linux"
)


class Ends:
    """Our socket, a live peer and a dead one."""

    def __init__(self) -> None:
        self.unreachable: asyncio.Queue[Peer] = asyncio.Queue()
        self.messages: asyncio.Queue[tuple[bytes, Peer]] = asyncio.Queue()
        self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind(("127.0.0.1", 0))
        self.far.settimeout(1)
        self.live = Peer("udp", *self.far.getsockname())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            self.dead = Peer("udp", *gone.getsockname())


@pytest_asyncio.fixture
async def ends() -> AsyncGenerator[tuple[Datagrams, Ends]]:
    """Both, closed at the end."""
    ends = Ends()
    ours = await Datagrams.bind(
        "127.0.0.1",
        0,
        lambda data, peer: ends.messages.put_nowait((data, peer)),
        ends.unreachable.put_nowait,
    )
    yield ours, ends
    ours.close()
    ends.far.close()


async def test_messages_come_and_go(ends: tuple[Datagrams, Ends]) -> None:
    """What is sent arrives, what comes is heard with its peer, keep-alives are not messages."""
    ours, far = ends
    ours.send(b"hello", far.live)
    data, address = far.far.recvfrom(100)
    assert (data, address) == (b"hello", ours.address)
    far.far.sendto(b"\r\n\r\n", ours.address)
    far.far.sendto(b"there", ours.address)
    assert await asyncio.wait_for(far.messages.get(), 1) == (b"there", far.live)


@linux_only
async def test_dead_port_is_reported(ends: tuple[Datagrams, Ends]) -> None:
    """ICMP port unreachable names the peer; afterwards the socket is quiet, so that nothing spins."""
    ours, far = ends
    ours.send(b"hello", far.dead)
    assert far.unreachable.empty(), "never while it is sent"
    assert await asyncio.wait_for(far.unreachable.get(), 1) == far.dead
    poll = select.poll()
    poll.register(ours._socket, select.POLLIN)
    assert poll.poll(0) == []


@linux_only
async def test_dead_port_costs_nobody_else_a_message(ends: tuple[Datagrams, Ends]) -> None:
    """The kernel tells one peer's error to whoever sends next: that message goes out all the same."""
    ours, far = ends
    for number in range(20):
        ours.send(b"x", far.dead)
        ours.send(b"%d" % number, far.live)
        assert far.far.recv(100) == b"%d" % number
    await asyncio.sleep(0)
    assert {far.unreachable.get_nowait() for _ in range(far.unreachable.qsize())} == {far.dead}


async def test_address_that_cannot_be_sent_to_is_reported(ends: tuple[Datagrams, Ends]) -> None:
    """From a loopback address no other network can be reached: the machine itself says so."""
    ours, far = ends
    nowhere = Peer("udp", "192.0.2.1", 5060)
    ours.send(b"hello", nowhere)
    assert await asyncio.wait_for(far.unreachable.get(), 1) == nowhere


async def test_closed_socket_sends_nothing(ends: tuple[Datagrams, Ends]) -> None:
    """Late messages of a service that stops are no error."""
    ours, far = ends
    ours.close()
    ours.send(b"hello", far.live)
    ours.close()
