"""Plans: what is matched with what, what changes, what speaks against it, and in which order it is done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Registration, Rule, State
from sip.plan.apply import ApplyError, UnsafePlan, apply
from sip.plan.plan import Plan, PlanError, Unset, plan, strangers
from sip.plan.unsafe import ALLOWABLE
from tests.unit.plan_kit import FakeServer

SAFE = ("203.0.113.0/24",)
CARRIER = InboundTrunk(name="carrier", numbers=("+15550100",), allowed_addresses=SAFE)
OUT = OutboundTrunk(name="out", address="sip.example.com", numbers=("+15550100",), auth_username="u")
RULE = Rule(name="reception", trunks=("carrier",), agents=(AgentDispatch("phone-agent"),))


def made(wanted: State, live: State | None = None, **options: Any) -> Plan:
    """A plan that has something to do."""
    found = plan(wanted, live or State(), **options)
    assert found
    return found


def live_of(*items: Any) -> State:
    """A live state with ids, where rules name trunks by id."""
    ids: dict[str, str] = {}
    found: list[Any] = []
    for index, item in enumerate(items):
        prefix = "SDR" if isinstance(item, Rule) else "ST"
        found.append(replace(item, id=item.id or f"{prefix}_{index}"))
        ids[item.name] = found[-1].id
    return State(
        tuple(item for item in found if isinstance(item, InboundTrunk)),
        tuple(item for item in found if isinstance(item, OutboundTrunk)),
        tuple(
            replace(item, trunks=tuple(ids.get(trunk, trunk) for trunk in item.trunks))
            for item in found
            if isinstance(item, Rule)
        ),
    )


def names(found: Plan) -> list[str]:
    """Names of the findings."""
    return [finding.name for finding in found.findings]


async def test_an_empty_server_gets_trunks_before_the_rules_that_use_them() -> None:
    """Creations of trunks stand before rules, and the rule gets the id of the trunk that was just made."""
    server = FakeServer(State())
    found = made(State((CARRIER,), (OUT,), (RULE,)))
    assert [str(step) for step in found.steps] == [
        "create inbound trunk carrier",
        "create outbound trunk out",
        "create rule reception",
    ]
    await apply(found, server)
    [rule] = server.state.rules
    assert rule.trunks == (server.state.inbound[0].id,)
    assert rule.managed
    assert server.state.inbound[0].managed


def test_an_unchanged_state_plans_nothing() -> None:
    """Neither order of numbers, nor defaults written out, nor the mark make a change."""
    live = live_of(
        replace(CARRIER, numbers=("+15550100", "+15550101"), managed=True), replace(RULE, randomize=True)
    )
    wanted = State((replace(CARRIER, numbers=("+15550101", "+15550100")),), (), (RULE,))
    assert plan(wanted, live) is None


def test_a_change_of_one_field_updates_in_place() -> None:
    """The id stays, only what differs is told, and the object is ours from then on."""
    live = live_of(replace(CARRIER, max_call_duration=60))
    [step] = made(State((CARRIER,)), live).steps
    assert (step.action, step.id) == ("update", "ST_0")
    assert [(change.field, change.old, change.new) for change in step.changes] == [
        ("max_call_duration", 60, None)
    ]
    assert isinstance(step.new, InboundTrunk) and step.new.managed and step.new.id == "ST_0"


def test_an_id_ties_an_entry_to_a_live_object_of_another_name() -> None:
    """With an id the entry's name becomes the live one's."""
    live = live_of(CARRIER)
    [step] = made(State((replace(CARRIER, id="ST_0", name="new name"),)), live).steps
    assert step.action == "update"
    assert [change.field for change in step.changes] == ["name"]


def test_names_that_the_server_has_twice_are_an_error_with_their_ids() -> None:
    """Which of two is meant is never guessed."""
    live = live_of(CARRIER, replace(CARRIER, numbers=("+15550199",)))
    with pytest.raises(PlanError, match=r"ST_0, ST_1.*Write the id"):
        plan(State((CARRIER,)), live)


def test_an_id_that_nobody_has_is_an_error() -> None:
    """A wrong id does not make a second trunk."""
    with pytest.raises(PlanError, match="nothing with the id ST_gone is live"):
        plan(State((replace(CARRIER, id="ST_gone"),)), live_of(CARRIER))


def test_all_entries_without_a_match_come_in_one_error() -> None:
    """Problems are told at once, with the nearest name."""
    with pytest.raises(PlanError) as caught:
        plan(State((CARRIER,), (OUT,), (replace(RULE, trunks=("carier", "out")),)), State())
    assert "no inbound trunk is named carier. Did you mean carrier?" in str(caught.value)
    assert "out is an outbound trunk" in str(caught.value)


def test_a_rule_may_name_a_live_trunk_that_the_file_does_not_have() -> None:
    """By its name or its id."""
    live = live_of(CARRIER)
    for name in ("carrier", "ST_0"):
        [step] = made(State(rules=(replace(RULE, trunks=(name,)),)), live).steps
        assert isinstance(step.new, Rule) and step.new.trunks == ("ST_0",)


def test_secrets_are_compared_and_never_shown() -> None:
    """A changed password, PIN or token of a header is "changed", in text and JSON alike."""
    live = live_of(
        replace(CARRIER, auth_username="u", auth_password="old-secret", headers={"X-Token": "old-secret"}),
        replace(RULE, pin="4711"),
    )
    wanted = State(
        (replace(CARRIER, auth_username="u", auth_password="new-secret", headers={"X-Token": "new-secret"}),),
        (),
        (replace(RULE, pin="0815"),),
    )
    found = made(wanted, live)
    text = json.dumps(found.as_json()) + repr(found.findings) + "".join(map(str, found.steps))
    for secret in ("old-secret", "new-secret", "4711", "0815"):
        assert secret not in text
    fields = [field for change in found.as_json()["changes"] for field in change["fields"]]
    assert fields == [
        {"field": "auth_password", "secret": "changed"},
        {"field": "headers.X-Token", "secret": "changed"},
        {"field": "pin", "secret": "changed"},
    ]


def test_a_secret_whose_variable_is_not_set_stays_what_it_is() -> None:
    """An unset variable is no wish for an empty password; for a new trunk it is an error."""
    live = live_of(replace(CARRIER, auth_username="u", auth_password="secret"))
    wanted = State((replace(CARRIER, auth_username="u"),))
    unset: Unset = {("inbound", "carrier", "auth_password"): "CARRIER_PASSWORD"}
    assert plan(wanted, live, unset=unset) is None
    with pytest.raises(PlanError, match="CARRIER_PASSWORD is not set, and the server has nothing"):
        plan(wanted, State(), unset=unset)
    renumbered = State((replace(wanted.inbound[0], numbers=("+15550111",)),))
    [step] = made(renumbered, live, unset=unset).steps
    assert isinstance(step.new, InboundTrunk) and step.new.auth_password == "secret"


def test_a_password_that_the_server_does_not_show_is_written_beside_other_changes_only() -> None:
    """It cannot be compared: alone it is no change, with another change it must not be lost."""
    live = live_of(replace(CARRIER, auth_username="u"))
    wanted = State((replace(CARRIER, auth_username="u", auth_password="secret"),))
    assert plan(wanted, live, hidden=True) is None
    assert [change.field for change in made(wanted, live).steps[0].changes] == ["auth_password"]
    [step] = made(State((replace(wanted.inbound[0], metadata="x"),)), live, hidden=True).steps
    assert isinstance(step.new, InboundTrunk) and step.new.auth_password == "secret"


def test_only_marked_objects_are_pruned_and_only_when_asked() -> None:
    """What others made stays, and is told as theirs."""
    ours, theirs = replace(CARRIER, managed=True), replace(CARRIER, name="theirs", numbers=("+15550199",))
    live = live_of(ours, theirs, OUT)
    wanted = State((), (OUT,))
    assert plan(wanted, live) is None
    assert [str(step) for step in made(wanted, live, prune=True).steps] == [
        "delete inbound trunk carrier (ST_0)"
    ]
    assert [item.name for item in strangers(wanted, live)] == ["theirs"]


def test_rules_are_deleted_before_their_trunks() -> None:
    """No rule names a trunk that is gone, not even for a moment."""
    live = live_of(replace(CARRIER, managed=True), replace(RULE, managed=True))
    steps = made(State((), (OUT,)), live, prune=True).steps
    assert [(step.action, step.kind) for step in steps] == [
        ("create", "outbound"),
        ("delete", "rule"),
        ("delete", "inbound"),
    ]


def test_registrations_have_no_steps() -> None:
    """LiveKit's API knows none."""
    assert plan(State(registrations=(Registration("pbx", "pbx.example", "1001"),)), State()) is None


