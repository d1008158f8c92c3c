"""`trunks.yaml`: the trunks, rules and registrations that somebody wants, as a `State`.

All problems of a file come in one error, each with its line, the field, the reason and the mend. Secrets are
references to the environment (`${TWILIO_PASSWORD}`). What a field may hold is `sip.checks.validate`'s to say;
here is only what YAML adds: types, unknown keys, names that stand for other names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sip.checks.validate import problems as problems_of
from sip.model import (
    AgentDispatch,
    InboundTrunk,
    Item,
    Kind,
    OutboundTrunk,
    Registration,
    Rule,
    State,
    kind_of,
)
from sip.wanted import document, references
from sip.wanted.document import Fault, FileError, Place, Value
from sip.wanted.fields import FIELDS, HINTS, SECTIONS
from sip.wanted.reading import Entry, Reading, noun

Key = tuple[Kind, str]
"""Kind of an object, and its id or else its name."""

_CLASSES: dict[Kind, Callable[..., Item]] = {
    "inbound": InboundTrunk,
    "outbound": OutboundTrunk,
    "rule": Rule,
    "registration": Registration,
}


@dataclass(frozen=True)
class Desired:
    """What a file wants."""

    state: State
    warnings: tuple[Fault, ...] = ()
    unset: Mapping[tuple[Kind, str, str], str] = field(default_factory=dict[tuple[Kind, str, str], str])
    """Secrets whose variable is not set: `{(kind, id or name, field): variable}`; empty in `state`."""
    invalid: tuple[tuple[Key, Fault], ...] = ()
    """Entries that read well but hold what `sip.checks.validate` refuses; empty unless that was asked for."""
    paths: Mapping[Key, str] = field(default_factory=dict[Key, str])
    """What messages call an entry: `inbound.carrier`."""
    places: Mapping[Key, Mapping[str, Place]] = field(default_factory=dict[Key, Mapping[str, Place]])
    """`{key: {field: place}}`; the field "" is the entry itself."""

    def place(self, kind: Kind, name: str, path: str = "") -> Place | None:
        """Where a field of an entry stands, or the nearest thing around it; None for what no entry has."""
        entry = self.places.get((kind, name))
        return _nearest(entry, path) if entry else None


def key_of(item: Item) -> Key:
    """How an entry is called in `Desired`: by its id where it has one, else by its name."""
    return kind_of(item), (getattr(item, "id", "") or item.name)


def read(path: Path, environment: Mapping[str, str] | None = None, *, invalid: bool = False) -> Desired:
    """Read a file; `-` is standard input. Variables come from the environment and `.env` unless given.

    Raises `FileError` with all faults. With `invalid`, entries that only have values which cannot work are
    returned, too: a live object may be like that, and is not refused as long as nothing changes it.
    """
    name, text = document.load(path)
    variables = references.environment() if environment is None else environment
    return parse(text, name, variables, invalid=invalid)


def parse(text: str, file: str, environment: Mapping[str, str], *, invalid: bool = False) -> Desired:
    """The same from text; `file` is its name in messages."""
    root, faults = document.parse(text, file)
    reader = _Reader(file, environment, faults)
    desired = reader.document(root)
    structural = any(fault.severity == "error" for fault in reader.faults)
    if structural or (desired.invalid and not invalid):
        raise FileError(file, [*reader.faults, *(fault for _, fault in desired.invalid)])
    return desired


class _Reader:
    """Turns values into objects and collects what is wrong with them."""

    def __init__(self, file: str, environment: Mapping[str, str], faults: list[Fault]) -> None:
        self.file, self.faults = file, faults
        self.entries: list[Entry] = []
        self.reading = Reading(environment, faults)

    def document(self, root: Value | None) -> Desired:
        """All of the file."""
        if root is None or root.shape == "nothing":
            mend = "Write inbound:, outbound:, rules: or registrations:, or let `sip import` write the file"
            self._fault(root.place if root else Place(self.file), "file", "it holds nothing", mend)
        elif root.shape != "mapping":
            mend = "Write inbound:, outbound:, rules: or registrations: at its left edge"
            self._fault(root.place, "file", f"it is {noun(root)}, no mapping", mend)
        else:
            for key, (place, value) in root.entries.items():
                if key in SECTIONS:
                    self._section(SECTIONS[key], key, value)
                elif not key.startswith("x-"):
                    self.reading.unknown(place, key, key, list(SECTIONS), HINTS["file"])
        self._names()
        items = [entry.item for entry in self.entries if entry.item]
        return Desired(
            State(
                tuple(item for item in items if isinstance(item, InboundTrunk)),
                tuple(item for item in items if isinstance(item, OutboundTrunk)),
                tuple(item for item in items if isinstance(item, Rule)),
                tuple(item for item in items if isinstance(item, Registration)),
            ),
            tuple(sorted((each for each in self.faults if each.severity == "warning"), key=_by_place)),
            {
                (*key_of(entry.item), name): variable
                for entry in self.entries
                if entry.item
                for name, variable in entry.unset.items()
            },
            tuple(
                (key_of(entry.item), fault) for entry in self.entries if entry.item for fault in entry.invalid
            ),
            {key_of(entry.item): entry.path for entry in self.entries if entry.item},
            {key_of(entry.item): entry.places for entry in self.entries if entry.item},
        )

    def _section(self, kind: Kind, key: str, value: Value) -> None:
        if value.shape == "nothing":
            return
        if value.shape == "mapping":
            for label, (place, body) in value.entries.items():
                self._object(kind, label, f"{key}.{label}", place, body, name=label)
        elif value.shape == "list":
            for index, body in enumerate(value.items):
                name = body.entries.get("name") or body.entries.get("id")
                label = name[1].text if name and name[1].shape == "text" else ""
                path = f"{key}.{label}" if label else f"{key}[{index}]"
                self._object(kind, label, path, body.place, body)
        else:
            mend = f"Write names below it: {key}: {{NAME: {{…}}}}"
            self._fault(value.place, key, f"it is {noun(value)}, no mapping", mend)

    def _object(self, kind: Kind, label: str, path: str, place: Place, body: Value, name: str = "") -> None:
        if body.broken:
            return
        if body.shape not in ("mapping", "nothing"):
            known = ", ".join(list(FIELDS[kind])[1:5])
            mend = f"Write its fields below it, one a line: {known} …"
            self._fault(body.place, path, f"it is {noun(body)}, no mapping", mend)
            return
        entry = self.reading.entry = Entry(kind, label, path, {"": place})
        values: dict[str, Any] = {"name": name}
        for key, (at, value) in body.entries.items():
            entry.places[key] = value.place if value.shape != "nothing" else at
            if key in FIELDS[kind]:
                read = self.reading.field(FIELDS[kind][key], value, key)
                if read is not None:
                    values[key] = read
            else:
                self.reading.unknown(at, f"{path}.{key}", key, list(FIELDS[kind]), HINTS[kind])
        self._agent(values)
        if kind == "registration" and values.pop("id", None):
            self.reading.fault(entry.places["id"], "id", "registrations have no id", "Remove it")
        entry.item = _CLASSES[kind](**values)
        self.entries.append(entry)
        self._validate(entry)

    def _agent(self, values: dict[str, Any]) -> None:
        """`agent: NAME`, the short form of one agent."""
        name = values.pop("agent", "")
        if not name:
            return
        if "agents" in values:
            place = self.reading.entry.places["agent"]
            self.reading.fault(place, "agent", "agents: is there, too", "Keep one of the two")
        else:
            values["agents"] = (AgentDispatch(name),)
            self.reading.entry.places["agents"] = self.reading.entry.places["agent"]

    def _validate(self, entry: Entry) -> None:
        """What the field checks that all commands share say of it."""
        assert entry.item
        for found in problems_of(entry.item):
            top = re.split(r"[.\[]", found.field)[0]
            if top in entry.wrong or found.field in entry.unset or found.severity == "unsafe":
                continue  # told already, not known yet, or the plan's to tell
            field = _narrowed(entry.item, found.field, found.reason)
            path = f"{entry.path}.{field}" if field else entry.path
            place = _nearest(entry.places, field)
            if found.severity == "error":
                entry.invalid.append(Fault(place, path, found.reason, found.mend))
            else:
                self.faults.append(Fault(place, path, found.reason, found.mend, "warning"))

    def _names(self) -> None:
        """Names that stand for other entries, or for two."""
        seen: dict[Key, Entry] = {}
        labels: dict[str, Entry] = {}
        outbound: dict[str, Entry] = {}
        for entry in self.entries:
            if not entry.item:
                continue
            key = key_of(entry.item)
            if not key[1]:
                mend = "Write name: NAME, or the id: of the live object"
                self._fault(entry.places[""], entry.path, "it has neither a name nor an id", mend)
            elif key in seen:
                word = "id" if getattr(entry.item, "id", "") else "name"
                line = seen[key].places[""].line
                reason = f"its {word} {key[1]} is also that of {seen[key].path} (line {line})"
                place = entry.places.get(word, entry.places[""])
                mend = f"Give it another {word}" + (
                    ", or the id of the live object" if word == "name" else ""
                )
                self._fault(place, f"{entry.path}.{word}", reason, mend)
            seen.setdefault(key, entry)
            if entry.kind == "inbound":
                labels.setdefault(entry.label, entry)
            elif entry.kind == "outbound":
                outbound.setdefault(entry.label, entry)
        for entry in self.entries:
            if isinstance(entry.item, Rule) and entry.item.trunks:
                self._resolve(entry, entry.item, labels, outbound)

    def _resolve(
        self, entry: Entry, rule: Rule, labels: Mapping[str, Entry], outbound: Mapping[str, Entry]
    ) -> None:
        """Trunks of a rule, by what they are called in the file, become their names or ids."""
        names: list[str] = []
        for index, name in enumerate(rule.trunks):
            target = labels.get(name)
            if target and target.item:
                names.append(key_of(target.item)[1])
                continue
            names.append(name)
            if name in outbound:
                path = f"trunks[{index}]"
                reason = f"{name} is an outbound trunk (line {outbound[name].places[''].line})"
                mend = "Rules take calls of inbound trunks; name one of those"
                self._fault(_nearest(entry.places, path), f"{entry.path}.{path}", reason, mend)
        if tuple(names) != rule.trunks:
            entry.item = replace(rule, trunks=tuple(names))

    def _fault(self, place: Place, path: str, reason: str, mend: str) -> None:
        self.faults.append(Fault(place, path, reason, mend))


def _narrowed(item: Item, path: str, reason: str) -> str:
    """The element of a list, or the key of a mapping, that a reason speaks of: `numbers[2]` for `numbers`."""
    value: object = item
    for name in path.split("."):
        value = getattr(value, name, None)
    if isinstance(value, tuple):
        texts = [text for text in value if isinstance(text, str)]
        found = [f"[{index}]" for index, text in enumerate(texts) if text and text in reason]
    elif isinstance(value, Mapping):
        found = [f".{key}" for key in value if key and key in reason]
    else:
        found = []
    return path + found[-1] if found else path


def _nearest(places: Mapping[str, Place], path: str) -> Place:
    """Place of a field, or of the nearest thing around it that has one."""
    while path and path not in places:
        path = re.sub(r"(\.[^.\[]*|\[[^\]]*\]|^[^.\[]*)$", "", path)
    return places[path]


def _by_place(problem: Fault) -> Place:
    return problem.place
