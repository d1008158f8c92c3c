"""What livekit-server (1.13) decides about an inbound call: trunk, credentials, dispatch rule, room. No I/O.

`decide` gives the answers of its methods `GetSIPTrunkAuthentication` and `EvaluateSIPDispatchRules`. What
it does with a call, in its order:

1. A trunk is *fitting* when its `allowed_numbers`, `allowed_addresses` and `numbers` let the call through
   (an empty list lets all through). One that names the number called goes before one without numbers; two
   of the same sort are an error. No fitting trunk is no refusal yet.
2. Rules of that trunk and rules without trunks are read; two for one trunk, number and PIN are an error.
3. Of the rules whose `numbers`, `inbound_numbers` and PIN fit, one that names the trunk goes before one
   without trunks, then the lower `priority`, then the lesser room name, then the lesser id.

Numbers of trunks are compared in any spelling, those of rules letter for letter.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from sip.model import InboundTrunk, Rule, State

Outcome = Literal[
    "room", "pin", "nothing", "trunk conflict", "rule conflict", "bad source", "crash", "malformed"
]
"""`nothing`: no rule takes the call. `bad source`: not an IP address.

Two are faults of livekit-server 1.13.5 with a rule that hides the caller's number. `crash`: From has no user,
and the server ends. `malformed`: the number's last four bytes begin within a character, and it has no answer.
"""

_NUMBER = re.compile(r"\+?[0-9\- ()]+")
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
_NO_MASK = re.compile(r"[()+*;, \t\n\r]|://")


@dataclass(frozen=True)
class Call:
    """An INVITE, as far as it chooses trunk and rule."""

    source: str
    """IP address that it came from; empty (unknown) passes every address check."""
    caller: str
    """User of From."""
    called: str
    """User of To."""
    caller_host: str = ""
    called_host: str = ""
    """The server looks at no host of To."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: str | None = None
    """User of the digest that the caller can answer with; None: it has no credentials."""
    pin: str | None = field(default=None, repr=False)
    """What was typed when a PIN was asked for; empty: `#` alone; None: nothing was typed yet."""


@dataclass(frozen=True)
class Decision:
    """The server's answer."""

    outcome: Outcome
    trunk: InboundTrunk | None = None
    """The trunk that the call came by; known also where no rule takes it."""
    rule: Rule | None = None
    room: str = ""
    """Name of the room; where `random`, 12 random characters and an underscore before them follow."""
    random: bool = False
    identity: str = ""
    """Of the participant."""
    conflict: tuple[InboundTrunk, ...] | tuple[Rule, ...] = ()
    """The two that the server cannot choose between."""

    @property
    def user(self) -> str:
        """User of the digest that the trunk asks for; empty: none, for it needs user and password to ask."""
        trunk = self.trunk
        return trunk.auth_username if trunk and trunk.auth_password else ""


def decide(state: State, call: Call) -> Decision:
    """What the server answers about this call, in this state. Objects need ids: see `resolved`."""
    if call.source and _address(call.source) is None:
        return Decision("bad source")
    fitting = [trunk for trunk in state.inbound if not trunk_failures(trunk, call)]
    named = [trunk for trunk in fitting if trunk.numbers]
    fitting = named or fitting
    if len(fitting) > 1:
        first, second = sorted(fitting, key=lambda trunk: trunk.id)[:2]
        return Decision("trunk conflict", conflict=(first, second))
    trunk = fitting[0] if fitting else None
    read = rules_for(state.rules, trunk)
    if clash := rule_conflict(read):
        return Decision("rule conflict", trunk, conflict=clash)
    ranked = ranking(read, call, trunk)
    return _place(call, trunk, ranked[0]) if ranked else Decision("nothing", trunk)


def resolved(state: State) -> State:
    """A wanted state as the server would hold it: ids everywhere, and in rules ids instead of names.

    What has no id yet gets its name for it. A reference that is nobody's id or name stays as it is.
    """
    trunks = tuple(replace(trunk, id=trunk.id or trunk.name) for trunk in state.inbound)
    ids = {trunk.id: trunk.id for trunk in trunks}
    known = {trunk.name: trunk.id for trunk in reversed(trunks)} | ids
    rules = tuple(
        replace(rule, id=rule.id or rule.name, trunks=tuple(known.get(each, each) for each in rule.trunks))
        for rule in state.rules
    )
    return replace(state, inbound=trunks, rules=rules)


def trunk_failures(trunk: InboundTrunk, call: Call) -> tuple[str, ...]:
    """The fields that refuse the call: `numbers`, `allowed_addresses`, `allowed_numbers`."""
    return tuple(
        name
        for name, fits in (
            ("numbers", same_number(call.called, trunk.numbers)),
            ("allowed_addresses", address_allowed(call, trunk.allowed_addresses)),
            ("allowed_numbers", same_number(call.caller, trunk.allowed_numbers)),
        )
        if not fits
    )