OTHER = InboundTrunk(name="other", numbers=("+15550101",), allowed_addresses=SAFE)
UNSAFE: dict[str, tuple[State, State, dict[str, Any], str]] = {
    "open-trunk": (State((replace(CARRIER, allowed_addresses=()),)), State(), {}, "open-trunk"),
    "open-to-all": (State((replace(CARRIER, allowed_addresses=("0.0.0.0/0",)),)), State(), {}, "open-trunk"),
    "rule": (State(rules=(replace(RULE, trunks=()),)), State(), {}, "rule-without-trunks"),
    "unknown": (State(rules=(replace(RULE, trunks=("ST_x",)),)), State(), {}, "unknown-trunk"),
    "shadow": (
        State((CARRIER,), (), (RULE, replace(RULE, name="never", numbers=("+15550100",), kind="callee"))),
        State(),
        {},
        "shadowed-rule",
    ),
    "some-callers": (
        State((CARRIER, replace(CARRIER, name="vip", allowed_numbers=("+15550111",)))),
        State(),
        {},
        "shared-number",
    ),
    "busy": (
        State((), (OUT,)),
        live_of(replace(CARRIER, managed=True)),
        {"prune": True, "busy": {"ST_0": 2}},
        "busy-trunk",
    ),
    "renumbered": (
        State((replace(CARRIER, numbers=("+15550111",)),)),
        live_of(CARRIER),
        {"busy": {"ST_0": 1}},
        "busy-trunk",
    ),
    "in-use": (
        State((), (OUT,)),
        live_of(replace(CARRIER, managed=True), RULE),
        {"prune": True},
        "trunk-in-use",
    ),
    "empty": (State(), live_of(replace(CARRIER, managed=True)), {"prune": True}, "delete-everything"),
}


