"""SIP codes and Q.850 causes: complete, consistent, and told by `sip code`."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from sip import advice, codes, q850
from sip.cli import build
from sip.errors import NotFound

REGISTRY = (
    "100 180 181 182 183 199 200 202 204 300 301 302 305 380 400 401 402 403 404 405 406 407 408 410 412 413 "
    "414 415 416 417 420 421 422 423 424 425 428 429 430 433 436 437 438 439 440 469 470 480 481 482 483 484 "
    "485 486 487 488 489 491 493 494 500 501 502 503 504 505 513 555 580 600 603 604 606 607 608"
)
RFC_3398 = {
    400: 41, 401: 21, 402: 21, 403: 21, 404: 1, 405: 63, 406: 79, 407: 21, 408: 102, 410: 22, 413: 127,
    414: 127, 415: 79, 416: 127, 420: 127, 421: 127, 423: 127, 480: 18, 481: 41, 482: 25, 483: 25, 484: 28,
    485: 1, 486: 17, 500: 41, 501: 79, 502: 38, 503: 41, 504: 102, 505: 127, 513: 127, 600: 17, 603: 21,
    604: 1,
}  # fmt: skip
"""SIP to ISUP, section 8.2.6.1."""


def run(*arguments: str) -> str:
    """Standard output of `sip code`."""
    result = CliRunner().invoke(build(), ["code", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_whole_registry_is_there() -> None:
    """IANA's codes and no other, but for those that say so; each with advice."""
    registered = {int(code) for code in REGISTRY.split()}
    assert set(codes.STATUSES) - codes.UNREGISTERED == registered
    assert len(registered) == 75
    assert set(advice.ADVICE) == set(codes.STATUSES)


def test_causes_are_those_of_rfc_3398() -> None:
    """Every row of its table; the causes have names; what it maps back comes back as a SIP code."""
    assert {code: codes.q850(code) for code in RFC_3398} == RFC_3398
    assert all(cause.number == number and cause.name for number, cause in q850.CAUSES.items())
    assert all(status.q850 in q850.CAUSES for status in codes.STATUSES.values() if status.q850)
    assert all(cause.sip in codes.STATUSES for cause in q850.CAUSES.values() if cause.sip)
    assert (codes.q850(487), q850.CAUSES[16].sip) == (16, 0)


@pytest.mark.parametrize("code", codes.STATUSES)
def test_each_code_tells_everything(code: int) -> None:
    """Meaning, likely cause, mend; failures say whether to call again, and after how long."""
    found = advice.explain(code)
    assert found and found.phrase and found.meaning and found.advice.likely and found.advice.mend
    assert bool(found.advice.retry) is (code >= 300)
    assert bool(found.advice.after) is (found.advice.retry in ("later", "soon"))
    assert list(found.advice.after) == sorted(found.advice.after)
    assert bool(found.error) is (code >= 300)


def test_a_code_that_nobody_knows_has_its_class() -> None:
    """The first digit says what can be said; outside 100 to 699 there is nothing."""
    found = advice.explain(499)
    assert found and (found.phrase, found.error, found.registered) == ("", "invalid_argument", False)
    assert "refused" in found.meaning
    assert advice.explain(599) != advice.explain(699)
    assert advice.explain(99) is advice.explain(700) is None
    assert q850.explain(0) is q850.explain(128) is None
    unknown = q850.explain(45)
    assert unknown and (unknown.name, unknown.meaning) == ("", "lines or equipment are missing")


def test_search() -> None:
    """All words must be there; codes that have them in the phrase come first."""
    assert advice.search("busy")[:2] == [486, 600]
    assert 488 in advice.search("CODEC common")
    assert advice.search("no such word") == []


def test_the_command_tells_one_code() -> None:
    """Everything about 503, the first line is code and phrase."""
    text = run("503")
    assert text.splitlines()[0] == "503 Service Unavailable"
    for word in ("Retry-After", "41 Temporary failure", "failed_precondition", "after 2 s, 4 s, 8 s"):
        assert word in text
    assert run("503", "Service", "Unavailable") == text == run("SIP/2.0 503 Busy")


def test_the_command_speaks_json() -> None:
    """One object a code, a list for several."""
    one = json.loads(run("486", "--json"))
    assert (one["q850"]["cause"], one["retry"], one["retry_after_s"]) == (17, "later", [300, 900, 3600])
    assert one["livekit_api"] == {"error": "SipCallError", "code": "resource_exhausted"}
    assert len(json.loads(run("--json"))) == len(codes.STATUSES)
    assert json.loads(run("busy", "--json"))[0]["code"] == 486


@pytest.mark.parametrize("arguments", [("q850:17",), ("--q850", "17"), ("Q.850;cause=17",)])
def test_causes_on_the_command_line(arguments: tuple[str, ...]) -> None:
    """As a prefix, as an option, and as a Reason header writes it."""
    text = run(*arguments)
    assert text.splitlines()[0] == "Q.850 cause 17 User busy"
    assert "486 Busy Here" in text


def test_all_codes_and_all_causes() -> None:
    """A line each."""
    assert len(run().splitlines()) == len(codes.STATUSES) + 1
    assert len(run("q850").splitlines()) == len(q850.CAUSES) + 1
    assert "BYE" in run("q850:16")
    assert not re.search(r"Traceback|None", run() + run("q850"))


@pytest.mark.parametrize("arguments", [("99",), ("700",), ("gibberish",), ("q850:128",), ("--q850", "0")])
def test_nonsense_is_an_error(arguments: tuple[str, ...]) -> None:
    """It says so; the command then ends with 1."""
    result = CliRunner().invoke(build(), ["code", *arguments])
    assert isinstance(result.exception, NotFound)
