"""SIP messages: what is accepted, what is refused, what is built."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.service.signalling import messages
from sip.service.signalling.messages import Malformed, Request, Response, parse, respond

INVITE = (
    b"INVITE sip:+15550100@edge.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport\r\n"
    b'From: "A, <b>" <sip:alice@phone.example>;tag=a+1~x\r\n'
    b"To: <sip:+15550100@edge.example>\r\n"
    b"Call-ID: one@phone\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:alice@10.0.0.1>\r\nContent-Length: 4\r\n\r\nbody"
)


def request(data: bytes = INVITE) -> Request:
    """A parsed request."""
    message = parse(data)
    assert isinstance(message, Request)
    return message


def refused(data: bytes) -> Response | None:
    """What the sender of something malformed is told."""
    with pytest.raises(Malformed) as raised:
        parse(data)
    return raised.value.answer


def test_tags_and_uris_keep_their_spelling() -> None:
    """Characters that a parser might escape come back as they were."""
    message = request()
    assert message.from_tag == "a+1~x"
    assert message.uri == "sip:+15550100@edge.example"
    assert messages.uri_of(message.headers["From"]) == "sip:alice@phone.example"
    assert b"tag=a+1~x" in message.encode()


def test_compact_names_folding_and_blanks_before_the_colon() -> None:
    """RFC 4475: short names, folded lines and odd blanks mean the same."""
    data = INVITE.replace(b"Call-ID: one", b"i : one").replace(b"CSeq: 1 INVITE", b"CSEQ:\r\n\t1\r\n  INVITE")
    message = request(data.replace(b"Via:", b"v:").replace(b"Content-Length", b"l"))
    assert (message.call_id, message.sequence, message.sequence_method) == ("one@phone", 1, "INVITE")


def test_body_is_cut_to_its_length() -> None:
    """What follows Content-Length in a datagram is no part of the body."""
    assert request(INVITE + b"more").body == b"body"


@pytest.mark.parametrize(
    "broken",
    [
        INVITE.replace(b"Content-Length: 4", b"Content-Length: 5"),
        INVITE.replace(b"Content-Length: 4", b"Content-Length: four"),
        INVITE.replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"),
        INVITE.replace(b"CSeq: 1", b"CSeq: 4294967296"),
        INVITE.replace(b"To: <sip:", b"To: <"),
        INVITE.replace(b"Max-Forwards: 70", b"Max-Forwards: 300"),
        INVITE.replace(b"Max-Forwards: 70", b"no colon"),
        INVITE.replace(b"Call-ID: one@phone", b"Call-ID: one@phone\r\nCall-ID: two@phone"),
    ],
)
def test_malformed_requests_are_answered_400(broken: bytes) -> None:
    """A request that can still be answered is."""
    answer = refused(broken)
    assert answer is not None
    assert answer.code == 400
    assert answer.headers["Via"] == "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff" * 40,
        b"INVITE\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        INVITE.replace(b"Via:", b"Vie:"),
        INVITE.replace(b"INVITE", b"ACK").replace(b"Max-Forwards: 70", b"Max-Forwards: x"),
    ],
)
def test_what_cannot_be_answered_is_not(garbage: bytes) -> None:
    """Responses, ACKs and what has no Via are dropped."""
    assert refused(garbage) is None


def test_too_much_is_513_and_a_foreign_scheme_416() -> None:
    """Too many headers, a long one, a huge body; a URI that is none of ours."""
    for extra in (b"X: " + b"y" * messages.MAX_LINE, b"\r\n".join([b"X: y"] * messages.MAX_HEADERS)):
        answer = refused(INVITE.replace(b"Max-Forwards: 70", extra))
        assert answer
        assert answer.code == 513
    answer = refused(INVITE.replace(b"Content-Length: 4", b"Content-Length: 99999"))
    assert answer
    assert answer.code == 513
    answer = refused(INVITE.replace(b"sip:+15550100@edge.example SIP", b"http://edge.example SIP"))
    assert answer
    assert answer.code == 416


def test_source_is_written_into_the_via() -> None:
    """RFC 3581: received and rport; without rport, received only where the addresses differ."""
    message = request()
    messages.mark_source(message, "192.0.2.9", 6060)
    assert message.top_via.endswith(";branch=z9hG4bK1;rport=6060;received=192.0.2.9")
    message = request(INVITE.replace(b";rport", b""))
    messages.mark_source(message, "10.0.0.1", 5060)
    assert "received" not in message.top_via


def test_response_copies_what_it_must() -> None:
    """RFC 3261 8.2.6: Via, From, To with our tag, Call-ID, CSeq; Record-Route where a dialog is made."""
    message = request(INVITE.replace(b"Contact", b"Record-Route: <sip:p;lr>\r\nContact"))
    response = parse(
        respond(message, 180, tag="t1", headers=[("X-A", "b\r\nX-Evil: c"), ("bad name", "d")]).encode()
    )
    assert isinstance(response, Response)
    assert response.to_tag == "t1"
    assert response.headers.getlist("Record-Route") == ["<sip:p;lr>"]
    assert response.headers.get("X-A") == "b X-Evil: c"
    assert response.headers.get("X-Evil") is None
    assert response.headers.get("bad name") is None
    assert respond(message, 404).headers.getlist("Record-Route") == []


def test_lists_split_at_the_right_commas() -> None:
    """Commas in quoted names and in URIs separate nothing."""
    items = messages.split_list('"a, b" <sip:x@y;p=1,2>;q=1, <sip:z@y>')
    assert items == ['"a, b" <sip:x@y;p=1,2>;q=1', "<sip:z@y>"]


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    """Whatever arrives is a message or `Malformed`."""
    for candidate in (data, INVITE[:80] + data + INVITE[80:]):
        try:
            parse(candidate)
        except Malformed:
            continue


@given(st.lists(st.tuples(st.integers(0, len(INVITE) - 1), st.integers(0, 255)), max_size=6))
def test_flipped_bytes_do_not_break_the_parser(changes: list[tuple[int, int]]) -> None:
    """A message with some bytes changed is a message or `Malformed`, whose answer can be encoded."""
    data = bytearray(INVITE)
    for index, value in changes:
        data[index] = value
    try:
        message = parse(bytes(data))
    except Malformed as error:
        assert error.answer is None or error.answer.encode()
    else:
        assert isinstance(message, Request)
        messages.mark_source(message, "192.0.2.1", 1)
        assert respond(message, 500, tag="t").encode()
