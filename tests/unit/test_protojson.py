"""LiveKit's JSON of trunks and rules, in all the shapes that people have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.api import durations, protojson, wire
from sip.api.wire import ApiItem, ApiKind
from sip.errors import ConfigurationError
from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Rule
from tests.unit.json_kit import SHAPES


@pytest.mark.parametrize(("kind", "document", "wanted"), SHAPES.values(), ids=SHAPES)
def test_every_shape_is_taken(kind: ApiKind, document: Any, wanted: ApiItem) -> None:
    """The documented examples, lk's output and our own mean what they say."""
    (found,) = protojson.documents(json.dumps(document), kind)
    assert wire.read(protojson.read(found, kind)) == wanted
    assert protojson.identity(found) == wanted.id


WRONG: list[tuple[ApiKind, str, str]] = [
    ("inbound", "{", "line 1, column 2"),
    ("inbound", "[1]", "a number"),
    ("inbound", '{"name": "a", "name": "b"}', "'name' stands twice"),
    ("inbound", '{"allowed_address": ["192.0.2.1"]}', "did you mean allowed_addresses"),
    ("inbound", '{"allowedAddresses": [], "allowed_addresses": []}', "two spellings"),
    ("inbound", '{"address": "x.example"}', "a field of outbound trunks"),
    ("inbound", '{"outbound_address": "x"}', "old trunk for both directions"),
    ("inbound", '{"numbers": "+1"}', r'write \["\+1"\]'),
    ("inbound", '{"numbers": [15550100]}', 'write "15550100"'),
    ("inbound", '{"ringing_timeout": "soon"}', "30s"),
    ("inbound", '{"include_headers": "most"}', "SIP_NO_HEADERS"),
    ("inbound", '{"include_headers": 9}', "SIP_NO_HEADERS"),
    ("inbound", '{"krisp_enabled": "yes"}', "true or false"),
    ("inbound", '{"headers": {"X-A": 1}}', "not text"),
    ("inbound", '{"headers": ["X-A"]}', "X-Name"),
    ("inbound", '{"media": {"codecs": ["PCMU"]}}', r"media.codecs\[0\] is text, not an object"),
    ("inbound", '{"trunk": {}, "name": "x"}', "Put all fields inside 'trunk'"),
    ("inbound", '{"auth_password": "***"}', "--show-secrets"),
    ("rule", '{"agents": [{"agentName": "a"}]}', "did you mean room_config.agents"),
    ("rule", '{"agent_name": "a"}', r"room_config.agents\[\].agent_name"),
    ("rule", '{"roomPrefix": "call-"}', "rule.dispatch_rule_individual.room_prefix"),
    ("rule", '{"trunks": ["a"]}', "trunk_ids"),
    ("rule", '{"rule": {"dispatchRuleDirect": {}, "dispatchRuleCallee": {}}}', "one kind"),
    ("rule", '{"room_config": {"empty_timeout": -1}}', "whole number"),
    ("rule", '{"rule": {"dispatchRuleIndividual": "call-"}}', "not an object"),
    ("rule", "[" * 100_000, "too deeply"),
]


@pytest.mark.parametrize(("kind", "text", "mend"), WRONG, ids=[text[:40] for _, text, _ in WRONG])
def test_what_is_wrong_is_named_with_the_mend(kind: ApiKind, text: str, mend: str) -> None:
    """An error names the place, and the nearest thing that would be right."""
    with pytest.raises(ConfigurationError, match=mend):
        for document in protojson.documents(text, kind):
            protojson.read(document, kind)


def test_all_problems_are_said_at_once() -> None:
    """Three wrong fields, one error."""
    with pytest.raises(ConfigurationError) as caught:
        protojson.read({"a": 1, "numbers": 2, "krispEnabled": 3}, "inbound")
    assert caught.value.why.count(";") == 2


