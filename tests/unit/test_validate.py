"""What is wrong with trunks, rules and registrations, before a server is asked."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sip.checks.validate import OPEN_TRUNK, RULE_WITHOUT_TRUNKS, open_trunk, problems
from sip.model import AgentDispatch, InboundTrunk, Item, Media, OutboundTrunk, Registration, Rule

INBOUND = InboundTrunk(name="in", numbers=("+15550100",), allowed_addresses=("203.0.113.0/24",))
OUTBOUND = OutboundTrunk(name="out", address="sip.carrier.example", numbers=("+15550100",))
RULE = Rule(name="rule", trunks=("ST_one",), agents=(AgentDispatch("agent"),), room="call-")
REGISTRATION = Registration("desk", registrar="pbx.example", username="1001")
GOOD: list[Item] = [
    INBOUND,
    InboundTrunk(numbers=("1001",), auth_username="u", auth_password="p"),
    InboundTrunk(allowed_addresses=("2001:db8::/32", "::1", "10.0.0.1/8")),
    InboundTrunk(allowed_addresses=("192.0.2.1",), headers={"X-A": "b"}, media=Media(("PCMU/8000", "G722"))),
    OUTBOUND,
    OutboundTrunk(address="192.0.2.1:5070", numbers=("*",), transport="tcp"),
    OutboundTrunk(address="[2001:db8::1]:5061", numbers=("+1",), transport="tls", destination_country="US"),
    RULE,
    dataclasses.replace(RULE, kind="direct", room="lobby", pin="1234", numbers=("+15550100", "1001")),
    dataclasses.replace(RULE, room_config={"empty_timeout": 5}),
    REGISTRATION,
    dataclasses.replace(REGISTRATION, registrar="192.0.2.1:5062", transport="tcp"),
]


@pytest.mark.parametrize("item", GOOD, ids=lambda item: type(item).__name__)
def test_nothing_is_wrong_with_what_works(item: Item) -> None:
    """Objects that work have no problem of any severity."""
    assert problems(item) == []


BAD: list[tuple[Item, dict[str, object], str, str]] = [
    (INBOUND, {"numbers": ("*",)}, "numbers", "Leave numbers empty"),
    (INBOUND, {"numbers": ("sip:+15550100@x.example",)}, "numbers", r"Write \+15550100"),
    (INBOUND, {"numbers": ("+1,+2",)}, "numbers", "own entry"),
    (INBOUND, {"numbers": ("",)}, "numbers", "Remove it"),
    (INBOUND, {"allowed_addresses": ("203.0.113.7:5060",)}, "allowed_addresses", "Write 203.0.113.7:"),
    (INBOUND, {"allowed_addresses": ("sip:203.0.113.7",)}, "allowed_addresses", "Write 203.0.113.7:"),
    (INBOUND, {"allowed_addresses": ("203.0.113.7, 203.0.113.8",)}, "allowed_addresses", "own entry"),
    (INBOUND, {"allowed_addresses": ("203.0.*",)}, "allowed_addresses", r"Write 203.0.0.0/16"),
    (INBOUND, {"allowed_addresses": ("203.0.113.0-203.0.113.11",)}, "allowed_addresses", "203.0.113.8/30"),
    (INBOUND, {"allowed_addresses": ("sip.carrier.example",)}, "allowed_addresses", "its IP addresses"),
    (INBOUND, {"allowed_addresses": ("203.0.113.300",)}, "allowed_addresses", r"203.0.113.7"),
    (INBOUND, {"auth_username": "u"}, "auth_password", "Set auth_password"),
    (INBOUND, {"auth_password": "p"}, "auth_username", "Set auth_username"),
    (INBOUND, {"headers": {"Call-ID": "x"}}, "headers", "X-Call-id"),
    (INBOUND, {"headers": {"a b": "x"}}, "headers", "Write a-b"),
    (INBOUND, {"headers": {"X-A": "a\r\nEvil: b"}}, "headers", "Remove it"),
    (INBOUND, {"headers_to_attributes": {"X:": "x"}}, "headers_to_attributes", "Write X"),
    (INBOUND, {"attributes_to_headers": {"x": ""}}, "attributes_to_headers", "X-Account"),
    (INBOUND, {"ringing_timeout_status": 200}, "ringing_timeout_status", "480"),
    (INBOUND, {"ringing_timeout": -1}, "ringing_timeout", "from 0"),
    (INBOUND, {"media": Media(("PC MU",))}, "media.codecs", "PCMU/8000"),
    (INBOUND, {"media": Media(("PCMU/fast",))}, "media.codecs", "PCMU/8000"),
    (INBOUND, {"media": Media(only_listed_codecs=True)}, "media.codecs", "List one"),
    (INBOUND, {"media": Media(media_timeout=601)}, "media.media_timeout", "600"),
    (OUTBOUND, {"address": ""}, "address", "HOST"),
    (OUTBOUND, {"address": "sip:carrier.example"}, "address", "Write carrier.example"),
    (OUTBOUND, {"address": "carrier.example;transport=TLS"}, "address", "transport to tls"),
    (OUTBOUND, {"address": "me@carrier.example"}, "address", "Write carrier.example"),
    (OUTBOUND, {"address": "carrier.example:sip"}, "address", "65535"),
    (OUTBOUND, {"address": "carrier_ example"}, "address", "HOST"),
    (OUTBOUND, {"address": "192.0.2.256"}, "address", "255"),
    (OUTBOUND, {"from_host": "sip:me.example"}, "from_host", "Write me.example"),
    (OUTBOUND, {"numbers": ()}, "numbers", r"`\*` for any"),
    (OUTBOUND, {"auth_username": "u"}, "auth_password", "Set auth_password"),
    (OUTBOUND, {"destination_country": "Germany"}, "destination_country", "DE"),
    (RULE, {"kind": "direct", "room": ""}, "room", "Name it"),
    (RULE, {"kind": "direct", "randomize": True}, "randomize", "Leave it out"),
    (RULE, {"pin": "secret"}, "pin", "digits"),
    (RULE, {"numbers": ("+1 555 0100",)}, "numbers", r"Write \+15550100"),
    (RULE, {"inbound_numbers": ("*",)}, "inbound_numbers", "empty"),
    (RULE, {"agents": (AgentDispatch(""),)}, "agents", "agent_name"),
    (RULE, {"attributes": {"": "x"}}, "attributes", "NAME=VALUE"),
    (RULE, {"room_config": {"agents": []}}, "room_config", "own agents"),
    (RULE, {"room_config": {"emptyTimeout": 1}}, "room_config", "empty_timeout"),
    (REGISTRATION, {"registrar": ""}, "registrar", "HOST"),
    (REGISTRATION, {"username": "1001@pbx"}, "username", "before the @"),
    (REGISTRATION, {"expires": 1}, "expires", "300"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "change", "field", "mend"), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_work_is_an_error_with_its_mend(
    item: Item, change: dict[str, object], field: str, mend: str
) -> None:
    """One change to a good object gives one error, of that field, with the mend."""
    errors = [each for each in problems(dataclasses.replace(item, **change)) if each.severity == "error"]  # pyright: ignore[reportArgumentType] # a table of changes
    assert [each.field for each in errors] == [field]
    assert re.search(mend, errors[0].mend), errors[0]


WARNED: list[tuple[Item, dict[str, object], str]] = [
    (RULE, {"numbers": ("+1", "+1")}, "numbers"),
    (INBOUND, {"numbers": ("4155550100",)}, "numbers"),
    (INBOUND, {"numbers": ("+1", "+1")}, "numbers"),
    (INBOUND, {"media": Media(("opus/48000",))}, "media.codecs"),
    (OUTBOUND, {"address": "carrier.example:5061"}, "transport"),
    (OUTBOUND, {"transport": "udp", "media": Media(encryption="require")}, "media.encryption"),
    (RULE, {"agents": ()}, "agents"),
    (RULE, {"attributes": {"sip.callID": "x"}}, "attributes"),
]


@pytest.mark.parametrize(("item", "change", "field"), WARNED, ids=lambda value: str(value)[:40])
def test_what_is_seldom_meant_is_a_warning(item: Item, change: dict[str, object], field: str) -> None:
    """It is said, and does not stop anything."""
    found = problems(dataclasses.replace(item, **change))  # pyright: ignore[reportArgumentType] # a table of changes
    assert [(each.field, each.severity) for each in found] == [(field, "warning")]


def test_open_doors_are_unsafe() -> None:
    """An open trunk and a rule without trunks are unsafe, and have names of their own."""
    for change in (
        {"allowed_addresses": ()},
        {"allowed_addresses": ("0.0.0.0/0",)},
        {"allowed_addresses": ("::/0", "192.0.2.1")},
    ):
        trunk = dataclasses.replace(INBOUND, **change)
        assert open_trunk(trunk)
        assert [each.name for each in problems(trunk) if each.severity == "unsafe"] == [OPEN_TRUNK]
    assert not open_trunk(
        dataclasses.replace(INBOUND, allowed_addresses=(), auth_username="u", auth_password="p")
    )
    found = problems(dataclasses.replace(RULE, trunks=()))
    assert [(each.name, each.severity) for each in found] == [(RULE_WITHOUT_TRUNKS, "unsafe")]


def test_a_password_is_in_no_problem() -> None:
    """Problems are printed: they quote no secret."""
    bad = InboundTrunk(auth_password="s3cret-word", headers={"From": "s3cret-header"})
    assert "s3cret" not in " ".join(map(str, problems(bad)))
    assert "4x711" not in " ".join(map(str, problems(dataclasses.replace(RULE, pin="4x711"))))
