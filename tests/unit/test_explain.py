"""Why a call is not taken, and what would let it in."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from sip.cli import build
from sip.dispatch.decide import Call, decide, rule_failures, trunk_failures
from sip.dispatch.explain import Explanation, explain, forbidding
from sip.dispatch.mend import changed
from sip.model import AgentDispatch, InboundTrunk, Rule, State
from tests.unit.test_dispatch import CALL, RULE, TRUNK, state

AGENT = replace(RULE, agents=(AgentDispatch("phone-agent"),))


def mends(found: Explanation) -> list[tuple[str, str, str]]:
    """What the mends change."""
    return [(mend.id, mend.field, mend.value) for mend in found.mends]


def test_a_call_that_fits() -> None:
    """Nothing to mend, nothing to note."""
    found = explain(state(TRUNK, AGENT), CALL)
    assert (found.verdict, found.code, found.reaches) == ("room", 200, True)
    assert (found.mends, found.advice, found.notes) == ((), "", ())
    assert str(found) == "trunk ST_1, rule SDR_1"


@pytest.mark.parametrize(
    ("trunk", "rule", "verdict", "code", "why"),
    [
        ({"allowed_addresses": ("10.1.1.1",)}, {}, "refused", 403, "trunk carrier (ST_1): allowed_addresses"),
        ({"allowed_numbers": ("+1999",)}, {}, "refused", 403, "trunk carrier (ST_1): allowed_numbers"),
        ({"numbers": ("+15550101",)}, {}, "no trunk", 404, "trunk carrier (ST_1): numbers"),
        ({}, {"trunks": ("ST_2",)}, "no rule", 404, "rule agent (SDR_1): trunk_ids"),
        ({}, {"numbers": ("15550100",)}, "no rule", 404, "rule agent (SDR_1): numbers"),
        ({}, {"inbound_numbers": ("7",)}, "no rule", 404, "rule agent (SDR_1): inbound_numbers"),
    ],
)  # fmt: skip
def test_the_field_that_refused(
    trunk: dict[str, tuple[str, ...]], rule: dict[str, tuple[str, ...]], verdict: str, code: int, why: str
) -> None:
    """Verdict, SIP code, a line for the log without numbers, and a mend of just that field."""
    found = explain(state(replace(TRUNK, **trunk), replace(AGENT, **rule)), CALL)
    assert (found.verdict, found.code, str(found)) == (verdict, code, why)
    assert [mend.field for mend in found.mends] == [why.rpartition(" ")[2]]
    assert "555" not in str(found)


def test_expected_and_actual() -> None:
    """A failure tells both sides, and what people overlook."""
    found = explain(state(TRUNK, replace(AGENT, numbers=("15550100",))), CALL)
    failure = found.rules[0].failures[0]
    assert (failure.expected, failure.actual) == (("15550100",), "+15550100")
    assert "letter for letter" in failure.hint
    assert found.mends[0].command == "sip rule update agent --add-number +15550100 --remove-number 15550100"
    found = explain(state(replace(TRUNK, allowed_addresses=("10.0.0.1", "10.0.0.2 "))), CALL)
    assert "malformed" in found.trunks[0].failures[0].hint


def test_nothing_there() -> None:
    """Without trunks or rules the advice is the command that makes one."""
    found = explain(State(), CALL)
    assert (str(found), found.verdict) == ("there are no inbound trunks", "no trunk")
    assert found.advice.startswith("sip trunk inbound create --name carrier --number +15550100")
    found = explain(state(TRUNK), CALL)
    assert str(found) == "there are no dispatch rules"
    assert found.advice.startswith("sip rule create --name agent --trunk carrier")


def test_the_owner_of_the_number_is_mended() -> None:
    """A number is not put on a second trunk, although that would be one change less."""
    pbx = InboundTrunk("pbx", "ST_2", ("201",), ("10.0.0.5",))
    found = explain(state(TRUNK, pbx, AGENT), replace(CALL, called="201"))
    assert mends(found) == [("ST_2", "allowed_addresses", "192.0.2.7"), ("SDR_1", "trunk_ids", "ST_2")]
    assert [mend.command for mend in found.mends] == [
        "sip trunk inbound update pbx --add-allowed-address 192.0.2.7",
        "sip rule update agent --add-trunk pbx",
    ]
    assert found.trunks[0].id == "ST_2"


def test_an_unknown_number_goes_to_the_trunk_that_knows_the_source() -> None:
    """The usual case: a new number, and no trunk has it."""
    pbx = InboundTrunk("pbx", "ST_2", ("201",), ("10.0.0.5",))
    found = explain(state(pbx, TRUNK, AGENT), replace(CALL, called="+15550123"))
    assert mends(found) == [("ST_1", "numbers", "+15550123")]


def test_credentials() -> None:
    """Asked for, wrong, right; what they would lead to is told."""
    closed = state(replace(TRUNK, auth_username="carrier", auth_password="secret"), AGENT)
    asked = explain(closed, CALL)
    assert (asked.verdict, asked.code, asked.decision.room) == ("credentials asked", 407, "room")
    assert "--digest carrier" in asked.advice
    assert explain(closed, replace(CALL, digest="other")).verdict == "wrong user"
    assert explain(closed, replace(CALL, digest="carrier")).reaches
    assert "secret" not in repr(asked)


def test_pins() -> None:
    """A PIN is asked for once the best rule has one; the one that is typed goes nowhere else."""
    closed = state(TRUNK, AGENT, replace(AGENT, id="SDR_2", pin="1234"))
    assert explain(closed, CALL).verdict == "PIN asked"
    wrong = explain(closed, replace(CALL, pin="9"))
    assert (wrong.verdict, wrong.code) == ("wrong PIN", 404)
    assert explain(closed, replace(CALL, pin="1234")).decision.rule == closed.rules[1]
    assert explain(closed, replace(CALL, pin="")).decision.rule == AGENT
    unused = explain(state(TRUNK, AGENT), replace(CALL, pin="9"))
    assert unused.reaches and "no PIN is asked for" in unused.notes
    assert "1234" not in repr(wrong.rules) and "1234" not in repr(closed)


def test_a_rule_that_comes_after() -> None:
    """A rule that fits and does not get the call names the one before it."""
    second = replace(AGENT, id="SDR_0", name="second", room="z", kind="callee")
    found = explain(state(TRUNK, AGENT, replace(second, numbers=("+15550100",))), CALL)
    assert [(rule.name, rule.after) for rule in found.rules] == [("second", ""), ("agent", "second")]


def test_conflicts_are_named() -> None:
    """Both objects are in the advice."""
    found = explain(state(TRUNK, replace(TRUNK, id="ST_2", name="twin"), AGENT), CALL)
    assert (found.verdict, found.code) == ("trunk conflict", 500)
    assert "carrier and twin" in found.advice
    found = explain(state(TRUNK, AGENT, replace(AGENT, id="SDR_2", name="twin")), CALL)
    assert (found.verdict, found.code) == ("rule conflict", 500)
    assert "agent and twin" in found.advice


def test_a_rule_for_all_opens_the_door() -> None:
    """The server lets a refused source on to it; that is told, and that `sip serve` does not."""
    shut = replace(TRUNK, allowed_addresses=("198.51.100.1",))
    found = explain(state(shut, replace(AGENT, trunks=())), CALL)
    assert found.reaches
    assert any("by no trunk" in note for note in found.notes)
    assert any("`sip serve`" in note for note in found.notes)
    closed = forbidding(state(shut), CALL)
    assert str(closed) == "trunk carrier (ST_1): allowed_addresses"
    assert forbidding(state(replace(shut, numbers=())), CALL) is None


@pytest.mark.parametrize(
    ("trunk", "rule", "note"),
    [
        ({"allowed_addresses": ("10.0.0.* ",)}, {}, "lets in every source"),
        ({"allowed_addresses": ("carrier.example",)}, {}, "only the host of From"),
        ({"auth_username": "u"}, {}, "asks for no credentials"),
        ({}, {"agents": ()}, "names no agent"),
        ({}, {"trunks": ("ST_1", "carrier")}, "the id of no inbound trunk"),
    ],
)
def test_notes(trunk: dict[str, object], rule: dict[str, object], note: str) -> None:
    """What may surprise although the call reaches a room."""
    found = explain(
        State(inbound=(replace(TRUNK, **trunk),), rules=(replace(AGENT, **rule),)),  # pyright: ignore[reportArgumentType] # fields by name
        CALL,
    )
    assert found.reaches
    assert any(note in each for each in found.notes), found.notes


NUMBERS = st.lists(st.sampled_from(["+15550100", "15550100", "201", "alice"]), max_size=2, unique=True)
CALLERS = st.lists(st.sampled_from(["+15550199", "15550199", "7"]), max_size=2, unique=True)
MASKS = st.lists(
    st.sampled_from(["192.0.2.7", "192.0.2.0/24", "10.0.0.0/8", "bad mask", "::/0"]), max_size=2, unique=True
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """Up to three trunks and four rules."""
    trunks = [
        InboundTrunk(
            f"trunk {place}",
            f"ST_{place}",
            tuple(draw(NUMBERS)),
            tuple(draw(MASKS)),
            tuple(draw(CALLERS)),
        )
        for place in range(draw(st.integers(0, 3)))
    ]
    ids = st.sampled_from([trunk.id for trunk in trunks] + ["ST_gone"])
    rules = [
        Rule(
            f"rule {place}",
            f"SDR_{place}",
            draw(st.sampled_from(["direct", "individual", "callee"])),
            "room",
            pin=draw(st.sampled_from(["", "", "12"])),
            trunks=tuple(draw(st.lists(ids, max_size=2, unique=True))),
            numbers=tuple(draw(NUMBERS)),
            inbound_numbers=tuple(draw(CALLERS)),
        )
        for place in range(draw(st.integers(0, 4)))
    ]
    return State(inbound=tuple(trunks), rules=tuple(rules))


CALLS = st.builds(
    Call,
    st.sampled_from(["192.0.2.7", "10.1.1.1", "2001:db8::7"]),
    st.sampled_from(["+15550199", "15550199", "8"]),
    st.sampled_from(["+15550100", "201", "alice", "bob"]),
    pin=st.sampled_from([None, "", "12", "13"]),
)


@settings(max_examples=300, deadline=None)
@given(states(), CALLS)
def test_mends_let_the_call_in(given_state: State, call: Call) -> None:
    """Whatever is proposed, a trunk takes the call after it; and without any one of the changes none does."""
    found = explain(given_state, call)

    def taken(state: State) -> bool:
        after = decide(state, replace(call, pin=None))
        return after.trunk is not None and after.outcome in ("room", "pin")

    assert not found.mends or taken(changed(given_state, found.mends))
    for left_out in found.mends:
        assert not taken(changed(given_state, [mend for mend in found.mends if mend is not left_out]))
    assert bool(found.mends or found.advice) is not found.reaches


@settings(max_examples=300, deadline=None)
@given(states(), CALLS)
def test_every_object_is_accounted_for(given_state: State, call: Call) -> None:
    """Each trunk and rule stands there once, with all fields that refuse the call; the taker is first."""
    found = explain(given_state, call)
    assert {each.id for each in found.trunks} == {trunk.id for trunk in given_state.inbound}
    assert len(found.rules) == len(given_state.rules)
    for trunk in given_state.inbound:
        shown = next(each for each in found.trunks if each.id == trunk.id)
        assert tuple(failure.field for failure in shown.failures) == trunk_failures(trunk, call)
    if found.reaches and found.decision.rule:
        assert found.rules[0].id == found.decision.rule.id
        assert not rule_failures(found.decision.rule, replace(call, pin=None), found.decision.trunk)
        if found.decision.trunk:
            assert found.trunks[0].id == found.decision.trunk.id


WANTED = """
inbound:
  - name: carrier
    numbers: ["+15550100"]
    allowed_addresses: [203.0.113.0/24]
    auth_username: carrier
    auth_password: ${NO_SUCH_PASSWORD}
    include_headers: x