TEXT = st.text(max_size=8)
MAPS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=2)
LISTS = st.lists(TEXT, max_size=2).map(tuple)
TIMES = st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)
MEDIAS = st.builds(
    Media,
    codecs=st.lists(st.sampled_from(["PCMU", "G722/8000"]), max_size=2).map(tuple),
    only_listed_codecs=st.booleans(),
    encryption=st.sampled_from(["disable", "allow", "require"]),
    media_timeout=TIMES,
)
INBOUNDS = st.builds(
    InboundTrunk,
    name=TEXT,
    id=st.just(""),
    numbers=LISTS,
    allowed_addresses=LISTS,
    allowed_numbers=LISTS,
    auth_username=TEXT,
    auth_password=TEXT,
    auth_realm=TEXT,
    headers=MAPS,
    headers_to_attributes=MAPS,
    attributes_to_headers=MAPS,
    include_headers=st.sampled_from(["none", "x", "all"]),
    ringing_timeout=TIMES,
    ringing_timeout_status=st.sampled_from([0, 480, 486]),
    max_call_duration=TIMES,
    krisp_enabled=st.booleans(),
    media=MEDIAS,
    metadata=TEXT,
    managed=st.booleans(),
)
OUTBOUNDS = st.builds(
    OutboundTrunk,
    name=TEXT,
    id=st.just(""),
    address=TEXT,
    transport=st.sampled_from(["auto", "udp", "tcp", "tls"]),
    numbers=LISTS,
    auth_username=TEXT,
    auth_password=TEXT,
    from_host=TEXT,
    destination_country=TEXT,
    headers=MAPS,
    headers_to_attributes=MAPS,
    attributes_to_headers=MAPS,
    include_headers=st.sampled_from(["none", "x", "all"]),
    media=MEDIAS,
    metadata=TEXT,
    managed=st.booleans(),
)
AGENTS = st.lists(st.builds(AgentDispatch, TEXT, TEXT), max_size=2, unique_by=lambda agent: agent.name).map(
    tuple
)
RULES = st.builds(
    Rule,
    name=TEXT,
    id=st.just(""),
    kind=st.sampled_from(["direct", "individual", "callee"]),
    room=TEXT,
    pin=TEXT,
    randomize=st.sampled_from([None, True, False]),
    trunks=LISTS,
    numbers=LISTS,
    inbound_numbers=LISTS,
    agents=AGENTS,
    hide_phone_number=st.booleans(),
    attributes=MAPS,
    room_preset=TEXT,
    room_config=st.sampled_from([{}, {"empty_timeout": 5}, {"emptyTimeout": 5, "metadata": "m"}]),
    krisp_enabled=st.booleans(),
    media=MEDIAS,
    metadata=TEXT,
    managed=st.booleans(),
)


@given(INBOUNDS | OUTBOUNDS | RULES)
def test_a_value_goes_round(item: ApiItem) -> None:
    """Model, message, JSON, message, model: nothing is lost, and the mark is where it was."""
    canonical = wire.canonical(item)
    message = wire.MESSAGES[wire.kind_of(item)]()
    wire.write(message, item)
    assert wire.read(message) == canonical == wire.canonical(canonical)
    document = protojson.dump(message, show_secrets=True)
    assert document.get("managed", False) == canonical.managed
    again = wire.read(protojson.read(json.loads(json.dumps(document)), wire.kind_of(item)))
    assert wire.changed(again, canonical) <= {"managed"}


@given(st.one_of(st.tuples(INBOUNDS, INBOUNDS), st.tuples(OUTBOUNDS, OUTBOUNDS), st.tuples(RULES, RULES)))
def test_a_change_writes_what_differs(pair: tuple[ApiItem, ApiItem]) -> None:
    """Writing only the differing fields onto the old message gives the new value."""
    old, new = map(wire.canonical, pair)
    message = wire.MESSAGES[wire.kind_of(old)]()
    wire.write(message, old)
    wire.write(message, new, wire.changed(old, new))
    assert wire.read(message) == new


def test_the_older_encryption_field_counts() -> None:
    """`media_encryption` is read where `media` says nothing, and written with it."""
    message = protojson.read({"media_encryption": "allow"}, "inbound")
    assert wire.read(message) == InboundTrunk(media=Media(encryption="allow"))
    wire.write(message, InboundTrunk(media=Media(encryption="disable")), {"media"})
    assert wire.read(message).media.encryption == "disable"
    protojson.apply({"mediaEncryption": 2}, message)
    assert wire.read(message).media.encryption == "require"


def test_masked_secrets_are_kept() -> None:
    """JSON that shows `***` changes neither password nor PIN."""
    trunk = protojson.read({"auth_username": "u", "auth_password": "p"}, "outbound")
    assert protojson.dump(trunk)["auth_password"] == "***"
    protojson.apply(protojson.dump(trunk) | {"name": "n"}, trunk)
    assert (trunk.name, wire.read(trunk)) == (
        "n",
        OutboundTrunk(name="n", auth_username="u", auth_password="p"),
    )
    rule = protojson.read({"rule": {"dispatchRuleDirect": {"roomName": "r", "pin": "1"}}}, "rule")
    assert "1" not in json.dumps(protojson.dump(rule))
    protojson.apply(protojson.dump(rule), rule)
    assert wire.read(rule) == Rule(kind="direct", room="r", pin="1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("", None),
        ("soon", None),
        ("-1s", None),
        ("1s!", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    """Times are read as Go and protobuf write them."""
    assert durations.seconds(text) == seconds
