"""RTP passed on between the public address and loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sip.service.media.relay import NoPort, Relay, Relays

PUBLIC, FAR, OTHER, NEAR = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"


def end(host: str) -> socket.socket:
    """A socket of one of the two sides, which waits for a second at most."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.settimeout(1)
    return made


@pytest.fixture
def relays() -> Iterator[Relays]:
    """A thread that passes on."""
    made = Relays()
    yield made
    made.close()


def test_both_ways(relays: Relays) -> None:
    """What comes from one side reaches the other, from the address that its SDP names."""
    relay = Relay(PUBLIC, (20_000, 60_000))
    with end(FAR) as far, end(NEAR) as near:
        relay.towards_far(*far.getsockname(), behind_nat="")
        relay.towards_near(near.getsockname()[1])
        relays.add(relay)
        far.sendto(b"hello", (PUBLIC, relay.far_port))
        assert near.recvfrom(100) == (b"hello", (NEAR, relay.near_port))
        near.sendto(b"there", (NEAR, relay.near_port))
        assert far.recvfrom(100) == (b"there", (PUBLIC, relay.far_port))
        relay.towards_far(FAR, 0, behind_nat="")
        near.sendto(b"held", (NEAR, relay.near_port))
        relay.towards_far(*far.getsockname(), behind_nat="")
        near.sendto(b"again", (NEAR, relay.near_port))
        assert far.recv(100) in (b"held", b"again")
    relays.remove(relay)
    relays.remove(relay)


def test_far_end_behind_a_nat(relays: Relays) -> None:
    """Its audio goes to where its own comes from; what comes from elsewhere moves nothing."""
    relay = Relay(PUBLIC, (20_000, 60_000))
    with end(FAR) as far, end(OTHER) as thief, end(NEAR) as near:
        relay.towards_far("10.1.2.3", 4000, behind_nat=FAR)
        relay.towards_near(near.getsockname()[1])
        relays.add(relay)
        for sender in (far, thief):
            sender.sendto(b"x", (PUBLIC, relay.far_port))
            near.recv(100)
        near.sendto(b"for the far end", (NEAR, relay.near_port))
        assert far.recv(100) == b"for the far end"
    relays.remove(relay)


def test_ports_are_even_and_of_the_range() -> None:
    """RTP has an even port and RTCP the next one; when all are taken, that is said."""
    made: list[Relay] = []
    low = 41_001
    with pytest.raises(NoPort, match="from 41001 to 41008"):
        while True:
            made.append(Relay(PUBLIC, (low, low + 7)))
    assert {relay.far_port for relay in made} <= {41_002, 41_004, 41_006}
    assert made
    for relay in made:
        relay.close()
    Relay(PUBLIC, (low, low + 7)).close()


def test_address_of_another_machine() -> None:
    """A host that is not ours is an error at once, not after all its ports were tried."""
    with pytest.raises(OSError, match="assign"):
        Relay("192.0.2.1", (10_000, 60_000))