def rule_failures(rule: Rule, call: Call, trunk: InboundTrunk | None) -> tuple[str, ...]:
    """The fields that refuse the call: `trunk_ids`, `numbers`, `inbound_numbers`, `pin`."""
    return tuple(
        name
        for name, fits in (
            ("trunk_ids", not rule.trunks or (trunk is not None and trunk.id in rule.trunks)),
            ("numbers", not rule.numbers or call.called in rule.numbers),
            ("inbound_numbers", not rule.inbound_numbers or call.caller in rule.inbound_numbers),
            ("pin", _pin_fits(rule.pin, call.pin)),
        )
        if not fits
    )


def rules_for(rules: Iterable[Rule], trunk: InboundTrunk | None) -> list[Rule]:
    """The rules that the server reads for a call by this trunk, in its order; without a trunk all."""
    read = [rule for rule in rules if trunk is None or not rule.trunks or trunk.id in rule.trunks]
    return sorted(read, key=lambda rule: rule.id)


def ranking(rules: Sequence[Rule], call: Call, trunk: InboundTrunk | None) -> list[Rule]:
    """The rules that take the call, the one that gets it first."""
    taking = [rule for rule in rules if not rule_failures(rule, call, trunk)]
    return sorted(taking, key=lambda rule: (not rule.trunks, priority(rule), rule.room, rule.id))


def priority(rule: Rule) -> int:
    """Lower goes first: rules that name both numbers, then one of them, then none; within each those with a
    PIN, then direct, individual, callee."""
    kind = ("direct", "individual", "callee").index(rule.kind)
    return (0 if rule.pin else 100) + kind + 1000 * ((not rule.numbers) + (not rule.inbound_numbers))


def rule_conflict(rules: Iterable[Rule]) -> tuple[Rule, Rule] | None:
    """Two rules with a trunk, a number called, a caller's number and the PIN in common; both may be the same
    one that names a number twice. The server accepts no such rule, and no call once it has one."""
    seen: dict[tuple[str, str, str, str], Rule] = {}
    for rule in rules:
        called = [normalise(number) for number in rule.numbers or ("",)]
        callers = [normalise(number) for number in rule.inbound_numbers or ("",)]
        for key in product([rule.pin], rule.trunks or ("",), callers, called):
            if other := seen.get(key):
                return other, rule
            seen[key] = rule
    return None


def trunk_conflict(new: InboundTrunk, others: Iterable[InboundTrunk]) -> InboundTrunk | None:
    """The trunk because of which the server refuses to create `new`: a number and a caller in common.

    Two trunks that share a number, one for some callers and one for all, are accepted, and then every call
    of those callers is an error.
    """
    callers = _keys(new.allowed_numbers)
    for other in others:
        if _keys(new.numbers) & _keys(other.numbers) and callers & _keys(other.allowed_numbers):
            return other
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


def address_allowed(call: Call, allowed: tuple[str, ...]) -> bool:
    """Whether the source is in one of the networks, or the host of From is literally one of the entries.

    Malformed entries count for nothing; where none is left every source is allowed.
    """
    source = _address(call.source)
    masks = [mask for mask in allowed if mask_counts(mask)]
    return source is None or not masks or any(mask == call.caller_host or _in(source, mask) for mask in masks)


def mask_counts(mask: str) -> bool:
    """Whether the server reads this entry of `allowed_addresses` at all."""
    return not _NO_MASK.search(mask)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _in(source: _Address, mask: str) -> bool:
    """As Go's netip does it: no netmasks, no zones in networks, IPv4 never in an IPv6 network."""
    host, slash, length = mask.rpartition("/")
    if not slash:
        return _address(mask) == source
    network = _address(host)
    if network is None or "%" in mask or not _PREFIX_LENGTH.fullmatch(length):
        return False
    if network.version != source.version or getattr(source, "scope_id", None):
        return False
    rest = network.max_prefixlen - int(length)
    return rest >= 0 and int(network) >> rest == int(source) >> rest


def _pin_fits(wanted: str, typed: str | None) -> bool:
    if typed is None:
        return True
    return wanted == typed


def _place(call: Call, trunk: InboundTrunk | None, rule: Rule) -> Decision:
    """The room and the participant that a rule gives a call."""
    caller, identity = call.caller, f"sip_{call.caller}"
    if rule.hide_phone_number:
        if not caller:
            return Decision("crash", trunk, rule)
        raw = caller.encode()
        caller = raw[-4 if len(raw) > 4 else -1 :].decode(errors="replace")
        identity = f"sip_{hashlib.sha256(raw).hexdigest()[:16]}"
    if rule.pin and not call.pin:
        return Decision("pin", trunk, rule)
    if not call.caller.endswith(caller):
        return Decision("malformed", trunk, rule)
    if rule.kind == "direct":
        return Decision("room", trunk, rule, rule.room, False, identity)
    name = caller if rule.kind == "individual" else call.called
    random = rule.kind == "individual" if rule.randomize is None else rule.randomize
    return Decision("room", trunk, rule, f"{rule.room}_{name}" if rule.room else name, random, identity)


def _keys(numbers: tuple[str, ...]) -> set[str]:
    return {normalise(number) for number in numbers} if numbers else {""}
