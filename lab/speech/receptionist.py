"""A rule-based receptionist behind the chat endpoint: it answers what was asked, and calls tools.

It keeps nothing between requests: every request holds the whole conversation, which is heard again from the
start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from .completion import Reply, ToolCall, text_of
from .dialogue import Dialogue
from .knowledge import read_knowledge
from .tools import Tools


@dataclass(frozen=True)
class Line:
    """An answer of a script: `says` and `calls` follow when `hears` matches what the caller said."""

    hears: re.Pattern[str]
    says: str
    calls: tuple[ToolCall, ...] = ()


class Receptionist:
    """Answers chat requests. `script` lines come before its own rules."""

    def __init__(self, script: Sequence[Line] = ()) -> None:
        self._script = tuple(script)

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """The reply to one request body of `/v1/chat/completions`."""
        talk = _Talk.read(request)
        tools = Tools.read(request)
        dialogue = Dialogue(read_knowledge(talk.instructions), tools)
        reply = Reply()
        for turn in talk.turns:
            for said in turn.agent:
                dialogue.said(said)
            if turn.caller:
                reply = self._scripted(turn.caller) or dialogue.hear(turn.caller)
        last = talk.last
        if last == "tool":
            return dialogue.after_tool(talk.tool_result, talk.spoken_with_tool)
        if talk.order:
            return Reply(_ordered(talk.order))
        if last != "user":
            return Reply(_ordered("") if not talk.turns else "Is there anything else I can do for you?")
        return reply

    def _scripted(self, text: str) -> Reply | None:
        for line in self._script:
            if line.hears.search(text):
                return Reply(line.says, line.calls)
        return None


@dataclass
class _Turn:
    """What the agent said, then what the caller did."""

    agent: list[str] = field(default_factory=list[str])
    caller: str = ""


@dataclass
class _Talk:
    """A request's messages as turns."""

    instructions: str = ""
    order: str = ""
    """Instructions for this one reply: a system message after the last thing that was said."""
    turns: list[_Turn] = field(default_factory=list[_Turn])
    last: str = ""
    tool_result: str = ""
    spoken_with_tool: str = ""

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> _Talk:
        talk = cls()
        messages = [cast(Mapping[str, Any], m) for m in request.get("messages", []) if isinstance(m, Mapping)]
        for message in messages:
            role, text = str(message.get("role", "")), text_of(message).strip()
            if role in ("system", "developer"):
                if talk.last in ("user", "assistant", "tool"):
                    talk.order = text
                talk.instructions += text + "\n"
                continue
            talk.order = ""
            if role == "user" and text:
                if talk.last == "user":
                    # Said in two breaths, with no answer between: one turn.
                    talk.turns[-1].caller += " " + text
                else:
                    talk._heard(text)
            elif role == "assistant":
                if not talk.turns or talk.turns[-1].caller:
                    talk.turns.append(_Turn())
                if text:
                    talk.turns[-1].agent.append(text)
                talk.spoken_with_tool = text
            elif role == "tool":
                talk.tool_result = text
            talk.last = role
        return talk

    def _heard(self, text: str) -> None:
        """The caller said this; it belongs to the turn before when the answer to that was hardly begun."""
        if not self.turns or self.turns[-1].caller:
            self.turns.append(_Turn())
        if len(self.turns) > 1 and _broken_off(self.turns[-1].agent):
            self.turns.pop()
            self.turns[-1].caller += " " + text
        else:
            self.turns[-1].caller = text


def _broken_off(said: Sequence[str]) -> bool:
    """Whether the agent was stopped within its first words, so that nothing was answered yet."""
    text = " ".join(said)
    return bool(text) and len(text.split()) <= 3 and text[-1] not in ".!?"


def _ordered(order: str) -> str:
    """Say what a one-off instruction asks for: its quoted words, or the usual thing of its kind."""
    quoted = re.search(r"[\"“']([^\"”]{4,})[\"”']", order)
    if quoted:
        return quoted.group(1)
    if re.search(r"goodbye|farewell|end (the|of) call|bye", order, re.IGNORECASE):
        return "Thank you for calling. Goodbye."
    if re.search(r"still (there|on the line)|silent|idle|quiet", order, re.IGNORECASE):
        return "Are you still there?"
    if re.search(r"apolog|sorry|problem|fail", order, re.IGNORECASE):
        return "I am sorry, something went wrong here. Could you say that again, please?"
    return "Hello, how can I help you?"


def load_script(path: Path) -> tuple[Line, ...]:
    """Read a YAML list of `{hears: regex, says: text, calls: {tool: {argument: value}}}`.

    Raises `ValueError` that names the entry and the field, `OSError` when the file cannot be read.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from None
    if not isinstance(data, list):
        raise ValueError(f"{path}: not a list of answers")
    lines: list[Line] = []
    for index, entry in enumerate(cast(list[Any], data), 1):
        fields = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
        unknown = set(fields) - {"hears", "says", "calls"}
        if "hears" not in fields or unknown:
            raise ValueError(f"{path}: answer {index} needs `hears`, and knows only hears, says and calls")
        try:
            hears = re.compile(str(fields["hears"]), re.IGNORECASE)
        except re.error as error:
            raise ValueError(f"{path}: answer {index}: hears: {error}") from None
        calls = fields.get("calls") or {}
        if not isinstance(calls, dict):
            raise ValueError(f"{path}: answer {index}: calls is not `tool: {{argument: value}}`")
        made = tuple(
            ToolCall(str(name), cast(dict[str, Any], arguments or {}))
            for name, arguments in cast(dict[Any, Any], calls).items()
        )
        lines.append(Line(hears, str(fields.get("says") or ""), made))
    return tuple(lines)
