"""What the edge understands of session descriptions, session timers and keys pressed."""

from __future__ import annotations

import pytest

from sip.service.calls.info import info_digit, q850_cause
from sip.service.calls.negotiation import session_timer
from sip.service.signalling import sdp
from sip.service.signalling.messages import Request

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 9 0 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
)


def request(**headers: str) -> Request:
    """A request with these headers."""
    message = Request(method="INVITE", uri="sip:x@y")
    for name, value in headers.items():
        message.headers.add(name.replace("_", "-"), value)
    return message


def test_audio_of_an_offer() -> None:
    """Static payload numbers need no rtpmap; the connection line may stand above the stream."""
    audio = sdp.audio(SDP)
    assert audio.codecs == ("G722", "PCMU", "OPUS", "TELEPHONE-EVENT")
    assert (audio.address, audio.port, audio.direction, audio.usable) == ("10.0.0.1", 4000, "sendrecv", True)


@pytest.mark.parametrize(
    ("old", "new", "usable"),
    [
        (b"RTP/AVP 9 0 96 101", b"RTP/AVP 96 101", False),
        (b"RTP/AVP", b"RTP/SAVP", False),
        (b"audio 4000", b"audio 0", False),
        (b"9 0 96", b"97", False),
        (b"RTP/AVP 9 0 96 101", b"RTP/AVP 8", True),
        (b"a=rtpmap:96 opus/48000/2", b"a=rtpmap:96 PCMA/8000", True),
    ],
)
def test_what_a_call_can_stand_on(old: bytes, new: bytes, usable: bool) -> None:
    """Plain RTP with one of our codecs; encryption and Opus alone are none."""
    assert sdp.audio(SDP.replace(old, new)).usable is usable


def test_a_phone_on_this_host_is_met_on_its_ipv4_address() -> None:
    """Linphone names the machine's IPv6 address over loopback; other phones' addresses are left alone."""
    six = SDP.replace(b"c=IN IP4 10.0.0.1", b"c=IN IP6 fd00::2")
    assert sdp.on_this_host(six, "127.0.0.1") == SDP.replace(b"c=IN IP4 10.0.0.1", b"c=IN IP4 127.0.0.1")
    assert sdp.on_this_host(six, "192.0.2.7") == six
    assert not sdp.audio(six).usable
    assert sdp.on_this_host(SDP, "127.0.0.1") == SDP


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff", SDP.replace(b"m=audio 4000", b"m=audio x")])
def test_what_is_no_session_description(body: bytes) -> None:
    """Not SDP at all, or broken where it matters."""
    with pytest.raises(ValueError, match="SDP"):
        sdp.audio(body)


def test_no_audio_is_another_matter() -> None:
    """A well-formed description without audio: 488, not 400."""
    with pytest.raises(sdp.NoAudio):
        sdp.audio(SDP.replace(b"m=audio", b"m=video"))


@pytest.mark.parametrize(
    ("change", "held"),
    [(b"a=sendonly", True), (b"a=inactive", True), (b"a=recvonly", False), (b"a=sendrecv", False)],
)
def test_hold(change: bytes, held: bool) -> None:
    """RFC 3264 8.4, and the older 0.0.0.0."""
    assert sdp.audio(SDP + change + b"\r\n").on_hold is held
    assert sdp.audio(SDP.replace(b"c=IN IP4 10.0.0.1", b"c=IN IP4 0.0.0.0")).on_hold


def test_audio_at_another_address() -> None:
    """Every place that names the address is told the new one; a refused or held stream stays so."""
    found = sdp.readdress(SDP + b"a=rtcp:4001 IN IP4 10.0.0.1\r\n", "192.0.2.7", 6000)
    assert b"10.0.0.1" not in found
    assert found.startswith(b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\n")
    assert (sdp.audio(found).address, sdp.audio(found).port) == ("192.0.2.7", 6000)
    assert sdp.audio(found).codecs == sdp.audio(SDP).codecs
    assert b"c=IN IP6 2001:db8::1\r\n" in sdp.readdress(SDP, "2001:db8::1", 6000)
    assert sdp.audio(sdp.readdress(SDP.replace(b"audio 4000", b"audio 0"), "192.0.2.7", 6000)).port == 0
    assert sdp.audio(
        sdp.readdress(SDP.replace(b"c=IN IP4 10.0.0.1", b"c=IN IP4 0.0.0.0"), "192.0.2.7", 1)
    ).on_hold
    with pytest.raises(ValueError, match="SDP"):
        sdp.readdress(b"hello", "192.0.2.7", 6000)


def test_same_media() -> None:
    """More codecs change nothing; another port, direction or codec does."""
    assert sdp.same_media(SDP, SDP.replace(b" 0 96", b" 0 8 96"))
    assert not sdp.same_media(SDP, SDP.replace(b"4000", b"4002"))
    assert not sdp.same_media(SDP, SDP + b"a=sendonly\r\n")
    assert not sdp.same_media(SDP, SDP.replace(b"AVP 9 0", b"AVP 0"))
    assert not sdp.same_media(b"", SDP)


def test_session_timers() -> None:
    """RFC 4028: the caller refreshes unless it wants us to; too short is an error; without support, none."""
    timer = session_timer(request(Session_Expires="1800", Supported="timer, path"))
    assert timer
    assert list(timer.headers) == [("Require", "timer"), ("Session-Expires", "1800;refresher=uac")]
    timer = session_timer(request(Session_Expires="90;refresher = uas", Supported="timer"))
    assert timer
    assert timer.ours
    assert session_timer(request(Session_Expires="1800")) is None
    with pytest.raises(ValueError, match="short"):
        session_timer(request(Session_Expires="89", Supported="timer"))


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160", "5"),
        ("application/dtmf-relay", b"Signal= *\r\n", "*"),
        ("application/dtmf-relay", b"Signal=11", "#"),
        ("application/dtmf; charset=x", b"a", "A"),
        ("application/dtmf", b"", ""),
        ("text/plain", b"5", None),
    ],
)
def test_info_digits(kind: str, body: bytes, digit: str | None) -> None:
    """Both body types that are in use, with their odd spellings."""
    message = request(Content_Type=kind)
    message.body = body
    assert info_digit(message) == digit


def test_cause_of_a_hang_up() -> None:
    """RFC 3326: the Q.850 cause among others."""
    assert q850_cause('SIP;cause=200;text="x", Q.850 ;cause=17;text="busy"') == 17
    assert q850_cause("SIP;cause=480") == 0
    assert q850_cause("") == 0
