"""What has to change so that the live trunks and rules become the wanted ones. Pure.

Objects are matched by id where an entry gives one, else by name. Registrations are no part of LiveKit's API:
`sip serve` carries them, and no plan has a step for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sip.errors import ConfigurationError
from sip.model import InboundTrunk, Item, Kind, OutboundTrunk, Rule, State, kind_of
from sip.plan.compare import changes, shown
from sip.plan.order import ordered, rank
from sip.plan.steps import KINDS, Step
from sip.plan.unsafe import Finding, findings

Unset = Mapping[tuple[Kind, str, str], str]
"""Secrets whose variable is not set: `{(kind, id or name, field): variable}`."""
HIDDEN = frozenset({"auth_password", "pin"})
"""What a server may not show."""
_Kept = TypeVar("_Kept", InboundTrunk, OutboundTrunk, Rule)


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they can be carried out, and what speaks against them."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()
    allowed: frozenset[str] = frozenset()
    """Names of findings that were allowed."""
    trunk_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names of live inbound trunks by id."""

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Findings that keep the plan from being carried out."""
        return tuple(each for each in self.findings if not each.allowable or each.name not in self.allowed)

    @property
    def changed(self) -> tuple[Step, ...]:
        """One step an object, sorted by what happens to it, its kind and its name: what people read."""
        return tuple(sorted((step for step in self.steps if not step.aside), key=rank))

    def as_json(self) -> dict[str, Any]:
        """The plan without any secret."""
        return {
            "changes": [
                {
                    "action": step.action,
                    "kind": step.kind,
                    "name": step.name,
                    "id": step.id,
                    "fields": [dict(shown(change)) for change in step.changes],
                }
                for step in self.changed
            ],
            "steps": [str(step) for step in self.steps],
            "findings": [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "object": each.item,
                    "field": each.field,
                    "reason": each.reason,
                    "mend": each.mend,
                    "refused": each in self.refused,
                    "allowable": each.allowable,
                }
                for each in self.findings
            ],
        }


@dataclass(frozen=True)
class Mismatch:
    """An entry that cannot be matched with the live system."""

    kind: Kind
    item: str
    """Id or name of the entry."""
    field: str
    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.item}: {self.field}: {self.reason}. {self.mend}"


class PlanError(ConfigurationError):
    """Entries that cannot be matched with the live system: no plan can be made."""

    def __init__(self, problems: Iterable[Mismatch]) -> None:
        self.problems = tuple(problems)
        super().__init__("no plan can be made", "\n  " + "\n  ".join(map(str, self.problems)))

    def __str__(self) -> str:
        return f"{self.what}:{self.why}"


def plan(
    wanted: State,
    live: State,
    *,
    prune: bool = False,
    allow: Iterable[str] = (),
    busy: Mapping[str, int] | None = None,
    unset: Unset | None = None,
    hidden: bool = False,
) -> Plan | None:
    """The plan that makes `live` what is `wanted`; None when there is nothing to do.

    With `prune` what carries our mark and is not wanted is deleted; nothing else ever is. `busy` is the
    number of live calls by trunk id. A secret in `unset` stays what it is on the server. With `hidden` the
    server does not show passwords and PINs: one that it does not show is taken for unchanged, and is written
    only beside other changes. livekit-server (1.13) shows them.
    Raises `PlanError` for entries that cannot be matched.
    """
    matching = _Matching(unset or {})
    inbound = matching.pairs(wanted.inbound, live.inbound)
    outbound = matching.pairs(wanted.outbound, live.outbound)
    rules = matching.pairs(wanted.rules, live.rules)
    trunks = _Trunks(matching, inbound, live.inbound, wanted.outbound + live.outbound)
    rules = [(trunks.of(rule), old) for rule, old in rules]
    kept = {old.id for _, old in [*inbound, *outbound, *rules] if old}
    everything = (*live.inbound, *live.outbound, *live.rules)
    gone = [item for item in everything if prune and item.managed and item.id not in kept]
    matching.check_trunks([rule for rule, _ in rules], {item.id: item.name for item in gone})
    if matching.problems:
        raise PlanError(matching.problems)
    steps: list[Step] = []
    for new, old in [*inbound, *outbound, *rules]:
        if step := _step(new, old, hidden):
            steps.append(step)
    steps += map(_deletion, gone)
    if not steps:
        return None
    allowed = frozenset(allow)
    found = findings(steps, live, wanted, busy or {})
    return Plan(ordered(steps), found, allowed, {trunk.id: trunk.name for trunk in live.inbound})


def strangers(wanted: State, live: State) -> tuple[InboundTrunk | OutboundTrunk | Rule, ...]:
    """Live objects that are not wanted and that no pruning would delete: others made them."""
    names = {(kind_of(item), item.name) for item in wanted}
    ids = {getattr(item, "id", "") for item in wanted}
    return tuple(
        item
        for item in (*live.inbound, *live.outbound, *live.rules)
        if not item.managed and item.id not in ids and (kind_of(item), item.name) not in names
    )


def _step(
    new: InboundTrunk | OutboundTrunk | Rule, old: InboundTrunk | OutboundTrunk | Rule | None, hidden: bool
) -> Step | None:
    different = changes(old, new)
    if old is None:
        return Step("create", kind_of(new), new.name, "", None, replace(new, id="", managed=True), different)
    if not different or (hidden and all(change.field in HIDDEN and not change.old for change in different)):
        return None
    name = new.name or old.name
    return Step("update", kind_of(new), name, old.id, old, replace(new, id=old.id, managed=True), different)


def _deletion(item: InboundTrunk | OutboundTrunk | Rule) -> Step:
    return Step("delete", kind_of(item), item.name, item.id, item, None, changes(item, None))


class _Matching:
    """Pairs of a wanted object and the live one that it is, or None."""

    def __init__(self, unset: Unset) -> None:
        self.problems: list[Mismatch] = []
        self._unset: dict[tuple[Kind, str], dict[str, str]] = {}
        for (kind, name, path), variable in unset.items():
            self._unset.setdefault((kind, name), {})[path] = variable

    def pairs(self, wanted: tuple[_Kept, ...], live: tuple[_Kept, ...]) -> list[tuple[_Kept, _Kept | None]]:
        """Each wanted object with its live one."""
        by_id = {item.id: item for item in live}
        pinned = {item.id for item in wanted if item.id}
        by_name: dict[str, list[_Kept]] = {}
        for item in live:
            if item.name and item.id not in pinned:
                by_name.setdefault(item.name, []).append(item)
        pairs: list[tuple[_Kept, _Kept | None]] = []
        for item in wanted:
            old: _Kept | None = None
            if item.id:
                old = by_id.get(item.id)
                if old is None:
                    mend = "Remove the id to create it anew, or correct it"
                    self.problem(item, "id", f"nothing with the id {item.id} is live", mend)
                    continue
            else:
                named = by_name.get(item.name, [])
                if len(named) > 1:
                    ids = ", ".join(sorted(each.id for each in named))
                    mend = "Write the id: of the one that is meant"
                    self.problem(item, "name", f"{len(named)} live ones have this name: {ids}", mend)
                    continue
                old = named[0] if named else None
            pairs.append((self._with_secrets(item, old), old))
        return pairs

    def check_trunks(self, rules: Iterable[Rule], gone: Mapping[str, str]) -> None:
        """Note rules that name a trunk which pruning would delete."""
        for rule in rules:
            for index, trunk in enumerate(rule.trunks):
                if trunk in gone:
                    reason = f"the file does not have {gone[trunk] or trunk}, and --prune would delete it"
                    self.problem(rule, f"trunks[{index}]", reason, "Add the trunk under inbound:")

    def problem(self, item: Item, path: str, reason: str, mend: str) -> None:
        """Note what keeps an entry from being matched."""
        self.problems.append(
            Mismatch(kind_of(item), getattr(item, "id", "") or item.name, path, reason, mend)
        )

    def _with_secrets(self, item: _Kept, old: _Kept | None) -> _Kept:
        """Secrets whose variable is not set, as the server has them."""
        key = (kind_of(item), item.id or item.name)
        for path, variable in self._unset.get(key, {}).items():
            field, _, header = path.partition(".")
            kept: Any = getattr(old, field, "")
            kept = kept.get(header, "") if header and kept else kept
            if not kept:
                reason = f"the variable {variable} is not set, and the server has nothing to keep"
                self.problem(item, path, reason, f"Set {variable} in the environment or in .env")
                continue
            value = {**getattr(item, field), header: kept} if header else kept
            item = replace(item, **{field: value})
        return item


class _Trunks:
    """Which live or new trunk a rule means."""

    def __init__(
        self,
        matching: _Matching,
        pairs: Iterable[tuple[InboundTrunk, InboundTrunk | None]],
        live: tuple[InboundTrunk, ...],
        outbound: tuple[OutboundTrunk, ...],
    ) -> None:
        self._matching = matching
        self._ids = {trunk.id for trunk in live}
        self._wanted = {new.id or new.name: old.id if old else new.name for new, old in pairs}
        self._named: dict[str, list[str]] = {}
        for trunk in live:
            self._named.setdefault(trunk.name, []).append(trunk.id)
        self._outbound = {key for trunk in outbound for key in (trunk.name, trunk.id) if key}

    def of(self, rule: Rule) -> Rule:
        """The rule with the ids of live trunks, and the names of those that are to be created."""
        found = tuple(self._one(rule, f"trunks[{index}]", name) for index, name in enumerate(rule.trunks))
        return replace(rule, trunks=found)

    def _one(self, rule: Rule, path: str, name: str) -> str:
        if name in self._ids:
            return name
        if name in self._wanted:
            return self._wanted[name]
        named = self._named.get(name, [])
        if len(named) == 1:
            return named[0]
        if named:
            mend = "Write the id of the one that is meant"
            reason = f"{len(named)} live inbound trunks are named {name}: {', '.join(sorted(named))}"
        elif name.startswith("ST_") and name not in self._outbound:
            return name  # gone, or another project's: told as a finding when the rule changes
        elif name in self._outbound:
            reason, mend = (
                f"{name} is an outbound trunk",
                "Rules take calls of inbound trunks; name one of those",
            )
        else:
            known = sorted({*self._wanted, *self._named} - {""})
            near = difflib.get_close_matches(name, known, 1)
            reason = f"no inbound trunk is named {name}"
            mend = f"Did you mean {near[0]}?" if near else "Add it under inbound:, or correct the name"
        self._matching.problem(rule, path, reason, mend)
        return name
