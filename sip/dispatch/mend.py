"""Changes of trunks and rules that let a call through, tried out before they are proposed. No I/O."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from sip.dispatch.decide import Call, decide, normalise, rule_failures, same_number, trunk_failures
from sip.model import InboundTrunk, Rule, State

_FLAGS = {
    "numbers": "number",
    "allowed_addresses": "allowed-address",
    "allowed_numbers": "allowed-number",
    "trunk_ids": "trunk",
    "inbound_numbers": "inbound-number",
}
_MODEL = {"trunk_ids": "trunks"}
"""Fields that the model and `trunks.yaml` call otherwise."""
_Item = TypeVar("_Item", InboundTrunk, Rule)
_TRIED = 5
"""Nearest trunks, and nearest rules of each, for which mends are tried out."""
_MOVE = 4
"""Changes that weigh as much as a number on a second trunk."""


@dataclass(frozen=True)
class Mend:
    """One change of one object that lets the call through, alone or with the others beside it."""

    kind: Literal["inbound", "rule"]
    id: str
    field: str
    value: str
    text: str
    command: str
    """With the state of a file the text is meant, and `sip apply` after it."""

    instead: str = ""
    """A value of the list that goes: the server lets no rule have one number in two spellings."""

    def applied(self, state: State) -> State:
        """The state with this change made."""
        if self.kind == "inbound":
            return replace(state, inbound=tuple(map(self._on, state.inbound)))
        return replace(state, rules=tuple(map(self._on, state.rules)))

    def _on(self, item: _Item) -> _Item:
        if item.id != self.id:
            return item
        name = _MODEL.get(self.field, self.field)
        kept: tuple[str, ...] = tuple(each for each in getattr(item, name) if each != self.instead)
        return replace(item, **{name: (*kept, self.value)})


def nearest(state: State, call: Call, trunk: InboundTrunk | None) -> tuple[Mend, ...]:
    """The fewest changes of one trunk and one rule after which the call is taken; none where that is not
    possible. A number that one trunk has is put on another one only where that saves much."""
    best: tuple[Mend, ...] = ()
    owned = any(same_number(call.called, each.numbers) for each in state.inbound if each.numbers)

    def cost(changes: Sequence[Mend]) -> int:
        return sum(
            _MOVE if owned and (change.kind, change.field) == ("inbound", "numbers") else 1
            for change in changes
        )

    for candidate in [trunk] if trunk else _nearest_trunks(state, call):
        let_in = tuple(_trunk_mend(candidate, name, call) for name in trunk_failures(candidate, call))
        for changes in _with_rules(changed(state, let_in), call, candidate, let_in):
            if (not best or cost(changes) < cost(best)) and _works(state, call, candidate, changes):
                best = changes
                break
    return best


def _nearest_trunks(state: State, call: Call) -> list[InboundTrunk]:
    def distance(trunk: InboundTrunk) -> tuple[bool, int, str]:
        failed = trunk_failures(trunk, call)
        return "numbers" in failed, len(failed), trunk.id

    # A source that is not known, or a caller without a number, can be added to no list.
    return sorted(state.inbound, key=distance)[:_TRIED]


def _with_rules(
    state: State, call: Call, trunk: InboundTrunk, let_in: tuple[Mend, ...]
) -> Iterator[tuple[Mend, ...]]:
    """What lets the call in, and then what each of the nearest rules needs; the fewest first."""
    failed = {rule.id: rule_failures(rule, replace(call, pin=None), trunk) for rule in state.rules}
    nearest = sorted(state.rules, key=lambda rule: (len(failed[rule.id]), "trunk_ids" in failed[rule.id]))
    for rule in nearest[:_TRIED]:
        yield (*let_in, *(_rule_mend(rule, name, call, trunk) for name in failed[rule.id]))


def _works(state: State, call: Call, trunk: InboundTrunk, changes: Sequence[Mend]) -> bool:
    """Whether the call gets through with these changes, by this trunk (its credentials aside)."""
    if any(not change.value for change in changes):
        return False
    decision = decide(changed(state, changes), replace(call, pin=None))
    by_it = decision.trunk is not None and decision.trunk.id == trunk.id
    return by_it and decision.outcome in ("room", "pin")


def changed(state: State, changes: Iterable[Mend]) -> State:
    """The state with all these changes made."""
    for change in changes:
        state = change.applied(state)
    return state


def _trunk_mend(trunk: InboundTrunk, name: str, call: Call) -> Mend:
    value = {"numbers": call.called, "allowed_addresses": call.source}.get(name, call.caller)
    return _mend("inbound", trunk, name, value, value)


def _rule_mend(rule: Rule, name: str, call: Call, trunk: InboundTrunk) -> Mend:
    if name == "trunk_ids":
        return _mend("rule", rule, name, trunk.id, trunk.name or trunk.id)
    value, numbers = (call.called, rule.numbers) if name == "numbers" else (call.caller, rule.inbound_numbers)
    instead = next((number for number in numbers if normalise(number) == normalise(value)), "")
    return _mend("rule", rule, name, value, value, instead)


def _mend(
    kind: Literal["inbound", "rule"],
    item: InboundTrunk | Rule,
    name: str,
    value: str,
    shown: str,
    instead: str = "",
) -> Mend:
    noun = "trunk inbound" if kind == "inbound" else "rule"
    label, flag = item.name or item.id, _FLAGS[name]
    where = f"{_MODEL.get(name, name)} of {noun.partition(' ')[0]} {label}"
    text = f"write {shown} instead of {instead} in {where}" if instead else f"add {shown} to {where}"
    words = ["sip", *noun.split(), "update", label, f"--add-{flag}", shown]
    if instead:
        words += [f"--remove-{flag}", instead]
    return Mend(kind, item.id, name, value, text, shlex.join(words), instead)
