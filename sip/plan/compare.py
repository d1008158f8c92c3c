"""Which fields of an object differ from those of another: pure, and blind to what makes no difference.

The order of numbers, addresses and trunks means nothing to LiveKit, that of codecs does. `id` and `managed`
are never compared. Secrets are compared and never shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sip.model import Item, Media, Rule
from sip.wanted.fields import is_secret

_UNORDERED = frozenset({"numbers", "allowed_addresses", "allowed_numbers", "inbound_numbers", "trunks"})
_USUAL = {"transport": "auto", "include_headers": "none", "media.encryption": "disable"}
_NEVER = frozenset({"id", "managed"})


@dataclass(frozen=True)
class Change:
    """One field that is set, changed or emptied. Of secrets only `...` is kept, for a value that is there."""

    field: str
    old: Any
    new: Any
    secret: bool = False

    @property
    def word(self) -> str:
        """What happens to a secret: `set`, `changed` or `removed`."""
        if self.old is None:
            return "set"
        return "removed" if self.new is None else "changed"


def values(item: Item) -> dict[str, Any]:
    """Fields of an object, flat (`media.codecs`, `headers.X-Name`) and in the form that is compared.

    What is empty is left out: for LiveKit it is the same as what was never set.
    """
    found: dict[str, Any] = {}
    for name in item.__dataclass_fields__:
        value = getattr(item, name)
        if name in _NEVER:
            continue
        if isinstance(value, Media):
            found |= {f"media.{key}": each for key, each in dataclasses.asdict(value).items()}
        elif name == "headers":
            found |= {f"headers.{key}": each for key, each in value.items()}
        elif name == "agents":
            found[name] = tuple({"name": agent.name, "metadata": agent.metadata} for agent in value)
        elif name in _UNORDERED:
            found[name] = tuple(sorted(set(value)))
        else:
            found[name] = value
    for name, value in found.items():
        if isinstance(value, float):
            found[name] = round(value, 6)
    if isinstance(item, Rule):
        found["randomize"] = _randomize(item)
    return {name: value for name, value in found.items() if not _empty(name, value)}


def changes(old: Item | None, new: Item | None) -> tuple[Change, ...]:
    """What leads from one to the other, in the order of the fields; None is an object that is not there."""
    before = values(old) if old else {}
    after = values(new) if new else {}
    names = list(after) + [name for name in before if name not in after]
    item = new or old
    order = {name: index for index, name in enumerate(item.__dataclass_fields__)} if item else {}
    names.sort(key=lambda name: (order.get(name.partition(".")[0], 0), name))
    found: list[Change] = []
    for name in names:
        left, right = before.get(name), after.get(name)
        if left == right:
            continue
        if is_secret(name):
            hidden = (... if left else None, ... if right else None)
            found.append(Change(name, *hidden, secret=True))
        else:
            found.append(Change(name, left, right))
    return tuple(found)


def shown(change: Change) -> Mapping[str, Any]:
    """A change as JSON has it."""
    if change.secret:
        return {"field": change.field, "secret": change.word}
    return {"field": change.field, "old": change.old, "new": change.new}


def _empty(name: str, value: object) -> bool:
    """Whether a value is the same as none; an empty header is sent, and `randomize` may be turned off."""
    if name.startswith("headers."):
        return False
    return value is None or value == _USUAL.get(name) or (name != "randomize" and not value)


def _randomize(rule: Rule) -> bool | None:
    """Whether the room's name ends in something random, where that is not the kind's default."""
    usual = rule.kind == "individual"
    return None if rule.kind == "direct" or rule.randomize in (None, usual) else rule.randomize
