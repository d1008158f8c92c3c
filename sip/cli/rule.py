"""`sip rule list|show|create|update|delete`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sip.cli.edit import MASK, Spec
from sip.cli.flags import Flag
from sip.cli.objects import app
from sip.cli.trunk import KRISP, MEDIA, METADATA, NAME
from sip.errors import ConfigurationError
from sip.model import AgentDispatch, Rule, RuleKind

_FLAGS = (
    NAME,
    Flag(
        "trunks",
        ("--trunk", "--trunks"),
        "list",
        "An inbound trunk that it takes calls of, by name or id; the only one by default.",
        "TRUNK",
        names_of="inbound",
    ),
    Flag(
        "agents",
        ("--agent", "--agents"),
        "list",
        "The agent that is called into the room, by its agent name.",
        "AGENT",
    ),
    Flag(
        "numbers",
        ("--number", "--numbers"),
        "list",
        "Only calls to this number, letter for letter as the carrier sends it.",
        "NUMBER",
    ),
    Flag(
        "inbound_numbers",
        ("--inbound-number", "--inbound-numbers"),
        "list",
        "Only calls from this number.",
        "NUMBER",
    ),
    Flag(
        "randomize",
        ("--randomize",),
        "switch",
        "End the room's name in something random (individual: yes, callee: no).",
    ),
    Flag("pin", ("--pin",), "secret", "Digits that the caller must type first.", "DIGITS"),
    Flag(
        "hide_phone_number",
        ("--hide-number", "--hide-phone-number"),
        "switch",
        "Keep the caller's number from the others in the room.",
    ),
    Flag("attributes", ("--attribute",), "map", "An attribute of the caller's participant.", "NAME=VALUE"),
    Flag(
        "room_preset",
        ("--room-preset",),
        "text",
        "Preset of the room, from the server's configuration.",
        "NAME",
    ),
    Flag(
        "room_config",
        ("--room-config",),
        "json",
        "Room settings as JSON or a file: empty_timeout, max_participants, egress …",
        "JSON",
    ),
    *MEDIA,
    KRISP,
    dataclasses.replace(METADATA, help="Metadata of the caller's participant."),
)
_EXTRA = (
    Flag(
        "individual",
        ("--individual", "--caller"),
        "text",
        "A room for each caller, with a name that begins so (call-).",
        "PREFIX",
    ),
    Flag("direct", ("--direct",), "text", "All callers into one room.", "ROOM"),
    Flag(
        "callee",
        ("--callee",),
        "text",
        "A room for each number called, with a name that begins so.",
        "PREFIX",
    ),
    Flag("agent_metadata", ("--agent-metadata",), "text", "Metadata for the agent's job.", "TEXT"),
    Flag("any_trunk", ("--any-trunk",), "allow", "Take calls of all trunks, and calls that no trunk let in."),
)
_KINDS: tuple[RuleKind, ...] = ("individual", "direct", "callee")
PREFIX = "call-"
"""How rooms of a new individual rule begin."""


def _adjust(rule: Rule, given: Mapping[str, Any]) -> Rule:
    """The rule with its kind and its agent's metadata."""
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) > 1:
        raise ConfigurationError(f"--{kinds[0]} and --{kinds[1]} were both given", "a rule is of one kind")
    if kinds:
        kept = rule.randomize if rule.kind == kinds[0] or "randomize" in given else None
        rule = dataclasses.replace(rule, kind=kinds[0], room=given[kinds[0]], randomize=kept)
    if "agent_metadata" in given:
        if len(rule.agents) != 1:
            raise ConfigurationError(
                "--agent-metadata needs one agent", f"there are {len(rule.agents)}", "Name it with --agent"
            )
        agent = AgentDispatch(rule.agents[0].name, given["agent_metadata"])
        rule = dataclasses.replace(rule, agents=(agent,))
    return rule


def _row(rule: Rule, names: Mapping[str, str]) -> Sequence[object]:
    room = (
        rule.room
        if rule.kind == "direct"
        else f"{rule.room}<{'caller' if rule.kind == 'individual' else 'called'}>"
    )
    return (
        rule.name,
        rule.id,
        room,
        [agent.name for agent in rule.agents] or "(none)",
        [names.get(trunk, f"{trunk} (gone)") for trunk in rule.trunks] or "(any)",
        rule.numbers or "(any)",
        rule.inbound_numbers or "(any)",
        MASK if rule.pin else "",
        rule.managed,
    )


RULE = Spec(
    "rule",
    Rule(room=PREFIX),
    "SIPDispatchRuleID",
    _FLAGS,
    _EXTRA,
    _adjust,
    "any_trunk",
    ("name", "id", "room", "agents", "trunks", "numbers", "callers", "pin", "managed"),
    _row,
)

rule = app(
    RULE,
    "dispatch rule",
    "rule",
    "Dispatch rules: which room a call gets, and which agent is called into it.",
    {
        "list": ("list", "list --json"),
        "show": ("show reception", "show reception --json"),
        "create": (
            "create --name reception --trunk carrier --agent phone-agent",
            "create --name lobby --direct lobby --pin 1234 --trunk carrier --agent phone-agent",
            "create dispatch-rule.json --trunk carrier",
        ),
        "update": (
            'update reception --agent other-agent --agent-metadata \'{"language": "de"}\'',
            "update reception --callee room- --clear pin",
        ),
        "delete": ("delete reception", "delete SDR_abc --yes"),
    },
    {
        "create": "Without --individual, --direct or --callee each caller gets a room named call-NUMBER_….",
        "update": (
            "--number and its like replace the whole list; --add-… and --remove-… change single entries."
            " --attribute sets single ones. Live calls keep the room that they have."
        ),
    },
)
