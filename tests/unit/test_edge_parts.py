"""Small parts of the edge: framing, dialogs, peers, header mapping, destinations, rate limit, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import codes
from sip.errors import ConfigurationError
from sip.service import settings
from sip.service.bus import messages as rpc
from sip.service.calls import mapping
from sip.service.calls.destination import destination
from sip.service.rate import RateLimit
from sip.service.signalling.dialog import Dialog
from sip.service.signalling.framing import Framing
from sip.service.signalling.messages import MAX_MESSAGE, Request, Response, parse, respond
from sip.service.signalling.peer import Peer, next_hop

MESSAGE = b"OPTIONS sip:x SIP/2.0\r\nl: 3\r\n\r\nabc"
ENOUGH = {
    "LIVEKIT_URL": "ws://127.0.0.1:7880",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "secret",
    "REDIS_URL": "redis://127.0.0.1",
}


def invite(**headers: str) -> Request:
    """An INVITE with these headers more."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    message = parse(
        (
            "INVITE sip:b@edge SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n"
            "From: <sip:a@x>;tag=a\r\nTo: <sip:b@edge>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n"
            f"Contact: <sip:a@10.0.0.1:5070>\r\n{extra}\r\n"
        ).encode()
    )
    assert isinstance(message, Request)
    return message


@given(st.integers(1, 40), st.integers(0, 3))
def test_framing_finds_messages_in_any_pieces(size: int, pings: int) -> None:
    """However the stream is cut, the same messages and pings come out."""
    framing, found = Framing(), list[bytes]()
    stream = b"\r\n\r\n" * pings + MESSAGE + b"\r\n\r\n" + MESSAGE
    for start in range(0, len(stream), size):
        found += framing.feed(stream[start : start + size])
    assert found == [MESSAGE, MESSAGE]
    assert framing.pings == pings + 1
    assert not framing.broken


@pytest.mark.parametrize(
    "stream",
    [
        b"A" * (MAX_MESSAGE + 1),
        MESSAGE.replace(b"l: 3", b"l: 99999999"),
        MESSAGE.replace(b"l: 3", b"l: 9999999999999"),
        MESSAGE.replace(b"l: 3\r\n", b""),
        MESSAGE.replace(b"l: 3", b"l: 3\r\nContent-Length: 4"),
    ],
)
def test_framing_gives_up_on_what_it_cannot_follow(stream: bytes) -> None:
    """Too large, or without one usable length: what was read comes out once, for an answer."""
    framing = Framing()
    assert framing.feed(stream) == [stream]
    assert framing.broken
    assert framing.feed(MESSAGE) == []


