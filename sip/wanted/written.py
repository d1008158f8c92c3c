"""A state as the text of a `trunks.yaml`, without its secrets: what `sip import` writes.

What was written is read back as the same state: names that cannot tell objects apart are helped by their
ids, secrets become references to variables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sip.model import AgentDispatch, Item, Media, Rule, State, kind_of
from sip.wanted.document import LEADING_ZERO
from sip.wanted.fields import FIELDS, SECTIONS, is_secret

_WIDTH = 100
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Written:
    """Text of the file, and the variables that it refers to."""

    text: str
    secrets: Mapping[str, str]
    """`{variable: secret}`."""


class _Reference(str):
    """`${NAME}`, which is written as it is."""

    __slots__ = ()


def write(state: State, origin: str = "", environment: Mapping[str, str] | None = None) -> Written:
    """The file for a state. `origin` is named in its first line.

    A variable that the environment holds with another value is not used.
    """
    names = _Variables(environment or {})
    labels = {kind: _labels([item for item in state if kind_of(item) == kind]) for kind in SECTIONS.values()}
    trunks = {_id(trunk): label for trunk, label in labels["inbound"] if _id(trunk)}
    lines: list[str] = []
    for section, kind in SECTIONS.items():
        if not labels[kind]:
            continue
        lines += ["", f"{section}:"]
        for item, label in sorted(labels[kind], key=lambda pair: pair[1]):
            lines += _lines({label: _fields(item, label, names, trunks)}, 1)
    if not lines:
        lines = ["", *(f"{section}: {{}}" for section in list(SECTIONS)[:3])]
    head = [f"# Trunks and dispatch rules{f' of {origin}' if origin else ''}, written by `sip import`."]
    head.append("# `sip plan` shows what an edit of this file would change, `sip apply` changes it.")
    if names.secrets:
        head.append("# Secrets come from the environment or .env. Set:")
        head += [f"#   {name}" for name in names.secrets]
    return Written("\n".join(head + lines) + "\n", names.secrets)


class _Variables:
    """Names for secrets, each used once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.secrets: dict[str, str] = {}

    def of(self, label: str, field: str, secret: str) -> _Reference:
        """A reference to the variable that holds a secret."""
        words = re.sub(r"[^A-Za-z0-9]+", "_", f"{label}_{field.removeprefix('auth_')}").strip("_").upper()
        base = words if not words[:1].isdigit() else f"SIP_{words}"
        name, count = base, 1
        while name in self.secrets or self._environment.get(name, secret) != secret:
            count += 1
            name = f"{base}_{count}"
        self.secrets[name] = secret
        return _Reference(f"${{{name}}}")


def _labels(items: list[Item]) -> list[tuple[Item, str]]:
    """Each object with its key in the file: its name, or something made of it where others have it, too."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.name] = counts.get(item.name, 0) + 1
    taken = set(counts)
    labels: list[tuple[Item, str]] = []
    for item in sorted(items, key=lambda item: (item.name, _id(item))):
        label = item.name
        if not item.name or counts[item.name] > 1:
            base = label = f"{item.name}-{_id(item)}" if item.name else _id(item)
            number = 1
            while label in taken:
                number += 1
                label = f"{base}-{number}"
        taken.add(label)
        labels.append((item, label))
    return labels


def _id(item: Item) -> str:
    return getattr(item, "id", "")


def _fields(item: Item, label: str, names: _Variables, trunks: Mapping[str, str]) -> dict[str, Any]:
    """What differs from the default, in the order of the reference."""
    values: dict[str, Any] = {}
    default: Item = type(item)(name=item.name)
    if label != item.name:
        values["name"], values["id"] = item.name, _id(item)
    for name in FIELDS[kind_of(item)]:
        if name in ("name", "id", "agent"):
            if name == "agent":
                values |= _agents(item)
            continue
        value = getattr(item, name)
        if name == "agents" or value == getattr(default, name):
            continue
        if is_secret(name):
            value = names.of(label, name, value)
        elif name == "trunks":
            value = [trunks.get(trunk, trunk) for trunk in value]
        elif name == "headers":
            value = {
                key: names.of(label, key, each) if each and is_secret(f"headers.{key}") else each
                for key, each in value.items()
            }
        elif isinstance(value, Media):
            value = {
                key: getattr(value, key)
                for key in Media.__dataclass_fields__
                if getattr(value, key) != getattr(Media(), key)
            }
        values[name] = value
    return values


def _agents(item: Item) -> dict[str, Any]:
    if not isinstance(item, Rule) or not item.agents:
        return {}
    if len(item.agents) == 1 and item.agents[0].name and not item.agents[0].metadata:
        return {"agent": item.agents[0].name}

    def fields(agent: AgentDispatch) -> dict[str, str]:
        return {"name": agent.name} | ({"metadata": agent.metadata} if agent.metadata else {})

    return {"agents": [fields(agent) for agent in item.agents]}


def _lines(value: Mapping[str, Any], level: int) -> list[str]:
    """A mapping as block lines."""
    lines: list[str] = []
    indent = "  " * level
    for key, each in value.items():
        head = f"{indent}{_key(key)}:"
        if isinstance(each, Mapping) and each:
            lines += [head, *_lines(each, level + 1)]
        elif isinstance(each, (list, tuple)) and each:
            flow = _flow(each)
            if len(head) + len(flow) < _WIDTH and not any(isinstance(item, Mapping) for item in each):
                lines.append(f"{head} {flow}")
                continue
            lines += [head, *(f"{indent}  - {_flow(item)}" for item in each)]
        else:
            lines.append(f"{head} {_flow(each)}")
    return lines


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, _Reference):
        return value
    if isinstance(value, str):
        return _text(value.replace("${", "$${"))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


def _key(text: str) -> str:
    return _text(text)


def _text(text: str) -> str:
    """A text, without quotes where YAML reads it as the same text."""
    import yaml

    plain = re.fullmatch(r"[A-Za-z0-9_./]([A-Za-z0-9_./@+:-]*[A-Za-z0-9_./@+-])?", text)
    if (
        plain
        and not LEADING_ZERO.fullmatch(text)
        and yaml.resolver.Resolver().resolve(yaml.ScalarNode, text, (True, False)).endswith(":str")
    ):
        return text
    if text.isascii() and text.isprintable() and '"' in text:
        return "'" + text.replace("'", "''") + "'"
    return _BREAKS.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def dotenv(secrets: Mapping[str, str]) -> Iterable[str]:
    """Lines for a `.env` that hold the secrets."""
    for name, secret in secrets.items():
        quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
        yield f"{name}='{quoted}'"
