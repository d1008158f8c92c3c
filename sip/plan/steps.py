"""One step of a plan: an object that is created, updated or deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sip.model import Item, Kind
from sip.plan.compare import Change

Action = Literal["create", "update", "delete"]
KINDS: dict[Kind, str] = {
    "inbound": "inbound trunk",
    "outbound": "outbound trunk",
    "rule": "rule",
    "registration": "registration",
}


@dataclass(frozen=True)
class Step:
    """What is done to one object. Updates keep its id."""

    action: Action
    kind: Kind
    name: str
    id: str = ""
    """Id of the live object; empty for one that is created."""
    old: Item | None = None
    new: Item | None = None
    """What it becomes. Trunks of a rule are ids, or the names of those that an earlier step creates."""
    changes: tuple[Change, ...] = ()
    aside: bool = False
    """Whether it only gives its numbers up for a moment, so that another object can take them."""

    def __str__(self) -> str:
        known = f" ({self.id})" if self.id and self.name else self.id
        why = ", out of the way for a moment" if self.aside else ""
        return f"{self.action} {KINDS[self.kind]} {self.name}{known}{why}"
