"""Digest authentication from both ends."""

from __future__ import annotations

import pytest

from sip.service.signalling.digest import (
    NONCE_LIFETIME,
    Authorization,
    Challenger,
    Credentials,
    Verdict,
    answer,
    parameters,
)
from sip.service.signalling.messages import Response

ALICE = Credentials("alice", "pass:word", "here")


class Watch:
    """Time that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def respond(challenge: str, credentials: Credentials = ALICE) -> str:
    """An answer to a challenge."""
    value = answer([challenge], "INVITE", "sip:b@edge", credentials)
    assert value is not None
    return value


def test_rfc_2617_example() -> None:
    """The response of RFC 2617 3.5, as published there: its nonce, count and client nonce."""
    header = (
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
        'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    from sip.service.signalling.digest import _response

    given = parameters(header)
    expected = Credentials("Mufasa", "Circle Of Life", "testrealm@host.com")
    assert _response(given, "GET", expected, b"") == given["response"]


def test_right_answer_is_good_once() -> None:
    """A second use of the same count is stale: somebody replays it."""
    challenger = Challenger()
    header = respond(challenger.challenge("here"))
    assert challenger.check(header, "INVITE", ALICE) is Verdict.GOOD
    assert challenger.check(header, "INVITE", ALICE) is Verdict.STALE


@pytest.mark.parametrize(
    "credentials", [Credentials("alice", "wrong"), Credentials("bob", "pass:word"), Credentials("", "")]
)
def test_wrong_answers(credentials: Credentials) -> None:
    """Another password, another name, none at all."""
    challenger = Challenger()
    header = respond(challenger.challenge("here"), credentials)
    assert challenger.check(header, "INVITE", ALICE) is Verdict.WRONG


def test_old_and_foreign_nonces_are_stale() -> None:
    """Too old, or signed by somebody else: the right password gets another try."""
    watch = Watch()
    challenger = Challenger(watch)
    header = respond(challenger.challenge("here"))
    watch.now += NONCE_LIFETIME + 1
    assert challenger.check(header, "INVITE", ALICE) is Verdict.STALE
    assert challenger.check(respond(Challenger().challenge("here")), "INVITE", ALICE) is Verdict.STALE
    assert "stale=true" in challenger.challenge("here", stale=True)


def test_answer_for_another_method_or_realm_is_wrong() -> None:
    """An answer proves one method in one realm."""
    challenger = Challenger()
    header = respond(challenger.challenge("here"))
    assert challenger.check(header, "REGISTER", ALICE) is Verdict.WRONG
    assert challenger.check(header.replace('realm="here"', 'realm="there"'), "INVITE", ALICE) is Verdict.WRONG


@pytest.mark.parametrize("header", ["", "Basic abc", "Digest", "Digest nonsense", 'Digest username="alice"'])
def test_nonsense_is_wrong(header: str) -> None:
    """What is no digest answer at all."""
    assert Challenger().check(header, "INVITE", ALICE) is not Verdict.GOOD


def test_strongest_challenge_is_answered() -> None:
    """RFC 8760: SHA-256 before MD5; what we cannot do is passed over; qop lists are understood."""
    offers = [
        'Digest realm="r", nonce="1", algorithm=MD5, qop="auth,auth-int"',
        'Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth", opaque="o"',
        'Digest realm="r", nonce="3", algorithm=SHA-512-256',
    ]
    value = answer(offers, "INVITE", "sip:b@c", ALICE)
    assert value is not None
    given = parameters(value)
    assert (given["nonce"], given["algorithm"], given["qop"], given["opaque"]) == (
        "2",
        "SHA-256",
        "auth",
        "o",
    )
    assert len(given["response"]) == 64
    assert answer(offers[2:], "INVITE", "sip:b@c", ALICE) is None
    assert answer([], "INVITE", "sip:b@c", ALICE) is None


def challenged(code: int, *challenges: str) -> Response:
    """A 401 or 407."""
    response = Response(code=code)
    for challenge in challenges:
        response.headers.add("Proxy-Authenticate" if code == 407 else "WWW-Authenticate", challenge)
    return response


def test_second_challenge_refuses_the_password() -> None:
    """RFC 3261 22.1: what was answered and is asked again was wrong; RFC 7616: unless the nonce is stale."""
    tries = Authorization(ALICE)
    assert tries.answer(challenged(407, 'Digest realm="r", nonce="1"'), "INVITE", "sip:b@c")
    assert tries.answer(challenged(407, 'Digest realm="r", nonce="2", stale=TRUE'), "INVITE", "sip:b@c")
    assert [name for name, _ in tries.headers] == ["Proxy-Authorization"]
    assert parameters(tries.headers[0][1])["nonce"] == "2"
    for again in ('Digest realm="r", nonce="3"', 'Digest realm="r", nonce="3", stale=false'):
        assert not tries.answer(challenged(407, again), "INVITE", "sip:b@c")
    endless = 'Digest realm="r", nonce="4", stale=true'
    assert not all(tries.answer(challenged(407, endless), "INVITE", "sip:b@c") for _ in range(9))


def test_proxy_and_far_end_both_get_their_answer() -> None:
    """RFC 3261 22.3: the try after the 401 still carries what the proxy asked for."""
    tries = Authorization(ALICE)
    proxies = ('Digest realm="one", nonce="1"', 'Digest realm="two", nonce="2"')
    assert tries.answer(challenged(407, *proxies), "INVITE", "sip:b@c")
    assert tries.answer(challenged(401, 'Digest realm="one", nonce="3"'), "INVITE", "sip:b@c")
    names = [name for name, _ in tries.headers]
    assert names == ["Proxy-Authorization", "Proxy-Authorization", "Authorization"]
    assert not Authorization(None).answer(challenged(401, proxies[0]), "INVITE", "sip:b@c")
    assert not tries.answer(challenged(401, "Basic realm=x"), "INVITE", "sip:b@c")
    assert not tries.answer(challenged(486), "INVITE", "sip:b@c")


def test_credentials_do_not_print_themselves() -> None:
    """A password must not reach a log by accident."""
    assert "pass" not in repr(ALICE)
