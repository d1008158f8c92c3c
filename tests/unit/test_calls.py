"""Calls on the line, and orders for new ones: what is chosen, masked, refused, read from a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sip.calls.current import LiveCall, choose, ladder_says, masked, target_uri
from sip.calls.outgoing import Order, check, trunk_for
from sip.cli import build
from sip.errors import ConfigurationError, NotFound
from sip.model import OutboundTrunk

ONE = LiveCall("call-a", "sip_+15550199", "inbound", "active", "+15550199", "+15550100", "SCL_aaa1", "x@y")
TWO = LiveCall("call-b", "callee-1", "outbound", "ringing", "+15550123", "+15550111", "SCL_aab2", "z@y")
TRUNK = OutboundTrunk("carrier", "ST_1", "sip.example", numbers=("+15550111",))


@pytest.mark.parametrize(
    ("reference", "call"),
    [
        ("1", ONE), ("2", TWO), ("call-a", ONE), ("callee-1", TWO), ("SCL_aaa1", ONE), ("SCL_aab", TWO),
        ("z@y", TWO), ("+15550199", ONE), ("sip_", ONE),
    ],
)  # fmt: skip
def test_choose(reference: str, call: LiveCall) -> None:
    """A call is found by row, room, identity, ids, and what only it begins with."""
    assert choose([ONE, TWO], reference) is call


@pytest.mark.parametrize("reference", ["3", "", "SCL_aa", "call-", "nobody"])
def test_choose_nothing(reference: str) -> None:
    """What means no call, or several, is refused."""
    with pytest.raises(NotFound):
        choose([ONE, TWO], reference)


def test_numbers_are_not_shown() -> None:
    """A call's representation and a masked number give no number away."""
    assert "1555" not in repr(ONE)
    assert [masked(each) for each in ("+15550199", "100", "", "sip_+15550199")] == [
        "+15…99", "…00", "", "sip…99",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("to", "uri"),
    [
        ("+1 (555) 0123", "tel:+15550123"),
        ("100", "tel:100"),
        ("sip:desk@pbx.example", "sip:desk@pbx.example"),
        ("<sips:desk@pbx.example>", "sips:desk@pbx.example"),
        ("desk@pbx.example", "sip:desk@pbx.example"),
    ],
)
def test_target(to: str, uri: str) -> None:
    """Numbers and addresses become the URI that REFER wants."""
    assert target_uri(to) == uri


@pytest.mark.parametrize("to", ["", "desk", "sip:", "a b@c"])
def test_bad_target(to: str) -> None:
    """What is neither is refused before anything is asked."""
    with pytest.raises(ConfigurationError):
        target_uri(to)


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (Order("sip:1@host", TRUNK, "a"), "no sip:"),
        (Order("", TRUNK, "a"), "TO is"),
        (Order("1", TRUNK, "a", caller_id="+1999"), "--caller-id"),
        (Order("1", OutboundTrunk("any", "ST_2", "h", numbers=("*",)), "a"), "give --caller-id"),
        (Order("1", TRUNK, "a", ring_timeout=-1), "negative"),
    ],
)
def test_bad_orders(order: Order, word: str) -> None:
    """An order that no server would take is refused before the room is made."""
    with pytest.raises(ConfigurationError, match=word):
        check(order)


def test_good_orders() -> None:
    """Orders that are sound pass."""
    check(Order("+15550123", TRUNK, "a"))
    check(Order("100", OutboundTrunk("any", "ST_2", "h", numbers=("*",)), "a", caller_id="+15550111"))


def test_default_trunk() -> None:
    """The only trunk is taken without a name; of several one must be named."""
    other = OutboundTrunk("b", "ST_2", "h")
    assert trunk_for([TRUNK], "") is TRUNK
    assert trunk_for([TRUNK, other], "b") is other
    with pytest.raises(ConfigurationError, match="which trunk"):
        trunk_for([TRUNK, other], "")
    with pytest.raises(NotFound, match="no outbound trunk"):
        trunk_for([], "")


def record(directory: Path, *messages: tuple[float, str, str]) -> Path:
    """A ladder of these messages: time, first line, body; all from the far end."""
    lines = [
        {"t": t, "dir": "in", "first": first, "text": f"{first}\r\nX: y\r\n\r\n{body}"}
        for t, first, body in messages
    ]
    (directory / "call.ladder.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def test_ladder_tells_of_a_transfer(tmp_path: Path) -> None:
    """Only a NOTIFY with a success is one; a BYE without it is not, and what was before does not count."""
    bye = (6.0, "BYE sip:x SIP/2.0", "")
    done = (5.5, "NOTIFY sip:x SIP/2.0", "SIP/2.0 200 OK")
    trying = (5.2, "NOTIFY sip:x SIP/2.0", "SIP/2.0 100 Trying")
    old = (1.0, "NOTIFY sip:x SIP/2.0", "SIP/2.0 200 OK")
    cases = [
        ((trying, done, bye), "transferred"),
        ((trying, bye), "ended"),
        ((old, bye), "ended"),
        ((trying,), None),
    ]  # fmt: skip
    for messages, outcome in cases:
        told = ladder_says(record(tmp_path, *messages), "call", 5.0)
        assert (told.outcome if told else None) == outcome
    assert ladder_says(tmp_path, "another", 5.0) is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["call", "100", "--header", "nonsense"], "NAME=VALUE"),
        (["call", "100", "--metadata", "{broken"], "begins like JSON"),
        (["hangup"], "which call"),
        (["hangup", "1", "--all"], "which call"),
        (["transfer", "1", "nowhere"], "neither a number"),
    ],
)
def test_wrong_use(arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong use is told before any server is asked."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("URL", "ws://127.0.0.1:1"), ("API_KEY", "k"), ("API_SECRET", "s" * 32)):
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    result = CliRunner().invoke(build(), arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert word in str(result.exception)


@pytest.mark.parametrize("command", ["call", "calls", "transfer", "hangup", "doctor", "trace"])
def test_help(command: str) -> None:
    """Every command's help has an example."""
    result = CliRunner().invoke(build(), [command, "--help"])
    assert result.exit_code == 0
    assert f"sip {command}" in result.output
    assert "Example" in result.output