rules:
  - name: agent
    kind: individual
    room: call
    trunks: [carrier]
    agents: [{name: phone-agent}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A wanted state."""
    path = tmp_path / "trunks.yaml"
    path.write_text(WANTED)
    return path


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output of `sip explain` for a call to our number."""
    result = CliRunner().invoke(
        build(), ["explain", "--from", "+15550199", "--to", "sip:+15550100@pbx.example", *arguments]
    )
    return result.exit_code, result.stdout


def test_the_command_explains_a_file(file: Path) -> None:
    """Exit code 0 where the call reaches a room, else 1; the verdict is the first line."""
    arguments = ("--source", "203.0.113.7", "--file", str(file))
    code, text = run(*arguments)
    assert code == 1
    assert text.splitlines()[0].startswith("The call is asked for credentials (407): trunk carrier")
    code, text = run(*arguments, "--digest", "carrier", "--header", "X-Id=7")
    assert code == 0
    assert text.splitlines()[0] == "The call reaches room call_+15550199_(random): trunk carrier, rule agent"
    assert "sip.h.x-id" in text


def test_the_command_proposes_the_edit_of_a_file(file: Path) -> None:
    """With a file the mend is a change of it, and `sip apply`."""
    code, text = run("--source", "198.51.100.1", "--file", str(file))
    assert code == 1
    assert f"{file}: add 198.51.100.1 to allowed_addresses of trunk carrier" in text
    assert f"sip apply {file}" in text


def test_the_command_speaks_json(file: Path) -> None:
    """The same for machines, without secrets."""
    code, text = run("--source", "198.51.100.1", "--file", str(file), "--json")
    document = json.loads(text)
    assert code == 1
    assert (document["verdict"], document["code"], document["reaches"]) == ("refused", 403, False)
    assert document["trunks"][0]["failures"][0]["expected"] == ["203.0.113.0/24"]
    assert document["mends"][0]["field"] == "allowed_addresses"
    assert "password" not in text


@pytest.mark.parametrize(
    "arguments", [("--source", "203.0.113.7:5060"), ("--header", "X-Id"), ("--header", "=1")]
)
def test_wrong_use(file: Path, arguments: tuple[str, ...]) -> None:
    """What is no address or no header is told, with the mend."""
    result = CliRunner().invoke(
        build(), ["explain", "--from", "1", "--to", "2", "--file", str(file), *arguments]
    )
    assert result.exception is not None
    assert arguments[1] in str(result.exception)


@pytest.mark.parametrize("failing", ["numbers", "allowed_addresses", "allowed_numbers"])
@pytest.mark.parametrize("rule_failing", ["trunks", "numbers", "inbound_numbers"])
def test_proposed_commands_exist(failing: str, rule_failing: str) -> None:
    """Each command that a mend proposes is one of ours, with flags that it has."""
    shut = {"numbers": ("+15550101",), "allowed_addresses": ("10.1.1.1",), "allowed_numbers": ("7",)}
    closed = {"trunks": ("ST_2",), "numbers": ("15550100",), "inbound_numbers": ("8",)}
    found = explain(
        state(
            replace(TRUNK, **{failing: shut[failing]}), replace(AGENT, **{rule_failing: closed[rule_failing]})
        ),
        CALL,
    )
    assert len(found.mends) == 2
    for mend in found.mends:
        _, *words = shlex.split(mend.command)
        command = get_command(build())
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)
