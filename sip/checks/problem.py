"""What is wrong with one field of a trunk, a rule or a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "unsafe", "warning"]
"""`error`: it cannot work, or the server refuses it. `unsafe`: it lets strangers in; refused unless meant.
`warning`: it works, but is seldom what was meant."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one field."""

    field: str
    """As in `trunks.yaml` and the API: `allowed_addresses`, `media.codecs`, `headers`."""
    reason: str
    mend: str
    severity: Severity = "error"
    name: str = ""
    """Of the findings that a flag can allow: `open-trunk`, `rule-without-trunks`."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}. {self.mend}"
