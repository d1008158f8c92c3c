"""What a check found: the doctor's word about a system, the trace's word about a call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info", "ok", "skipped"]
"""`error`: it keeps calls from working; `warning`: it will hurt some day, or some calls; `skipped`: could
not be looked at, `what` says why."""
ORDER: tuple[Severity, ...] = ("error", "warning", "info", "skipped", "ok")


@dataclass(frozen=True)
class Finding:
    """One thing found. `name` is a stable slug that scripts may rely on."""

    name: str
    severity: Severity
    what: str
    """What was found and what it means, a sentence or two. Never a secret, never a phone number of a call."""
    mend: str = ""
    """What to do, best a command."""
    subject: str = ""
    """The trunk, rule, setting or address that it is about."""


def sentence(text: str) -> str:
    """The text with a full stop, unless it has an end of its own."""
    return text if not text or text[-1] in ".?!" else f"{text}."


def worst(findings: Iterable[Finding]) -> Severity:
    """The gravest severity; `ok` when there are none."""
    found = {finding.severity for finding in findings}
    for severity in ORDER:
        if severity in found:
            return severity
    return "ok"


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Gravest first; otherwise as they came."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))
