"""What livekit-server lets no two trunks, and no two rules, have in common.

From `ValidateTrunks` and `ValidateDispatchRules` of livekit's protocol 1.50 (livekit-server 1.13). It checks
each write against all that is there, so these conflicts can be told before anything is written.
"""

from __future__ import annotations

from typing import NamedTuple

from sip.dispatch.decide import normalise
from sip.model import InboundTrunk, Item, Rule


class TrunkKey(NamedTuple):
    """A number called and a number that calls; "" is any."""

    number: str
    caller: str


class RuleKey(NamedTuple):
    """What a rule takes; "" is any. A rule for any collides only with another one for any."""

    pin: str
    trunk: str
    caller: str
    number: str


def keys(item: Item | None) -> frozenset[TrunkKey | RuleKey]:
    """All that an object has to itself; nothing for outbound trunks and for None."""
    if isinstance(item, InboundTrunk):
        callers = [normalise(number) for number in item.allowed_numbers] or [""]
        return frozenset(TrunkKey(number, caller) for number in _normals(item.numbers) for caller in callers)
    if isinstance(item, Rule):
        return frozenset(
            RuleKey(item.pin, trunk, caller, number)
            for trunk in item.trunks or ("",)
            for caller in _normals(item.inbound_numbers)
            for number in _normals(item.numbers)
        )
    return frozenset()


def doubles(rule: Rule) -> list[tuple[str, str]]:
    """`(field, value)` of what a rule lists twice: the server takes it for a conflict with itself."""
    found: list[tuple[str, str]] = []
    for field in ("trunks", "inbound_numbers", "numbers"):
        seen: set[str] = set()
        for value in getattr(rule, field):
            key = value if field == "trunks" else normalise(value)
            if key in seen:
                found.append((field, value))
            seen.add(key)
    return found


def _normals(numbers: tuple[str, ...]) -> list[str]:
    return [normalise(number) for number in numbers] or [""]
