"""What speaks against a plan: openings for strangers, calls that would be lost, rules that never take one.

Only what the plan touches is looked at; the rest of a live system is the doctor's. Some findings can be
allowed by their name. Others cannot, because livekit-server itself refuses the write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from sip.checks.validate import open_trunk
from sip.dispatch.decide import normalise, priority
from sip.model import InboundTrunk, Item, Kind, Rule, State, kind_of
from sip.plan.conflicts import RuleKey, TrunkKey, doubles, keys
from sip.plan.steps import KINDS, Step

ALLOWABLE = {
    "open-trunk": "anybody may call in: no allowed_addresses and no credentials",
    "rule-without-trunks": "a rule that takes calls which no trunk let in",
    "shadowed-rule": "a rule that no call ever reaches",
    "shared-number": "a number on two trunks",
    "busy-trunk": "a trunk with live calls is deleted or loses a number",
    "trunk-in-use": "a trunk is deleted that a remaining rule names",
    "unknown-trunk": "a rule names the id of a trunk that does not exist",
    "delete-everything": "the file is empty, and pruning would delete all",
}
"""What `--allow` takes, and what it means."""


@dataclass(frozen=True)
class Finding:
    """One thing that speaks against a plan."""

    name: str
    kind: Kind
    item: str
    """Id of the live object or name of the new one."""
    field: str
    reason: str
    mend: str
    allowable: bool = True
    """Whether `--allow NAME` lets it pass. With the others the server refuses the write; or else, since it
    does not check every update against all that there is (1.13), every call that fits both objects."""
    label: str = ""
    """Name for people."""

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.label or self.item}: {self.field}: {self.reason}. {self.mend}"


def findings(
    steps: Sequence[Step], live: State, wanted: State, busy: Mapping[str, int]
) -> tuple[Finding, ...]:
    """All that speaks against these steps, sorted by kind, object and field."""
    after = _After(steps, live)
    found = [
        *_open_trunks(after),
        *_shared_numbers(after),
        *_rules(after),
        *_conflicting_rules(after),
        *_shadowed(after),
        *_deletions(steps, after, busy),
    ]
    deleted = [step for step in steps if step.action == "delete"]
    if deleted and not (wanted.inbound or wanted.outbound or wanted.rules):
        step = deleted[0]
        reason = f"nothing is wanted, and pruning would delete {len(deleted)}"
        mend = "Check that it is the right file"
        found.append(Finding("delete-everything", step.kind, step.id, "file", reason, mend, label=step.name))
    return tuple(
        sorted(set(found), key=lambda each: (each.kind, each.label, each.item, each.name, each.field))
    )


class _After:
    """All trunks and rules as they are once the steps are done, and which of them the steps touch."""

    def __init__(self, steps: Iterable[Step], live: State) -> None:
        self.touched: set[str] = set()
        gone: set[str] = set()
        items: dict[str, Item] = {}
        for step in steps:
            gone |= {step.id} if step.id else set()
            if step.new:
                # A new object has no id yet; rules call a new trunk by its name.
                key = step.id or step.name
                items[f"{step.kind} {key}"] = replace(step.new, id=key)
                self.touched.add(f"{step.kind} {key}")
        for item in (*live.inbound, *live.rules):
            if item.id not in gone:
                items[f"{kind_of(item)} {item.id}"] = item
        self.trunks = [item for item in items.values() if isinstance(item, InboundTrunk)]
        self.rules = [item for item in items.values() if isinstance(item, Rule)]
        self.by_id = {trunk.id: trunk for trunk in self.trunks}

    def touches(self, *items: InboundTrunk | Rule) -> bool:
        """Whether any of them is created or updated."""
        return any(f"{kind_of(item)} {item.id}" in self.touched for item in items)


def _finding(
    name: str, item: InboundTrunk | Rule, field: str, reason: str, mend: str, allowable: bool = True
) -> Finding:
    return Finding(name, kind_of(item), item.id, field, reason, mend, allowable, item.name)


def _called(item: InboundTrunk | Rule) -> str:
    return f"{item.name} ({item.id})" if item.name and item.name != item.id else item.name or item.id


def _open_trunks(after: _After) -> Iterator[Finding]:
    for trunk in after.trunks:
        if after.touches(trunk) and open_trunk(trunk):
            reason = "it is open: anybody may call in, neither the source address nor a password is asked for"
            mend = "Write the far end's addresses, or auth_username and auth_password"
            yield _finding("open-trunk", trunk, "allowed_addresses", reason, mend)


def _shared_numbers(after: _After) -> Iterator[Finding]:
    owners: dict[TrunkKey, InboundTrunk] = {}
    by_number: dict[str, list[InboundTrunk]] = {}
    for trunk in after.trunks:
        for number in {normalise(number) for number in trunk.numbers} or {""}:
            by_number.setdefault(number, []).append(trunk)
        for key in sorted(keys(trunk)):
            assert isinstance(key, TrunkKey)
            other = owners.setdefault(key, trunk)
            if other is trunk or not after.touches(trunk, other):
                continue
            one, two = (trunk, other) if after.touches(trunk) else (other, trunk)
            what = f"{key.number} is" if key.number else "calls to any number are"
            who = f" for the caller {key.caller}" if key.caller else ""
            mend = (
                "Take it from one; a live trunk that the file does not name is brought in by its id"
                if key.number
                else "Write the numbers of each trunk"
            )
            reason = (
                f"{what} also taken{who} by {_called(two)}: the server refuses that, or else all such calls"
            )
            yield _finding("shared-number", one, "numbers", reason, mend, False)
    for number, trunks in by_number.items():
        for trunk in trunks:
            for other in trunks:
                if trunk is other or trunk.allowed_numbers or not other.allowed_numbers:
                    continue
                if number and after.touches(trunk, other):
                    reason = (
                        f"{number} is also on {_called(other)}, for some callers: their calls match both"
                        " trunks, and the server refuses such calls"
                    )
                    mend = "Write allowed_numbers for both, or keep the number on one"
                    yield _finding("shared-number", trunk, "numbers", reason, mend)


def _rules(after: _After) -> Iterator[Finding]:
    for rule in after.rules:
        if not after.touches(rule):
            continue
        if not rule.trunks:
            reason = "without trunks it also takes calls that no trunk let in, whatever address or password"
            yield _finding("rule-without-trunks", rule, "trunks", reason, "Write trunks: [NAME, …]")
        for trunk in rule.trunks:
            if trunk not in after.by_id:
                mend = "Name an inbound trunk of the file or of the server"
                reason = f"there is no inbound trunk {trunk}"
                yield _finding("unknown-trunk", rule, "trunks", reason, mend)
        for field, value in doubles(rule):
            reason = f"{value} is listed twice, and the server takes that for a conflict"
            yield _finding("shadowed-rule", rule, field, reason, "Remove one of the two", False)


def _conflicting_rules(after: _After) -> Iterator[Finding]:
    owners: dict[RuleKey, Rule] = {}
    for rule in after.rules:
        told: set[str] = set()
        for key in sorted(keys(rule)):
            assert isinstance(key, RuleKey)
            other = owners.setdefault(key, rule)
            if other is rule or other.id in told or not after.touches(rule, other):
                continue
            told.add(other.id)
            one, two = (rule, other) if after.touches(rule) else (other, rule)
            trunk = after.by_id.get(key.trunk)
            where = f"trunk {_called(trunk)}" if trunk else f"trunk {key.trunk}" if key.trunk else "any trunk"
            reason = (
                f"{_called(two)} takes the same calls ({where}, {key.number or 'any number'},"
                f" {'the same PIN' if key.pin else 'no PIN'}): the server refuses that, or else all calls"
            )
            mend = "Give them different trunks, numbers or PINs, or remove one"
            yield _finding("shadowed-rule", one, "trunks", reason, mend, False)


def _shadowed(after: _After) -> Iterator[Finding]:
    """Rules that another one takes every call from: it goes first wherever they both fit."""
    index: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in after.rules:
        for place in product(rule.trunks, rule.numbers or ("",), rule.inbound_numbers or ("",)):
            index.setdefault(place, []).append(rule)
    for rule in after.rules:
        takers = [_taker(rule, trunk, after.by_id.get(trunk), index) for trunk in rule.trunks]
        others = {other.id: other for other in takers if other}
        if not takers or None in takers or not after.touches(rule, *others.values()):
            continue
        names = ", ".join(_called(others[id]) for id in sorted(others))
        reason = f"no call reaches it: {names} goes first for all that it could take"
        mend = "Write numbers: that only this rule takes, or remove it"
        yield _finding("shadowed-rule", rule, "numbers", reason, mend)


def _taker(
    rule: Rule, id: str, trunk: InboundTrunk | None, index: Mapping[tuple[str, str, str], list[Rule]]
) -> Rule | None:
    """A rule that gets all calls of one trunk which this rule could get."""
    carried, callers = set(trunk.numbers) if trunk else set[str](), set(rule.inbound_numbers)
    reached = set(rule.numbers) or carried
    # Whoever takes all of them takes the first of them, or any.
    for place in product((id,), ("", *sorted(reached)[:1]), ("", *sorted(callers)[:1])):
        for other in index.get(place, ()):
            first = (priority(other), other.room) < (priority(rule), rule.room)
            numbers = not other.numbers or (bool(reached) and reached <= set(other.numbers))
            heard = not other.inbound_numbers or (bool(callers) and callers <= set(other.inbound_numbers))
            if other.pin == rule.pin and first and numbers and heard:
                return other
    return None


def _deletions(steps: Iterable[Step], after: _After, busy: Mapping[str, int]) -> Iterator[Finding]:
    users: dict[str, list[Rule]] = {}
    for rule in after.rules:
        for trunk in rule.trunks:
            users.setdefault(trunk, []).append(rule)
    for step in steps:
        if step.kind == "rule" or not step.old:
            continue
        calls = busy.get(step.id, 0)
        lost = set(getattr(step.old, "numbers", ())) - set(getattr(step.new, "numbers", ()))
        if calls and lost | ({"all"} if step.action == "delete" else set()):
            verb = "is deleted" if step.action == "delete" else f"loses {', '.join(sorted(lost))}"
            reason = f"{calls} {'call is' if calls == 1 else 'calls are'} on it now, and it {verb}"
            mend = "Wait until they end: `sip calls` shows them"
            yield Finding("busy-trunk", step.kind, step.id, "numbers", reason, mend, label=step.name)
        if step.action == "delete" and step.kind == "inbound" and step.id in users:
            names = ", ".join(sorted(_called(rule) for rule in users[step.id]))
            reason = f"it is deleted, but these rules name it: {names}"
            mend = "Change the rules, too, or keep the trunk"
            yield Finding("trunk-in-use", step.kind, step.id, "trunks", reason, mend, label=step.name)
