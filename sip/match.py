"""Why a call matches no trunk or no dispatch rule: livekit-server's own rules (1.13), as a pure function.

The server only says "no"; this says which trunk or rule came nearest and which of its fields refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NUMBER = re.compile(r"\+?[\d\- ()]+")


@dataclass(frozen=True)
class InboundCall:
    """What is known of a call before it is answered."""

    source: str
    """IP address that the INVITE came from."""
    caller: str
    """User of From."""
    called: str
    """User of To."""
    caller_host: str = ""


@dataclass(frozen=True)
class TrunkFilter:
    """The fields of an inbound trunk that choose calls; an empty one lets all through."""

    id: str
    name: str = ""
    numbers: tuple[str, ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    allowed_numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleFilter:
    """The fields of a dispatch rule that choose calls; an empty one lets all through."""

    id: str
    name: str = ""
    trunk_ids: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    inbound_numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mismatch:
    """One object that refused a call, and its first field that did."""

    kind: str
    """`trunk` or `rule`."""
    id: str
    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name or self.id} ({self.id}): {self.field}"


@dataclass(frozen=True)
class Explanation:
    """Outcome of matching. `code` is the SIP code that tells the truth: 200, 403 or 404."""

    code: int
    trunk: str = ""
    """Id of the trunk that takes the call; empty when none does."""
    rule: str = ""
    """Id of a rule that takes the call; the server's priorities between several are not played through."""
    mismatches: tuple[Mismatch, ...] = ()
    """Nearest first."""

    def __str__(self) -> str:
        if self.code == 200:
            return f"trunk {self.trunk or '(none)'}, rule {self.rule}"
        if not self.mismatches:
            return "there are no dispatch rules" if self.trunk else "there are no inbound trunks"
        return "; ".join(map(str, self.mismatches[:3]))


def explain(call: InboundCall, trunks: Iterable[TrunkFilter], rules: Iterable[RuleFilter]) -> Explanation:
    """Which trunk and rule take this call, or what refused it."""
    trunks, rules = list(trunks), list(rules)
    refused = [(trunk, field) for trunk in trunks if (field := trunk_mismatch(trunk, call))]
    taken = [trunk for trunk in trunks if trunk_mismatch(trunk, call) is None]
    # A trunk that names the number goes before one that takes any.
    taken.sort(key=lambda trunk: not trunk.numbers)
    trunk = taken[0] if taken else None
    wrong = [(rule, field) for rule in rules if (field := rule_mismatch(rule, call, trunk))]
    fitting = [rule for rule in rules if rule_mismatch(rule, call, trunk) is None]
    if fitting:
        # The server, too, lets a rule for one trunk win over a rule for all.
        fitting.sort(key=lambda rule: not rule.trunk_ids)
        return Explanation(200, trunk.id if trunk else "", fitting[0].id)
    mismatches = [Mismatch("trunk", trunk.id, trunk.name, field) for trunk, field in refused]
    mismatches.sort(key=lambda mismatch: mismatch.field == "numbers")
    if trunk:
        near = [Mismatch("rule", rule.id, rule.name, field) for rule, field in wrong]
        near.sort(key=lambda mismatch: mismatch.field == "trunk_ids")
        return Explanation(404, trunk.id, mismatches=tuple(near))
    code = 403 if any(mismatch.field != "numbers" for mismatch in mismatches) else 404
    return Explanation(code, mismatches=tuple(mismatches))


def forbidding(call: InboundCall, trunks: Iterable[TrunkFilter]) -> Mismatch | None:
    """The trunk that names this number and refuses this caller or source, if there is one."""
    for trunk in trunks:
        field = trunk_mismatch(trunk, call)
        if trunk.numbers and field and field != "numbers":
            return Mismatch("trunk", trunk.id, trunk.name, field)
    return None


def trunk_mismatch(trunk: TrunkFilter, call: InboundCall) -> str | None:
    """The first field that refuses the call: the number called, then the source, then the caller."""
    if not same_number(call.called, trunk.numbers):
        return "numbers"
    if not _address_allowed(call, trunk.allowed_addresses):
        return "allowed_addresses"
    if not same_number(call.caller, trunk.allowed_numbers):
        return "allowed_numbers"
    return None


def rule_mismatch(rule: RuleFilter, call: InboundCall, trunk: TrunkFilter | None) -> str | None:
    """The first field that refuses the call. Numbers of rules are compared letter for letter."""
    if rule.trunk_ids and (trunk is None or trunk.id not in rule.trunk_ids):
        return "trunk_ids"
    if rule.numbers and call.called not in rule.numbers:
        return "numbers"
    if rule.inbound_numbers and call.caller not in rule.inbound_numbers:
        return "inbound_numbers"
    return None


def same_number(number: str, allowed: tuple[str, ...]) -> bool:
    """Whether `allowed` holds the number in any spelling; an empty list allows all."""
    return not allowed or normalise(number) in {normalise(each) for each in allowed}


def normalise(number: str) -> str:
    """`+` and digits for what looks like a phone number; anything else as it is."""
    if not _NUMBER.fullmatch(number):
        return number
    digits = re.sub(r"[ \-()]", "", number)
    return digits if digits.startswith("+") else f"+{digits}"


def _address_allowed(call: InboundCall, allowed: tuple[str, ...]) -> bool:
    masks = [mask for mask in allowed if not re.search(r"[()+*;, \t\n\r]|://", mask)]
    return not masks or any(mask == call.caller_host or _contains(mask, call.source) for mask in masks)


def _contains(mask: str, source: str) -> bool:
    try:
        return ipaddress.ip_address(source) in ipaddress.ip_network(mask, strict=False)
    except ValueError:
        return False
