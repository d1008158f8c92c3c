"""The values of one entry of `trunks.yaml`, each by what its field holds, and what YAML made of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sip.errors import ConfigurationError
from sip.model import AgentDispatch, Item, Kind, Media
from sip.wanted import references
from sip.wanted.document import Fault, Place, Severity, Value
from sip.wanted.fields import HINTS, MEDIA, Field, is_secret

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Entry:
    """One object while it is read."""

    kind: Kind
    label: str
    path: str
    places: dict[str, Place]
    wrong: set[str] = field(default_factory=set[str])
    """Fields that have a problem already."""
    unset: dict[str, str] = field(default_factory=dict[str, str])
    item: Item | None = None
    invalid: list[Fault] = field(default_factory=list[Fault])


class Reading:
    """Turns values into what a field of the model holds, and collects what is wrong with them.

    `entry` is the one that is read now. Each reader returns None for what is not set or wrong.
    """

    def __init__(self, environment: Mapping[str, str], faults: list[Fault]) -> None:
        self.environment, self.faults = environment, faults
        self.entry = Entry("inbound", "", "", {})

    def field(self, kind: Field, value: Value, path: str) -> Any:
        """The value of one field; `path` is its place in the entry, `numbers` or `media.codecs`."""
        if value.broken:
            self.entry.wrong.add(re.split(r"[.\[]", path)[0])
            return None
        if value.shape == "nothing":
            return None
        match kind:
            case "text":
                return self._text(value, path)
            case "texts":
                return self._texts(value, path)
            case "pairs":
                return self._pairs(value, path)
            case "flag":
                return self._flag(value, path)
            case "seconds":
                return self._seconds(value, path)
            case "code":
                return self._code(value, path)
            case "agents":
                return self._agents(value, path)
            case "media":
                return self._media(value, path)
            case "room":
                return self._room(value, path)
            case _:
                return self._choice(value, path, kind)

    def _text(self, value: Value, path: str) -> str | None:
        if value.shape in ("number", "flag", "nothing", "other") and "${" not in value.text:
            mend = f"Write {_quoted(value.text)}" if value.shape != "nothing" else "Write it, or remove it"
            self.fault(value.place, path, _trap(value), mend)
            return None
        if value.shape in ("list", "mapping"):
            mend = f"Write one text after {path.split('.')[-1]}:"
            self.fault(value.place, path, f"it is {noun(value)}, no text", mend)
            return None
        expanded = references.expand(value.text, self.environment)
        if expanded.malformed:
            mend = "Write ${NAME} or ${NAME:-default}; $${ stands for ${ itself"
            self.fault(value.place, path, "a ${…} in it is no reference to a variable", mend)
            return None
        secret = is_secret(path)
        if expanded.missing:
            if secret and value.text == f"${{{expanded.missing[0]}}}":
                self.entry.unset[path] = expanded.missing[0]
                return ""
            missing = expanded.missing[0]
            mend = f"Set {missing} in the environment or in .env"
            self.fault(value.place, path, f"the variable {missing} is not set", mend)
            return None
        if secret and expanded.plain and expanded.text:
            last = path.rpartition(".")[2]
            name = re.sub(r"\W", "_", f"{self.entry.label}_{last.removeprefix('auth_')}").upper()
            mend = f"Write {last}: ${{{name}}} and set {name} in the environment or in .env"
            self.fault(value.place, path, "it stands in plain text", mend, "warning")
        return expanded.text

    def _texts(self, value: Value, path: str) -> tuple[str, ...] | None:
        if value.shape != "list":
            shown = _quoted(value.text) if value.shape != "mapping" else "…"
            mend = f"Write {path.split('.')[-1]}: [{shown}]"
            self.fault(value.place, path, f"it is {noun(value)}, no list", mend)
            return None
        texts: list[str] = []
        for index, item in enumerate(value.items):
            below = f"{path}[{index}]"
            self.entry.places[below] = item.place
            if (text := self._text(item, below)) is not None:
                texts.append(text)
        return tuple(texts)

    def _pairs(self, value: Value, path: str) -> dict[str, str] | None:
        if value.shape != "mapping":
            mend = f"Write {path.split('.')[-1]}: {{NAME: value}}"
            self.fault(value.place, path, f"it is {noun(value)}, no mapping", mend)
            return None
        pairs: dict[str, str] = {}
        for key, (_, each) in value.entries.items():
            below = f"{path}.{key}"
            self.entry.places[below] = each.place
            if (text := self._text(each, below)) is not None:
                pairs[key] = text
        return pairs

    def _flag(self, value: Value, path: str) -> bool | None:
        if value.shape == "flag":
            return value.text.lower() in ("yes", "true", "on")
        self.fault(value.place, path, f"it is {noun(value)}, no yes or no", "Write true or false")
        return None

    def _seconds(self, value: Value, path: str) -> float | None:
        text = value.text
        if value.shape == "text":
            expanded = references.expand(text, self.environment)
            text = expanded.text
        match = _DURATION.fullmatch(text.strip()) if value.shape in ("text", "number") else None
        if match:
            return round(float(match[1]) * _UNITS[match[2]], 6)
        mend = "Write seconds, 30 or 0.5, or a number with its unit: 30s, 5m, 1h"
        negative = value.shape == "number" and text.startswith("-")
        reason = "it is negative" if negative else f"it is {noun(value)}, no time"
        self.fault(value.place, path, reason, mend)
        return None

    def _code(self, value: Value, path: str) -> int | None:
        if value.shape == "number" and re.fullmatch(r"[1-9]\d{2}|0", value.text):
            return int(value.text)
        reason = f"it is {noun(value)}, no SIP code"
        self.fault(value.place, path, reason, "Write a code from 400 to 699, for example 486")
        return None

    def _choice(self, value: Value, path: str, choices: tuple[str, ...]) -> str | None:
        text = references.expand(value.text, self.environment).text if value.shape == "text" else value.text
        if value.shape not in ("list", "mapping") and text.lower() in choices:
            return text.lower()
        listed = ", ".join(choices)
        near = difflib.get_close_matches(text.lower(), choices, 1)
        mend = f"Did you mean {near[0]}? It is one of {listed}" if near else f"Write one of {listed}"
        reason = f"{text} is not known" if text else f"it is {noun(value)}"
        self.fault(value.place, path, reason, mend)
        return None

    def _agents(self, value: Value, path: str) -> tuple[AgentDispatch, ...] | None:
        if value.shape != "list":
            mend = "Write agent: NAME, or agents: [{name: NAME, metadata: …}]"
            self.fault(value.place, path, f"it is {noun(value)}, no list", mend)
            return None
        agents: list[AgentDispatch] = []
        for index, item in enumerate(value.items):
            below = f"{path}[{index}]"
            self.entry.places[below] = item.place
            if item.shape != "mapping":
                if name := self._text(item, below):
                    agents.append(AgentDispatch(name))
                continue
            values: dict[str, str] = {}
            for key, (place, each) in item.entries.items():
                self.entry.places[f"{below}.{key}"] = each.place
                if key not in ("name", "metadata"):
                    path_of_key = f"{self.entry.path}.{below}.{key}"
                    self.unknown(place, path_of_key, key, ["name", "metadata"], {"agent_name": "name"})
                elif (text := self.field("text", each, f"{below}.{key}")) is not None:
                    values[key] = text
            if "name" in values:
                agents.append(AgentDispatch(**values))
            elif "name" not in item.entries:
                self.fault(item.place, below, "it has no name", "Write name: NAME of the agent")
        return tuple(agents)

    def _media(self, value: Value, path: str) -> Media | None:
        if value.shape != "mapping":
            mend = f"Write {path}: {{{', '.join(f'{name}: …' for name in MEDIA)}}}"
            self.fault(value.place, path, f"it is {noun(value)}, no mapping", mend)
            return None
        values: dict[str, Any] = {}
        for key, (place, each) in value.entries.items():
            below = f"{path}.{key}"
            self.entry.places[below] = each.place
            if key not in MEDIA:
                self.unknown(place, f"{self.entry.path}.{below}", key, list(MEDIA), HINTS["media"])
            elif (read := self.field(MEDIA[key], each, below)) is not None:
                values[key] = read
        return Media(**values)

    def _room(self, value: Value, path: str) -> Mapping[str, Any] | None:
        """`room_config` in the shape in which the server gives it back."""
        if value.shape != "mapping":
            self.fault(value.place, path, f"it is {noun(value)}, no mapping", "Write its fields below it")
            return None
        from google.protobuf import json_format

        from sip.api.wire import room_configuration

        try:
            message = room_configuration(self._plain(value))
        except ConfigurationError as error:
            self.fault(value.place, path, *_room_fault(error.why))
            return None
        if message.agents:
            place = value.entries["agents"][0] if "agents" in value.entries else value.place
            mend = "Write agents: beside room_config:"
            self.fault(place, f"{path}.agents", "agents are a field of the rule", mend)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)

    def _plain(self, value: Value) -> Any:
        """A value of any shape, as JSON has it."""
        match value.shape:
            case "mapping":
                return {key: self._plain(each) for key, (_, each) in value.entries.items()}
            case "list":
                return [self._plain(each) for each in value.items]
            case "flag":
                return value.text.lower() in ("yes", "true", "on")
            case "nothing":
                return None
            case "number" if re.fullmatch(r"[-+]?\d+", value.text):
                return int(value.text)
            case "number" if re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", value.text, re.IGNORECASE):
                return float(value.text)
            case _:
                return references.expand(value.text, self.environment).text

    def unknown(self, place: Place, path: str, key: str, known: list[str], hints: Mapping[str, str]) -> None:
        """Note a key that does not exist, with the one that was probably meant."""
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).replace("-", "_").lower()
        near = snake if snake in known else hints.get(snake)
        near = near or next(iter(difflib.get_close_matches(snake, known, 1, 0.7)), None)
        if near and path == f"{self.entry.path}.{key}":
            self.entry.wrong.add(near)  # it is not missing, it is misspelt
        mend = f"Did you mean {near}?" if near else f"Known here: {', '.join(known)}"
        self.faults.append(Fault(place, path, "there is no such field", mend))

    def fault(self, place: Place, path: str, reason: str, mend: str, severity: Severity = "error") -> None:
        """Note what is wrong with a field of the entry."""
        if severity == "error":
            self.entry.wrong.add(re.split(r"[.\[]", path)[0])
        self.faults.append(Fault(place, f"{self.entry.path}.{path}", reason, mend, severity))


def noun(value: Value) -> str:
    """What a value is, for a sentence."""
    nouns = {"list": "a list", "mapping": "a mapping", "nothing": "empty", "text": "a text"}
    if value.shape in nouns:
        return nouns[value.shape]
    return {"number": "a number", "flag": "a yes or no"}.get(value.shape, "a date or another special value")


def _room_fault(why: str) -> tuple[str, str]:
    """Reason and mend of what protobuf says about a `RoomConfiguration`."""
    if unknown := re.search(r'has no field named "([^"]+)"', why):
        from livekit.protocol.room import RoomConfiguration

        known = [field.name for field in RoomConfiguration.DESCRIPTOR.fields if field.name != "agents"]
        near = difflib.get_close_matches(unknown[1], known, 1)
        return (
            f"it has no field {unknown[1]}",
            f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}",
        )
    field = re.search(r"(\w+) field: ", why)
    reason = f"{field[1]} has a value of the wrong type" if field else why.splitlines()[0]
    return reason, "Write it as in LiveKit's RoomConfiguration, times in seconds"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _trap(value: Value) -> str:
    """Why a value without quotes is not the text that it looks like."""
    text = value.text
    if value.shape == "flag":
        return f"{text} without quotes is true or false to YAML, no text"
    if value.shape == "nothing":
        return "it is empty (null to YAML), no text"
    if value.shape == "number":
        if text.startswith("+"):
            return f"{text} without quotes is a number to YAML, which loses the +"
        if re.match(r"[-+]?0[0-9_]", text):
            return f"{text} without quotes is a number to YAML, which loses or misreads the leading 0"
        return f"{text} without quotes is a number to YAML, no text"
    return f"{text} without quotes is a date or another special value to YAML, no text"
