"""The tools that a request offers, found by what they are for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .completion import ToolCall

_END = re.compile(
    r"\b(end|finish|terminate|close|disconnect)s?\b.{0,20}\b(call|conversation|line)\b|\bhang(s|ing)? ?up"
)
_TRANSFER = re.compile(
    r"\btransfer|\bput\b.{0,30}\bthrough\b|\bhand ?(over|off)|\bforward|\bescalat|\bhuman\b"
)


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def call(self, text: str) -> ToolCall:
        """A call with every required argument filled: choices by what was said, texts with what was said."""
        properties = _mapping(self.parameters.get("properties"))
        required = self.parameters.get("required")
        names = (
            [str(n) for n in cast(list[Any], required)] if isinstance(required, list) else list(properties)
        )
        return ToolCall(self.name, {name: _fill(_mapping(properties.get(name)), text) for name in names})

    def mentions(self, pattern: re.Pattern[str]) -> bool:
        """Whether its name, or else its description, is about this."""
        return pattern.search(self.name.replace("_", " ").replace("-", " ").lower()) is not None


@dataclass(frozen=True)
class Tools:
    """What can be done in this request; None where there is no tool for it."""

    end_call: Tool | None = None
    transfer: Tool | None = None

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Tools:
        """From the `tools` of a request; with `tool_choice: none` there are none."""
        if request.get("tool_choice") == "none":
            return cls()
        tools: list[Tool] = []
        offered = request.get("tools")
        for entry in cast(list[Any], offered) if isinstance(offered, list) else []:
            function = _mapping(_mapping(entry).get("function"))
            if function.get("name"):
                description = str(function.get("description") or "")
                tools.append(Tool(str(function["name"]), description, _mapping(function.get("parameters"))))
        return cls(_find(tools, _END), _find(tools, _TRANSFER))


def _find(tools: list[Tool], pattern: re.Pattern[str]) -> Tool | None:
    """By name first: a description also says what a tool is not for."""
    for tool in tools:
        if tool.mentions(pattern):
            return tool
    for tool in tools:
        # The first sentence says what it is for.
        purpose = re.split(r"[.\n]", tool.description.strip().lower(), maxsplit=1)[0]
        if pattern.search(purpose):
            return tool
    return None


def _fill(schema: Mapping[str, Any], text: str) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return _choose(
            [str(choice) for choice in cast(list[Any], choices)], str(schema.get("description", "")), text
        )
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in cast(list[Any], kind) if k != "null"), "string")
    defaults: dict[Any, Any] = {"integer": 0, "number": 0, "boolean": True, "array": [], "object": {}}
    return defaults.get(kind, text)


def _choose(choices: list[str], description: str, text: str) -> str:
    """The choice whose name, or else whose part of the description, shares most words with what was said."""
    said = set(re.findall(r"[a-z]{3,}", text.lower()))

    def score(choice: str) -> tuple[int, int]:
        named = len(said & set(re.findall(r"[a-z]{3,}", choice.lower())))
        parts = [part for part in description.split(";") if part.strip().lower().startswith(choice.lower())]
        described = len(said & set(re.findall(r"[a-z]{4,}", " ".join(parts).lower())))
        return named, described

    return max(choices, key=score)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
