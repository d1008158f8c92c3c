"""Every way to use every preset: the default, and each other choice by itself."""

from __future__ import annotations

from dataclasses import dataclass

from sip.presets import load, names
from sip.presets.preset import Mode
from sip.presets.questions import Target, questions
from sip.presets.template import evaluate
from sip.presets.use import Use, use

SECRET = "Tr0ub4dor&3"
"""A password that must not be seen anywhere."""


@dataclass(frozen=True)
class Case:
    """One use of a preset, with numbers that no other case has."""

    preset: str
    mode: Mode
    target: Target
    choice: tuple[str, str] | None
    index: int

    def __str__(self) -> str:
        choice = "-".join(self.choice) if self.choice else "default"
        return f"{self.preset}-{self.mode}-{self.target}-{choice}"

    @property
    def given(self) -> dict[str, list[str]]:
        """What the user says: each example of what must be given, and the choice."""
        given = {"name": [f"{self.preset}-{self.index}"]}
        for question in questions(load(self.preset), self.mode):
            number = f"+1510555{self.index:04}" if question.form == "e164" else f"{7000 + self.index}"
            if question.key in ("numbers", "extension", "number"):
                given[question.key] = [number]
            elif question.default is None and not question.optional and self._asked(question.when):
                given[question.key] = [question.example]
        if self.choice:
            given[self.choice[0]] = [self.choice[1]]
        return given

    def _asked(self, when: str) -> bool:
        """Whether a question has a meaning here: it hangs on one choice, or on the target."""
        values = {"direction": "both", "target": self.target, "mode": self.mode, "auth": self._auth}
        return not when or bool(evaluate(when, values | dict([self.choice] if self.choice else [])))

    @property
    def _auth(self) -> str:
        asked = {question.key: question for question in questions(load(self.preset), self.mode)}
        if "auth" not in asked or (self.choice == ("direction", "inbound") and asked["auth"].when):
            return ""
        return asked["auth"].default or ""

    def used(self) -> Use:
        """The preset, filled in."""
        return use(load(self.preset), self.given, mode=self.mode, target=self.target)


def cases() -> list[Case]:
    """All of them."""
    found: list[Case] = []

    def add(name: str, mode: Mode, target: Target, choice: tuple[str, str] | None = None) -> None:
        found.append(Case(name, mode, target, choice, len(found)))

    for name in names():
        preset = load(name)
        for mode in preset.modes:
            add(name, mode, "cloud")
            add(name, mode, "self-hosted")
            add(name, mode, "local")
            for question in questions(preset, mode):
                for choice in question.choices:
                    if choice != question.default:
                        add(name, mode, "self-hosted", (question.key, choice))
    return found
