"""What is wrong with a trunk, a rule or a registration, before any server is asked.

livekit-server takes much that cannot work or that lets strangers in; its own refusals are here too, with
the mend. What concerns several objects at once (a number on two trunks, a rule behind another) is a plan's
matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sip.checks import values as check
from sip.checks.problem import Problem, Severity
from sip.model import InboundTrunk, Item, OutboundTrunk, Registration, Rule

__all__ = ["OPEN_TRUNK", "RULE_WITHOUT_TRUNKS", "Problem", "Severity", "open_trunk", "problems"]

OPEN_TRUNK, RULE_WITHOUT_TRUNKS = "open-trunk", "rule-without-trunks"

_ROOM_FIELDS: list[str] = [
    "name",
    "empty_timeout",
    "departure_timeout",
    "max_participants",
    "metadata",
    "egress",
    "min_playout_delay",
    "max_playout_delay",
    "sync_streams",
    "tags",
]


def problems(item: Item) -> list[Problem]:
    """All problems of one object, errors first."""
    if isinstance(item, InboundTrunk):
        found = [*_inbound(item), *_headers(item), *check.media_values(item.media)]
    elif isinstance(item, OutboundTrunk):
        found = [*_outbound(item), *_headers(item), *check.media_values(item.media)]
    elif isinstance(item, Rule):
        found = [*_rule(item), *check.media_values(item.media)]
    else:
        found = list(_registration(item))
    order = ("error", "unsafe", "warning")
    return sorted(found, key=lambda problem: order.index(problem.severity))


def open_trunk(trunk: InboundTrunk) -> bool:
    """Whether anybody who knows a number gets in: neither the source nor a password is asked for."""
    closed = [address for address in trunk.allowed_addresses if not check.is_everybody(address)]
    everybody = len(closed) < len(trunk.allowed_addresses)
    return not (trunk.auth_username and trunk.auth_password) and (not closed or everybody)


def _inbound(trunk: InboundTrunk) -> Iterator[Problem]:
    for number in trunk.numbers:
        if number.strip() == "*":
            yield Problem(
                "numbers",
                "`*` is taken letter for letter here, and no call has it",
                "Leave numbers empty to take any, and set allowed_addresses or a password",
            )
        else:
            yield from check.number("numbers", number)
    for number in trunk.allowed_numbers:
        yield from check.number("allowed_numbers", number)
    yield from check.twice("numbers", trunk.numbers)
    yield from check.twice("allowed_numbers", trunk.allowed_numbers)
    for address in trunk.allowed_addresses:
        yield from check.allowed_address(address)
    if bool(trunk.auth_username) != bool(trunk.auth_password):
        missing, given = (
            ("auth_password", "user name") if trunk.auth_username else ("auth_username", "password")
        )
        yield Problem(missing, f"a {given} alone is never asked for: anybody gets in", f"Set {missing} too")
    if not (trunk.numbers or trunk.allowed_addresses or trunk.auth_username or trunk.auth_password):
        yield Problem(
            "allowed_addresses",
            "the trunk has no numbers, addresses or password, and the server refuses it",
            "Set allowed_addresses to the addresses of your carrier, or auth_username and auth_password",
        )
    elif open_trunk(trunk):
        yield Problem(
            "allowed_addresses",
            "anybody on the internet can call in: neither the source address nor a password is asked for",
            "Set allowed_addresses to the addresses of your carrier, or auth_username and auth_password",
            "unsafe",
            OPEN_TRUNK,
        )
    yield from check.not_negative("ringing_timeout", trunk.ringing_timeout)
    yield from check.not_negative("max_call_duration", trunk.max_call_duration)
    if trunk.ringing_timeout_status and not 400 <= trunk.ringing_timeout_status <= 699:
        yield Problem(
            "ringing_timeout_status",
            f"{trunk.ringing_timeout_status} is not the SIP code of a refusal",
            "Use one from 400 to 699, such as 480 or 486",
        )


def _outbound(trunk: OutboundTrunk) -> Iterator[Problem]:
    yield from check.host_and_port("address", trunk.address, required=True)
    if trunk.from_host:
        yield from check.host_and_port("from_host", trunk.from_host)
    if not trunk.numbers:
        yield Problem(
            "numbers",
            "the trunk has no caller number, and the server refuses it",
            "Set numbers to those that you may call from, or to `*` for any",
        )
    for number in trunk.numbers:
        if number.strip() != "*":
            yield from check.number("numbers", number)
    yield from check.twice("numbers", trunk.numbers)
    if bool(trunk.auth_username) != bool(trunk.auth_password):
        missing = "auth_password" if trunk.auth_username else "auth_username"
        yield Problem(missing, "a user name and a password go together", f"Set {missing} too")
    if trunk.destination_country and not re.fullmatch(r"[A-Za-z]{2}", trunk.destination_country):
        yield Problem(
            "destination_country",
            f"{trunk.destination_country!r} is no country code",
            "Use two letters of ISO 3166-1, such as US or DE",
        )
    port = trunk.address.rpartition(":")[2]
    if trunk.transport != "tls" and port == "5061":
        yield Problem(
            "transport", "port 5061 is that of TLS", "Set transport to tls, or use port 5060", "warning"
        )
    if trunk.media.encryption != "disable" and trunk.transport in ("udp", "tcp"):
        yield Problem(
            "media.encryption",
            f"the keys of the audio travel in the clear over {trunk.transport}",
            "Set transport to tls",
            "warning",
        )


def _rule(rule: Rule) -> Iterator[Problem]:
    if rule.kind == "direct" and not rule.room:
        yield Problem(
            "room", "a direct rule needs the name of its room", "Name it, or use an individual rule"
        )
    if rule.kind == "direct" and rule.randomize is not None:
        yield Problem(
            "randomize",
            "the room of a direct rule has one fixed name",
            "Leave it out, or use an individual rule",
        )
    if rule.pin and not re.fullmatch(r"[0-9]+", rule.pin):
        yield Problem("pin", "callers can type digits only", "Use digits")
    if not rule.trunks:
        yield Problem(
            "trunks",
            "without trunks it takes any call, also one that no trunk let in: the addresses and passwords of"
            " trunks do not count",
            "Name the trunks that it takes calls from",
            "unsafe",
            RULE_WITHOUT_TRUNKS,
        )
    for name in ("numbers", "inbound_numbers"):
        numbers: tuple[str, ...] = getattr(rule, name)
        for number in numbers:
            if number.strip() == "*":
                yield Problem(
                    name,
                    "`*` is taken letter for letter, and no call has it",
                    f"Leave {name} empty to take any",
                )
            else:
                yield from check.number(name, number, exact=True)
        yield from check.twice(name, numbers)
    yield from check.twice("trunks", rule.trunks)
    yield from check.twice("agents", tuple(agent.name for agent in rule.agents))
    if any(not agent.name.strip() for agent in rule.agents):
        yield Problem("agents", "an agent has no name", "Give the agent_name that your worker registers")
    if not rule.agents:
        yield Problem(
            "agents",
            "no agent is called into the room: only a worker without an agent name would come",
            "Name your agent; the caller hears it ring until somebody speaks",
            "warning",
        )
    for key in rule.attributes:
        if not key.strip():
            yield Problem("attributes", "an attribute has no name", "Write NAME=VALUE")
        elif key.startswith("sip."):
            yield Problem(
                "attributes",
                f"{key!r} is set by the SIP service itself",
                "Choose a name that does not begin with sip.",
                "warning",
            )
    yield from _room_config(rule.room_config)


def _registration(registration: Registration) -> Iterator[Problem]:
    if not registration.name:
        yield Problem("name", "a registration needs a name", "Give it one of your own choice")
    yield from check.host_and_port("registrar", registration.registrar, required=True)
    if not registration.username:
        yield Problem("username", "the extension to register is missing", "Set the extension, such as 1001")
    elif re.search(r"[\s@:;<>]", registration.username):
        yield Problem("username", "it is not the user part of a SIP address", "Give what stands before the @")
    if re.search(r"[\s@:;<>]", registration.domain):
        yield Problem("domain", f"{registration.domain!r} is no host", "Give what stands behind the @")
    if registration.transport not in ("udp", "tcp", "tls"):
        yield Problem("transport", f"{registration.transport!r} is none", "Use udp, tcp or tls")
    if not 30 <= registration.expires <= 86_400:
        yield Problem(
            "expires", f"{registration.expires:g} s is no useful time", "Use 30 to 86400 seconds, such as 300"
        )


def _headers(trunk: InboundTrunk | OutboundTrunk) -> Iterator[Problem]:
    for name, value in trunk.headers.items():
        yield from check.header_name("headers", name)
        if name.lower() in check.OWN_HEADERS:
            yield Problem(
                "headers",
                f"{name} is one of SIP's own headers and cannot be set",
                "Use a name of your own, such as X-" + name.capitalize(),
            )
        if len(value.encode()) > 1024:
            yield Problem("headers", f"the value of {name} is longer than 1024 bytes", "Shorten it")
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            yield Problem(
                "headers", f"the value of {name} holds a line break or control character", "Remove it"
            )
    for name, attribute in trunk.headers_to_attributes.items():
        yield from check.header_name("headers_to_attributes", name)
        if not attribute:
            yield Problem("headers_to_attributes", f"{name} has no attribute", "Write HEADER=ATTRIBUTE")
    for attribute, name in trunk.attributes_to_headers.items():
        yield from check.header_name("attributes_to_headers", name)
        if not attribute:
            yield Problem("attributes_to_headers", f"{name} has no attribute", "Write ATTRIBUTE=HEADER")


def _room_config(config: Mapping[str, object]) -> Iterator[Problem]:
    for key in config:
        if key == "agents":
            yield Problem("room_config", "agents do not belong here", "Set the rule's own agents")
        elif key not in _ROOM_FIELDS:
            yield Problem("room_config", f"{key!r} is no field of it", f"It has {', '.join(_ROOM_FIELDS)}")
