"""What livekit-server decides about a call; the proof against a real one is in tests/stack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.dispatch.decide import Call, decide, normalise, priority, resolved, rule_conflict, same_number
from sip.model import InboundTrunk, Rule, State

CALL = Call("192.0.2.7", "+15550199", "+15550100", "carrier.example")
TRUNK = InboundTrunk("carrier", "ST_1", ("+1 (555) 0100",), ("192.0.2.0/24",))
RULE = Rule("agent", "SDR_1", "direct", "room", trunks=("ST_1",))

HIDDEN = "sip_35a502bb1c7e2033"
"""The first 16 digits of the SHA-256 of +15550199."""


def state(*items: InboundTrunk | Rule) -> State:
    """A state of these objects."""
    return State(
        inbound=tuple(item for item in items if isinstance(item, InboundTrunk)),
        rules=tuple(item for item in items if isinstance(item, Rule)),
    )


def rule_of(*rules: Rule, call: Call = CALL) -> str:
    """Id of the rule that takes the call by TRUNK."""
    found = decide(state(TRUNK, *rules), call).rule
    return found.id if found else ""


def test_numbers_of_trunks_are_compared_in_any_spelling() -> None:
    """Blanks, dashes, brackets and the plus sign do not count; words do, letter for letter."""
    assert decide(state(TRUNK, RULE), CALL).room == "room"
    assert normalise("1-555 (0100)") == "+15550100"
    assert normalise("") == "" and normalise("alice") == "alice"
    assert normalise("\u0661") == "\u0661", "only ASCII digits make a number"
    assert not same_number("alice", ("Alice",))


def test_numbers_of_rules_are_compared_letter_for_letter() -> None:
    """A plus sign too few, and the rule does not take the call."""
    assert rule_of(replace(RULE, numbers=("15550100",))) == ""
    assert rule_of(replace(RULE, inbound_numbers=("+15550199",))) == "SDR_1"


@pytest.mark.parametrize(
    ("masks", "source", "host", "allowed"),
    [
        (("192.0.2.9/24",), "192.0.2.200", "", True),
        (("192.0.2.0/25",), "192.0.2.200", "", False),
        (("192.0.2.0/255.255.255.0",), "192.0.2.7", "", False),
        (("192.0.2.0/024",), "192.0.2.7", "", False),
        (("300.1.1.1",), "192.0.2.7", "", False),
        (("bad mask",), "192.0.2.7", "", True),
        (("bad mask", "10.0.0.0/8"), "192.0.2.7", "", False),
        (("carrier.example",), "192.0.2.7", "carrier.example", True),
        (("carrier.example",), "192.0.2.7", "Carrier.example", False),
        (("::/0",), "192.0.2.7", "", False),
        (("0.0.0.0/0",), "::ffff:192.0.2.7", "", False),
        (("[2001:db8::7]",), "2001:db8::7", "", False),
        (("2001:DB8:0::/32",), "2001:db8::7", "", True),
        (("fe80::/10",), "fe80::1%eth0", "", False),
        (("fe80::1%eth0",), "fe80::1%eth0", "", True),
        (("10.0.0.0/8",), "", "", True),
    ],
)
def test_addresses(masks: tuple[str, ...], source: str, host: str, allowed: bool) -> None:
    """Networks as Go's netip reads them, From's host as it stands, malformed entries not at all."""
    call = replace(CALL, source=source, caller_host=host)
    trunk = replace(TRUNK, allowed_addresses=masks)
    assert (decide(state(trunk, RULE), call).trunk is not None) is allowed


def test_a_trunk_with_the_number_goes_first() -> None:
    """Before trunks for any number; two of one sort are an error, of which the server tells nothing else."""
    any_number = InboundTrunk("any", "ST_2", allowed_addresses=("192.0.2.0/24",))
    rules = (RULE, replace(RULE, id="SDR_2", trunks=("ST_2",)))
    assert decide(state(any_number, TRUNK, *rules), CALL).trunk == TRUNK
    assert decide(state(any_number, *rules), CALL).trunk == any_number
    for one in (any_number, TRUNK):
        clash = decide(state(one, replace(one, id="ST_3"), *rules), CALL)
        assert (clash.outcome, clash.trunk) == ("trunk conflict", None)
        assert [trunk.id for trunk in clash.conflict] == [one.id, "ST_3"]


def test_one_number_for_some_callers_and_for_all() -> None:
    """The server accepts both trunks, and then no call of those callers."""
    some = replace(TRUNK, id="ST_2", allowed_numbers=("15550199",))
    assert decide(state(TRUNK, some, RULE), CALL).outcome == "trunk conflict"
    assert decide(state(TRUNK, some, RULE), replace(CALL, caller="7")).trunk == TRUNK


def test_a_rule_of_the_trunk_goes_before_one_for_all() -> None:
    """Whatever their priorities; and without a trunk only rules for all are left."""
    for_all = replace(RULE, id="SDR_0", trunks=(), numbers=("+15550100",), inbound_numbers=("+15550199",))
    assert rule_of(for_all, RULE) == "SDR_1"
    found = decide(state(for_all, RULE), CALL)
    assert (found.trunk, found.rule) == (None, for_all)
    assert decide(state(RULE), CALL).outcome == "nothing"


def test_priorities() -> None:
    """Both numbers, one of them, none; within each PIN before open, and direct, individual, callee."""
    numbers, callers = ("+15550100",), ("+15550199",)
    order = [
        replace(RULE, numbers=numbers, inbound_numbers=callers, pin="1"),
        replace(RULE, numbers=numbers, inbound_numbers=callers),
        replace(RULE, numbers=numbers, pin="1"),
        replace(RULE, numbers=numbers, pin="1", kind="individual"),
        replace(RULE, inbound_numbers=callers, pin="1", kind="callee"),
        replace(RULE, inbound_numbers=callers),
        replace(RULE, pin="1"),
        replace(RULE),
        replace(RULE, kind="individual"),
        replace(RULE, kind="callee"),
    ]
    assert [priority(rule) for rule in order] == [0, 100, 1000, 1001, 1002, 1100, 2000, 2100, 2101, 2102]


def test_equal_priorities() -> None:
    """The lesser room name goes first, then the lesser id."""
    one = replace(RULE, id="SDR_9", room="a", numbers=("+15550100",))
    other = replace(RULE, id="SDR_1", room="b", inbound_numbers=("+15550199",))
    assert rule_of(other, one) == "SDR_9"
    assert rule_of(replace(other, room="a"), one) == "SDR_1"


def test_pins() -> None:
    """Asked for by the best rule; what was typed leaves rules with that PIN, `#` alone open ones."""
    closed = replace(RULE, id="SDR_2", pin="1234")
    both = state(TRUNK, RULE, closed)
    outcomes = {typed: decide(both, replace(CALL, pin=typed)) for typed in (None, "1234", "9", "")}
    assert [each.outcome for each in outcomes.values()] == ["pin", "room", "nothing", "room"]
    assert outcomes[""].rule == RULE and outcomes["1234"].rule == closed


def test_rules_that_collide() -> None:
    """Two for the same trunk, numbers and PIN, however spelt, keep every call of that trunk out."""
    twin = replace(RULE, id="SDR_2", name="twin")
    clash = decide(state(TRUNK, RULE, twin), CALL)
    assert (clash.outcome, clash.conflict) == ("rule conflict", (RULE, twin))
    assert rule_conflict([RULE, replace(twin, pin="1")]) is None
    assert rule_conflict([replace(RULE, numbers=("+1", "1"))]) is not None
    other_trunk = replace(RULE, trunks=("ST_2",))
    assert decide(state(TRUNK, RULE, other_trunk, replace(other_trunk, id="SDR_3")), CALL).room == "room"


@pytest.mark.parametrize(
    ("rule", "room", "random", "identity"),
    [
        (Rule(kind="direct", room="desk"), "desk", False, "sip_+15550199"),
        (Rule(kind="individual", room="call"), "call_+15550199", True, "sip_+15550199"),
        (Rule(kind="individual", randomize=False), "+15550199", False, "sip_+15550199"),
        (Rule(kind="callee", room="line"), "line_+15550100", False, "sip_+15550199"),
        (Rule(kind="callee", randomize=True), "+15550100", True, "sip_+15550199"),
        (Rule(kind="individual", room="call", hide_phone_number=True), "call_0199", True, HIDDEN),
    ],
)
def test_rooms(rule: Rule, room: str, random: bool, identity: str) -> None:
    """Names of room and participant by kind of rule; a hidden number leaves its last four digits."""
    found = decide(state(TRUNK, replace(rule, id="SDR_1")), CALL)
    assert (found.room, found.random, found.identity) == (room, random, identity)


def test_hidden_numbers_that_the_server_cannot_bear() -> None:
    """No number at all, and one that is cut within a character."""
    hidden = state(TRUNK, replace(RULE, hide_phone_number=True))
    assert decide(hidden, replace(CALL, caller="")).outcome == "crash"
    assert decide(hidden, replace(CALL, caller="Zoë")).outcome == "malformed"
    assert decide(hidden, replace(CALL, caller="Zoë Ann")).outcome == "room"


def test_credentials() -> None:
    """A trunk asks where it has both user and password."""
    assert decide(state(replace(TRUNK, auth_username="u", auth_password="p")), CALL).user == "u"
    assert decide(state(replace(TRUNK, auth_username="u")), CALL).user == ""
    assert decide(state(replace(TRUNK, auth_password="p")), CALL).user == ""


def test_a_source_that_is_no_address() -> None:
    """The server refuses to think about it."""
    assert decide(state(TRUNK, RULE), replace(CALL, source="192.0.2.07")).outcome == "bad source"


def test_a_wanted_state_gets_ids() -> None:
    """Names stand in for ids that are not there yet, also where rules speak of trunks."""
    wanted = state(replace(TRUNK, id=""), replace(RULE, id="", trunks=("carrier", "elsewhere")))
    ready = resolved(wanted)
    assert ready.inbound[0].id == "carrier"
    assert (ready.rules[0].id, ready.rules[0].trunks) == ("agent", ("carrier", "elsewhere"))
    live = resolved(state(TRUNK, replace(RULE, trunks=("carrier",))))
    assert live.rules[0].trunks == ("ST_1",)
    assert decide(ready, CALL).room == decide(live, CALL).room == "room"
