"""Session descriptions of a call with a relay, as each side gets them."""

from __future__ import annotations

import pytest

from sip.service.calls.media_path import MediaPath
from sip.service.control import FarMedia, Message, NearMedia, Relayed
from sip.service.signalling import sdp
from sip.service.signalling.peer import Peer

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n"
)
RELAY = Relayed("k", far_port=10_000, near_port=50_000)


def path(far: str) -> tuple[MediaPath, list[Message]]:
    """A path to a far end at this address, and what the media process is told."""
    told: list[Message] = []
    made = MediaPath(told.append, lambda peer: f"ours-for-{peer.host}")
    made.far = Peer("udp", far, 5060)
    return made, told


def test_without_a_relay_nothing_changes() -> None:
    """On loopback the two ends talk to each other."""
    straight, told = path("127.0.0.1")
    assert straight.to_near(SDP) is SDP
    assert straight.to_far(SDP) is SDP
    assert told == []


def test_each_side_is_told_of_the_relay() -> None:
    """The near leg hears of loopback, the far end of the address that it reaches us under."""
    relayed, told = path("198.51.100.1")
    relayed.open(RELAY)
    near, far = sdp.audio(relayed.to_near(SDP)), sdp.audio(relayed.to_far(SDP))
    assert (near.address, near.port) == ("127.0.0.1", 50_000)
    assert (far.address, far.port) == ("ours-for-198.51.100.1", 10_000)
    assert told == [FarMedia("k", "192.0.2.9", 4000, ""), NearMedia("k", 4000)]


@pytest.mark.parametrize(
    ("flow", "behind_nat"), [("8.9.9.9", "8.9.9.9"), ("10.9.9.9", ""), ("127.0.0.1", "")]
)
def test_far_end_behind_a_nat(flow: str, behind_nat: str) -> None:
    """A private address in SDP that comes from a public one is reached where its audio comes from."""
    relayed, told = path(flow)
    relayed.open(RELAY)
    relayed.to_near(SDP.replace(b"192.0.2.9", b"10.1.2.3"))
    assert told == [FarMedia("k", "10.1.2.3", 4000, behind_nat)]


def test_what_is_no_audio_passes() -> None:
    """An empty body and one that is none are for others to refuse."""
    relayed, told = path("198.51.100.1")
    relayed.open(RELAY)
    assert (relayed.to_near(b""), relayed.to_far(b"hello")) == (b"", b"hello")
    assert told == []