def test_dialog_of_an_incoming_invite() -> None:
    """RFC 3261 12: requests go to the Contact through the routes in their order, numbered from one."""
    dialog = Dialog.answering(invite(Record_Route="<sip:p1;lr>, <sip:p2;lr>"), "<sip:us>")
    request = dialog.request("BYE")
    assert (request.uri, request.sequence) == ("sip:a@10.0.0.1:5070", 1)
    assert request.items("Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert request.headers["From"] == f"<sip:b@edge>;tag={dialog.local_tag}"
    assert request.to_tag == "a"
    assert dialog.next_hop == "sip:p1;lr"
    assert not dialog.in_order(invite())
    with pytest.raises(ValueError, match="Contact"):
        Dialog.answering(invite(Contact="<sip:other>"), "<sip:us>")


def test_dialog_of_an_outgoing_invite() -> None:
    """The 200's Record-Route is reversed; a strict router becomes the request URI."""
    dialog = Dialog.calling("sip:b@edge", "<sip:a@x>", "<sip:b@edge>", "<sip:us>", "id")
    first = dialog.request("INVITE")
    ok = respond(first, 200, tag="b", headers=[("Contact", "<sip:b@10.0.0.2>")])
    for route in ("<sip:p1;lr>", "<sip:p2>"):
        ok.headers.add("Record-Route", route)
    dialog.confirm(ok)
    request = dialog.request("INFO")
    assert request.uri == "sip:p2"
    assert request.items("Route") == ["<sip:p1;lr>", "<sip:b@10.0.0.2>"]
    assert (request.sequence, request.to_tag) == (2, "b")


@pytest.mark.parametrize(
    ("uri", "peer"),
    [
        ("sip:a@192.0.2.1", Peer("udp", "192.0.2.1", 5060)),
        ("sip:a@host.example:5070;transport=TCP", Peer("tcp", "host.example", 5070)),
        ("sip:[2001:db8::1]:5061", Peer("udp", "2001:db8::1", 5061)),
    ],
)
def test_next_hop(uri: str, peer: Peer) -> None:
    """Host, port and transport of a URI."""
    assert next_hop(uri) == peer


@pytest.mark.parametrize("uri", ["tel:+15550100", "sips:a@b", "sip:a@b;transport=ws", "nonsense"])
def test_hops_that_cannot_be_reached(uri: str) -> None:
    """No host, or a transport that is not served."""
    with pytest.raises(ValueError, match=r"\w"):
        next_hop(uri)


def test_headers_become_attributes() -> None:
    """Mapped ones, carriers' ids, X- headers or all; numbers and credentials stay out where they must."""
    message = invite(X_Account="7", X_Twilio_CallSid="CA1", Authorization="Digest x", Diversion="<sip:z>")
    attributes = mapping.to_attributes(message, {"x-account": "account"}, mapping.X_HEADERS)
    assert attributes == {
        "account": "7",
        "sip.h.x-account": "7",
        "sip.h.x-twilio-callsid": "CA1",
        "sip.twilio.callSid": "CA1",
    }
    everything = mapping.to_attributes(message, {}, mapping.ALL_HEADERS, hide_caller=True)
    assert "sip.h.via" in everything
    assert not {"sip.h.from", "sip.h.diversion", "sip.h.authorization"} & set(everything)


def test_attributes_become_headers_but_never_those_of_the_dialog() -> None:
    """A mapping may not replace what makes the dialog."""
    headers = mapping.to_headers(
        {"mood": "merry", "to": "x"}, {"mood": "X-Mood", "to": "To"}, {"X-Fixed": "1"}
    )
    assert headers == [("X-Fixed", "1"), ("X-Mood", "merry")]


def asked(**fields: Any) -> rpc.InternalCreateSIPParticipantRequest:
    """A request for an outbound call."""
    wanted = {"address": "trunk.example:5080", "number": "+15550111", "call_to": "+15550122", **fields}
    return rpc.InternalCreateSIPParticipantRequest(**wanted)


def test_destination_of_a_number() -> None:
    """Number and trunk address make request URI, From and To; the display name is the number."""
    found = destination(asked(username="u", password="p"), lambda _: "198.51.100.1", "id")
    assert found.uri == "sip:+15550122@trunk.example:5080"
    assert found.caller == '"+15550111" <sip:+15550111@198.51.100.1>'
    assert found.peer == Peer("udp", "trunk.example", 5080)
    assert found.credentials is not None
    tcp = destination(asked(transport=2, hostname="me.example", display_name=""), lambda _: "x", "id")
    assert tcp.uri.endswith(";transport=tcp")
    assert tcp.peer.transport == "tcp"
    assert tcp.caller == "<sip:+15550111@me.example>"


@pytest.mark.parametrize(
    "fields",
    [
        {"call_to": ""},
        {"call_to": "a@b"},
        {"call_to": "1\r\nX: y"},
        {"address": ""},
        {"address": "sip:x"},
        {"address": "x:99999"},
        {"transport": 3},
    ],
)
def test_destinations_that_are_none(fields: dict[str, Any]) -> None:
    """Empty, injected, with a scheme, a port out of range, TLS."""
    with pytest.raises(ValueError, match=r"\w"):
        destination(asked(**fields), lambda _: "x", "id")


def test_rate_limit() -> None:
    """A burst of twice the rate, then the rate; sources do not share."""
    now = [0.0]
    limit = RateLimit(2.0, lambda: now[0])
    assert [limit.exceeded("a") for _ in range(5)] == [False] * 4 + [True]
    assert not limit.exceeded("b")
    now[0] = 0.5
    assert [limit.exceeded("a") for _ in range(2)] == [False, True]
    assert not any(RateLimit(0, lambda: 0.0).exceeded("a") for _ in range(1_000))


def test_settings_from_flags_and_environment(tmp_path: Path) -> None:
    """Flags win over the environment; secrets are not printed."""
    found = settings.read(
        {**ENOUGH, "SIP_PORT": "5070", "CALL_RECORDS_DIR": str(tmp_path / "r")}, {"port": 0}
    )
    assert (found.port, found.host, found.max_calls) == (0, "127.0.0.1", 100)
    assert found.records == tmp_path / "r"
    assert "secret" not in repr(found)


def test_all_problems_in_one_error() -> None:
    """Everything that is wrong is said at once."""
    wrong = {
        "LIVEKIT_URL": "127.0.0.1",
        "SIP_PORT": "banana",
        "SIP_MAX_CALLS": "0",
        "SIP_DRAIN_TIMEOUT": "soon",
    }
    with pytest.raises(ConfigurationError) as raised:
        settings.read(wrong, {})
    for name in (*wrong, "REDIS_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        assert name in str(raised.value)


def test_codes() -> None:
    """The tables agree with RFC 3398 and with what livekit-server's users know."""
    assert (codes.q850(486), codes.q850(200), codes.q850(499)) == (17, 16, 31)
    assert (codes.from_q850(17), codes.from_q850(1), codes.from_q850(99)) == (486, 404, 480)
    assert [codes.psrpc_code(code) for code in (486, 603, 404, 407, 408, 488, 500, 487)] == [
        "resource_exhausted", "permission_denied", "not_found", "unauthenticated",
        "deadline_exceeded", "invalid_argument", "failed_precondition", "aborted",
    ]  # fmt: skip
    assert (codes.phrase(499), codes.phrase(777)) == ("Bad Request", "Unknown")
    response = respond(invite(), 404)
    assert isinstance(response, Response)
    assert response.phrase == "Not Found"