@pytest.mark.parametrize("case", UNSAFE)
async def test_unsafe_plans_are_refused_unless_allowed(case: str) -> None:
    """Each danger has a name that allows it, and without that nothing is written."""
    wanted, live, options, name = UNSAFE[case]
    found = made(wanted, live, **options)
    assert {finding.name for finding in found.refused} == {name}
    server = FakeServer(live)
    with pytest.raises(UnsafePlan):
        await apply(found, server)
    assert server.writes == 0
    allowed = made(wanted, live, **options, allow=[name])
    assert not allowed.refused
    assert names(allowed) == names(found)


REFUSED: dict[str, tuple[State, State]] = {
    "one number on two trunks": (State((CARRIER, replace(OTHER, numbers=("15550100",)))), State()),
    "a live trunk has the number": (State((replace(CARRIER, name="second"),)), live_of(CARRIER)),
    "two trunks for any number": (
        State((replace(CARRIER, numbers=()), replace(OTHER, numbers=()))),
        State(),
    ),
    "two rules for the same calls": (State((CARRIER,), (), (RULE, replace(RULE, name="again"))), State()),
    "a rule with a number twice": (
        State((CARRIER,), (), (replace(RULE, numbers=("+15550100", "15550100")),)),
        State(),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_server_refuses_is_known_before(case: str) -> None:
    """No --allow helps where the server would refuse the write anyway."""
    wanted, live = REFUSED[case]
    found = made(wanted, live, allow=ALLOWABLE)
    assert found.refused
    assert not any(finding.allowable for finding in found.refused)
    with pytest.raises(ApplyError):
        await apply(replace(found, findings=()), FakeServer(live))


def test_the_same_number_for_different_callers_is_no_conflict() -> None:
    """Two trunks may share a number when each names its callers."""
    one = replace(CARRIER, allowed_numbers=("+15550111",))
    two = replace(CARRIER, name="two", allowed_numbers=("+15550112",))
    assert not made(State((one, two))).findings


def test_a_rule_for_one_number_does_not_shadow_the_rule_for_the_rest() -> None:
    """Two numbers on the trunk, one of them with a rule of its own."""
    trunk = replace(CARRIER, numbers=("+15550100", "+15550101"))
    special = replace(RULE, name="special", numbers=("+15550101",))
    assert not made(State((trunk,), (), (RULE, special))).findings


def test_dangers_that_were_there_before_do_not_refuse_another_change() -> None:
    """Only what a plan touches is judged: the rest is the doctor's."""
    live = live_of(replace(CARRIER, allowed_addresses=()), OTHER)
    wanted = State((replace(CARRIER, allowed_addresses=()), replace(OTHER, metadata="x")))
    assert not made(wanted, live).findings


async def test_trunks_that_swap_their_numbers_take_a_step_aside() -> None:
    """The server would refuse either of the two updates alone."""
    live = live_of(CARRIER, OTHER)
    wanted = State((replace(CARRIER, numbers=OTHER.numbers), replace(OTHER, numbers=CARRIER.numbers)))
    found = made(wanted, live)
    assert [step.aside for step in found.steps] == [True, False, False]
    assert len(found.as_json()["changes"]) == 2
    server = FakeServer(live)
    await apply(found, server)
    assert plan(wanted, server.state) is None


async def test_a_number_moves_to_a_new_trunk_once_the_old_one_has_let_go() -> None:
    """Renaming without an id: the old trunk goes first, since the server takes no number twice."""
    live = live_of(replace(CARRIER, managed=True), replace(RULE, managed=True))
    wanted = State((replace(CARRIER, name="carrier-2"),), (), (replace(RULE, trunks=("carrier-2",)),))
    server = FakeServer(live)
    await apply(made(wanted, live, prune=True), server)
    assert plan(wanted, server.state, prune=True) is None
    assert len(server.items) == 2


async def test_an_interrupted_apply_says_how_far_it_came() -> None:
    """Ctrl-C cancels it: what was done is told, and that the step under way may be done or not."""
    under_way = asyncio.Event()

    class Slow(FakeServer):
        async def create(self, item: Any) -> Any:
            if isinstance(item, Rule):
                under_way.set()
                await asyncio.Event().wait()
            return await super().create(item)

    task = asyncio.create_task(apply(made(State((CARRIER,), (), (RULE,))), Slow(State())))
    await under_way.wait()
    task.cancel()
    with pytest.raises(ApplyError, match="interrupted: whether the server still carried") as caught:
        await task
    assert [str(each.step) for each in caught.value.done] == ["create inbound trunk carrier"]
    assert str(caught.value.failed) == "create rule reception"


NUMBERS = ("+1", "1", "+2", "+3", "ext")
numbers = st.lists(st.sampled_from(NUMBERS), max_size=2).map(tuple)
labels = st.sampled_from(("a", "b", "c", "d"))
inbound_trunks = st.builds(
    InboundTrunk,
    name=labels,
    numbers=numbers,
    allowed_numbers=numbers,
    allowed_addresses=st.just(SAFE),
    auth_password=st.sampled_from(("", "p", "q")),
    metadata=st.sampled_from(("", "m")),
    media=st.sampled_from((Media(), Media(codecs=("PCMU",)))),
    managed=st.booleans(),
)
outbound_trunks = st.builds(
    OutboundTrunk, name=labels, address=st.sampled_from(("x", "y")), numbers=numbers, managed=st.booleans()
)
rules = st.builds(
    Rule,
    name=labels,
    kind=st.sampled_from(("direct", "individual", "callee")),
    pin=st.sampled_from(("", "1", "2")),
    room=st.sampled_from(("", "r")),
    randomize=st.sampled_from((None, True, False)),
    trunks=st.lists(st.sampled_from(("a", "b", "c")), max_size=2, unique=True).map(tuple),
    numbers=numbers,
    inbound_numbers=numbers,
    managed=st.booleans(),
)


def _unique(item: Any) -> str:
    return item.name


wanted_states = st.builds(
    State,
    inbound=st.lists(inbound_trunks, max_size=4, unique_by=_unique).map(tuple),
    outbound=st.lists(outbound_trunks, max_size=2, unique_by=_unique).map(tuple),
    rules=st.lists(rules, max_size=4, unique_by=_unique).map(tuple),
)


async def grown(state: State) -> FakeServer:
    """A server that holds as much of a state as it would have taken, and rules only of its own trunks."""
    server = FakeServer(State())
    ids: dict[str, str] = {}
    for item in (*state.inbound, *state.outbound, *state.rules):
        live: Any = item
        if isinstance(item, Rule):
            live = replace(item, trunks=tuple(ids[trunk] for trunk in item.trunks if trunk in ids))
        try:
            created = await server.create(live)
        except Exception:  # noqa: BLE001, S112 -- what the server refuses is not there
            continue
        if isinstance(item, InboundTrunk):
            ids[item.name] = created.id
    return FakeServer(server.state)


@settings(max_examples=100, deadline=None)
@given(wanted_states, wanted_states, st.booleans())
async def test_an_applied_plan_leaves_nothing_to_do(wanted: State, other: State, prune: bool) -> None:
    """From any state to any other: no write is refused, and a second plan is None."""
    server = await grown(other)
    staying = [trunk for trunk in server.state.inbound if not (prune and trunk.managed)]
    names_of_trunks = {trunk.name for trunk in (*wanted.inbound, *staying)}
    wanted = replace(
        wanted,
        rules=tuple(
            replace(rule, trunks=tuple(trunk for trunk in rule.trunks if trunk in names_of_trunks))
            for rule in wanted.rules
        ),
    )
    found = plan(wanted, server.state, prune=prune, allow=ALLOWABLE)
    if found is None or found.refused:
        return
    await apply(found, server)
    assert plan(wanted, server.state) is None


@settings(max_examples=60, deadline=None)
@given(wanted_states, wanted_states, st.integers(0, 8))
async def test_an_apply_that_fails_anywhere_is_finished_by_the_next(
    wanted: State, other: State, fails_at: int
) -> None:
    """Whichever write fails, the error tells all steps, and the next apply goes on from there."""
    server = await grown(other)
    known = {trunk.name for trunk in (*wanted.inbound, *server.state.inbound)}
    wanted = replace(wanted, rules=tuple(rule for rule in wanted.rules if set(rule.trunks) <= known))
    found = plan(wanted, server.state, allow=ALLOWABLE)
    if found is None or found.refused or fails_at >= len(found.steps):
        return
    server.fails_at = fails_at
    with pytest.raises(ApplyError) as caught:
        await apply(found, server)
    assert [each.step for each in caught.value.done] == list(found.steps[:fails_at])
    assert (caught.value.failed, *caught.value.left) == found.steps[fails_at:]
    server.fails_at = None
    rest = plan(wanted, server.state, allow=ALLOWABLE)
    assert rest
    await apply(rest, server)
    assert plan(wanted, server.state) is None


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(5)), st.sets(st.integers(0, 4)))
async def test_any_exchange_of_numbers_and_pins_can_be_carried_out(
    trunks: list[int], pins: list[int], fixed: set[int]
) -> None:
    """Rings of trunks and of rules that pass their numbers and PINs on, some of them renamed on the way."""

    def state(numbers: list[int], codes: list[int], suffix: str) -> State:
        return State(
            tuple(
                replace(CARRIER, name=f"t{i}{'' if i in fixed else suffix}", numbers=(f"+1{numbers[i]}",))
                for i in range(5)
            ),
            (),
            tuple(replace(RULE, name=f"r{i}", pin=str(codes[i]), trunks=()) for i in range(5)),
        )

    server = await grown(state(list(range(5)), list(range(5)), ""))
    server.items = {id: replace(item, managed=True) for id, item in server.items.items()}
    wanted = state(trunks, pins, "-new")
    found = plan(wanted, server.state, prune=True, allow=ALLOWABLE)
    if found:
        await apply(found, server)
    assert plan(wanted, server.state, prune=True) is None
