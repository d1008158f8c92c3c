"""A plan as people read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sip.cli.output import Colour, paint
from sip.plan.compare import Change
from sip.plan.plan import Plan
from sip.plan.steps import KINDS, Step
from sip.plan.unsafe import Finding

_SIGNS: dict[str, tuple[str, Colour]] = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "delete": ("-", "red"),
}
_LISTED = 6
"""Elements of a list that are shown."""


def lines(plan: Plan, where: Callable[[Finding], str]) -> Iterator[str]:
    """The changes, what speaks against them, and how many there are. `where` places a finding in the file."""
    for step in plan.changed:
        sign, colour = _SIGNS[step.action]
        known = f" ({step.id})" if step.id and step.name else step.id
        yield paint(f"{sign} {KINDS[step.kind]} {step.name}{known}", colour)
        if step.action != "delete":
            yield from _fields(step, plan.trunk_names)
    asides = sum(step.aside for step in plan.steps)
    if asides:
        yield "  (numbers are swapped: for a moment nobody has them)"
    refused = plan.refused
    for finding in plan.findings:
        place = where(finding)
        if finding in refused:
            allow = f". Or allow it: --allow {finding.name}" if finding.allowable else ""
            yield f"{paint('refused', 'red')}: {place}{str(finding).rstrip('.')}{allow}"
        else:
            yield f"{paint('allowed', 'yellow')} ({finding.name}): {place}{finding}"
    yield summary(plan)


def summary(plan: Plan) -> str:
    """How many objects are created, updated and deleted."""
    counts = {action: sum(step.action == action for step in plan.changed) for action in _SIGNS}
    return f"{counts['create']} to create, {counts['update']} to update, {counts['delete']} to delete"


def _fields(step: Step, trunks: Mapping[str, str]) -> Iterator[str]:
    width = max((len(change.field) for change in step.changes), default=0)
    for change in step.changes:
        if step.action == "create" and change.field == "name":
            continue
        yield f"    {change.field:<{width}}  {_change(change, trunks)}"


def _change(change: Change, trunks: Mapping[str, str]) -> str:
    if change.secret:
        return f"({change.word})"
    old, new = change.old, change.new
    if change.field == "trunks":
        old, new = (value and tuple(trunks.get(each) or each for each in value) for value in (old, new))
    if isinstance(old or new, tuple) and old:
        old, new = tuple(old), tuple(new or ())
        added = _short([_value(each) for each in new if each not in old])
        removed = _short([_value(each) for each in old if each not in new])
        parts = [f"added {', '.join(added)}"] if added else []
        parts += [f"removed {', '.join(removed)}"] if removed else []
        return "; ".join(parts) or f"{_value(old)} -> {_value(new)}"
    if old is None:
        return _value(new)
    return f"{_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    if value is None or value == ():
        return "(none)"
    if isinstance(value, tuple):
        return ", ".join(_short([_value(each) for each in value]))
    if isinstance(value, dict):
        agent: dict[str, Any] = value
        if set(agent) == {"name", "metadata"}:
            return f"{agent['name']} {agent['metadata']}".rstrip()
        return json.dumps(agent, ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    # Line breaks and control characters of a name would forge lines of the plan.
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _short(texts: list[str]) -> list[str]:
    return texts if len(texts) <= _LISTED else [*texts[:_LISTED], f"… {len(texts) - _LISTED} more"]
