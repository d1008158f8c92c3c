"""Who speaks: a Markdown file with a head in YAML and the instructions as its text.

---
greeting: Good day, how can I help you?
language: en                     # optional
voice: f786b574-…                # optional: voice id of the synthesis in use
transfer:                        # optional: whom a caller can be put through to
  front desk: sip:desk@pbx.example
  kitchen:
    to: tel:+15550123
    when: the caller asks about food allergies
fallback: front desk             # optional: who takes the call when the agent fails
---
You are …
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.errors import PersonaError

_URI = re.compile(r"(sips?:[^@\s]+@[^\s]+|tel:\+?[0-9*#().-]+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,39}")
_KEYS = ("greeting", "language", "voice", "transfer", "fallback")


@dataclass(frozen=True)
class Target:
    """Somebody to whom a caller can be handed over."""

    name: str
    uri: str
    """`sip:`, `sips:` or `tel:`; the language model never sees it."""
    when: str = ""
    """When to hand over, in words for the language model."""


@dataclass(frozen=True)
class Persona:
    """What the agent is told, and what it says first."""

    greeting: str
    instructions: str
    language: str = "en"
    voice: str = ""
    """Voice id of the synthesis in use; empty: its default."""
    targets: tuple[Target, ...] = ()
    fallback: Target | None = None
    """Who takes the call when the agent cannot go on; None: the call ends."""

    def target(self, name: str) -> Target | None:
        """The transfer target of this name, however it is capitalised."""
        return next((t for t in self.targets if t.name.casefold() == name.strip().casefold()), None)


def read_persona(path: Path) -> Persona:
    """The persona of a file. Raises `PersonaError` with every problem and its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PersonaError(f"{path} cannot be read", reason or "", "Name an existing Markdown file") from None
    return parse_persona(text, str(path))


def briefed(instructions: str, about: str) -> str:
    """Instructions, and what is known of this one call: metadata of the job, from its rule or `sip call`."""
    about = about.strip()
    return f"{instructions}\n\nAbout this call:\n{about}" if about else instructions


def parse_persona(text: str, name: str = "persona") -> Persona:
    """The persona of a text; `name` stands in error messages."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if not lines or lines[0].rstrip() != "---" or end is None:
        raise PersonaError(f"{name}, line 1", "the head is missing", "Begin with `---`, `greeting: …`, `---`")
    reader = _Head(name)
    head = reader.read("\n".join(lines[1:end]))
    instructions = "\n".join(lines[end + 1 :]).strip()
    if not instructions:
        reader.problem(end + 1, "the instructions are missing; write them below the head")
    targets = tuple(reader.targets(head.get("transfer")))
    fallback = None
    if "fallback" in head:
        wanted = reader.text(head, "fallback")
        fallback = next((t for t in targets if t.name.casefold() == wanted.casefold()), None)
        if wanted and fallback is None:
            reader.problem(head["fallback"][1], f"fallback {wanted!r} is no name under `transfer`")
    greeting = reader.text(head, "greeting", required=True)
    persona = Persona(
        greeting=greeting,
        instructions=instructions,
        language=reader.text(head, "language") or "en",
        voice=reader.text(head, "voice"),
        targets=targets,
        fallback=fallback,
    )
    reader.finish()
    return persona


class _Head:
    """Reads the YAML head with line numbers, and collects problems."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: list[tuple[int, str]] = []

    def problem(self, line: int, text: str) -> None:
        self._problems.append((line, text))

    def finish(self) -> None:
        """Raise what was collected."""
        if self._problems:
            found = "; ".join(f"line {line}: {text}" for line, text in sorted(self._problems))
            raise PersonaError(self._name, found)

    def read(self, head: str) -> dict[str, tuple[Any, int]]:
        """Key → (YAML node, line in the file)."""
        try:
            node = yaml.compose(head, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            self.problem((mark.line if mark else 0) + 2, error.problem or "not YAML")
            self.finish()
            raise AssertionError from None  # finish() has raised
        if not isinstance(node, yaml.MappingNode):
            self.problem(2, "the head is no list of `key: value` lines")
            self.finish()
            return {}
        found: dict[str, tuple[Any, int]] = {}
        for key, value in node.value:
            line = key.start_mark.line + 2
            if key.value not in _KEYS:
                self.problem(line, f"unknown key {key.value!r}; known are {', '.join(_KEYS)}")
            elif key.value in found:
                self.problem(line, f"{key.value!r} stands twice")
            else:
                found[key.value] = (value, line)
        return found

    def text(self, head: dict[str, tuple[Any, int]], key: str, *, required: bool = False) -> str:
        node, line = head.get(key, (None, 2))
        if node is not None and not isinstance(node, yaml.ScalarNode):
            self.problem(line, f"{key} is text, not a list")
            return ""
        text = str(node.value).strip() if node is not None else ""
        if required and not text:
            self.problem(line, f"{key} is missing")
        return text

    def targets(self, entry: tuple[Any, int] | None) -> list[Target]:
        if entry is None:
            return []
        node, line = entry
        if not isinstance(node, yaml.MappingNode):
            self.problem(line, "transfer is a list of `name: sip:… or tel:…` lines")
            return []
        found: list[Target] = []
        for key, value in node.value:
            target = self._target(str(key.value).strip(), value, key.start_mark.line + 2)
            if target is not None:
                if any(t.name.casefold() == target.name.casefold() for t in found):
                    self.problem(key.start_mark.line + 2, f"target {target.name!r} stands twice")
                found.append(target)
        return found

    def _target(self, name: str, node: Any, line: int) -> Target | None:
        uri, when = "", ""
        if isinstance(node, yaml.ScalarNode):
            uri = str(node.value).strip()
        elif isinstance(node, yaml.MappingNode):
            fields = {str(k.value): v for k, v in node.value}
            for key in fields.keys() - {"to", "when"}:
                self.problem(line, f"unknown key {key!r} in target {name!r}; known are to, when")
            uri = str(getattr(fields.get("to"), "value", "")).strip()
            when = str(getattr(fields.get("when"), "value", "")).strip()
        if not _NAME.fullmatch(name):
            self.problem(line, f"target name {name!r} has to be up to 40 letters, digits, spaces, - or _")
        elif not _URI.fullmatch(uri):
            self.problem(
                line, f"target {name!r} needs an address: sip:user@host, sips:user@host or tel:+number"
            )
        else:
            return Target(name, uri, when)
        return None
