"""A preset: what is known of a carrier or PBX, what must be asked, and what is written on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

PresetKind = Literal["carrier", "pbx"]
Mode = Literal["trunk", "extension"]
"""`trunk`: two SIP peers. `extension`: we register at the far end like a phone."""
ProofState = Literal["run", "checked", "not run"]
"""`run`: a real peer with the printed configuration carried calls. `checked`: a real peer took it, but no
call reached an agent."""
Form = Literal[
    "choice",
    "word",
    "text",
    "host",
    "address",
    "port",
    "number",
    "numbers",
    "e164",
    "networks",
    "env",
    "project",
    "path",
]
Value = str | int | float | tuple[str, ...] | None

FACTS: Mapping[str, str] = {
    "address": "address that LiveKit dials",
    "transport": "transports",
    "ports": "ports",
    "auth": "authentication",
    "number_in": "numbers as they arrive",
    "number_out": "numbers as it wants them",
    "codecs": "codecs",
    "dtmf": "DTMF",
    "srtp": "SRTP",
    "source_ranges": "signalling comes from",
    "media_ranges": "media comes from",
    "transfer": "transfer (REFER)",
    "cps": "new calls a second",
    "concurrency": "calls at once",
    "call_id_headers": "call id headers",
    "options": "OPTIONS ping",
    "test_numbers": "test numbers",
}
"""Every preset says something of each of these, be it that nobody knows; name → words for people."""


@dataclass(frozen=True)
class Source:
    """Where a fact was read."""

    tag: str
    title: str
    url: str
    """A page, or a path in this project for what was measured here; empty for general knowledge."""
    dated: str = ""
    """Date of the page or of the copy that was read, where it had one."""
    third_party: bool = False
    """Somebody else's words about the vendor: such a fact is never `verified`."""


@dataclass(frozen=True)
class Fact:
    """One thing about the far end. `value` None: unknown."""

    value: Value
    verified: bool
    sources: tuple[Source, ...] = ()
    read_on: date | None = None
    note: str = ""


@dataclass(frozen=True)
class Question:
    """A value that only the user knows. Expressions and defaults may use the values before it."""

    key: str
    ask: str
    example: str
    form: Form = "word"
    default: str | None = None
    """Template; None: it must be given, unless `optional`."""
    choices: tuple[str, ...] = ()
    when: str = ""
    """Expression; where it is false the value is empty and never asked for."""
    optional: bool = False
    modes: tuple[Mode, ...] = ("trunk", "extension")


@dataclass(frozen=True)
class Step:
    """Something to do on the other side: a text, or a file to paste."""

    title: str
    text: str
    """Template."""
    file: str = ""
    """Name of the file that `text` is; empty for instructions."""
    path: str = ""
    """Where the far end looks for it."""
    syntax: Literal["text", "ini", "xml", "kamailio", "dispatcher"] = "text"
    when: str = ""
    verified: bool = True
    """False: written from general knowledge, without a page to hold it against."""
    modes: tuple[Mode, ...] = ("trunk", "extension")


@dataclass(frozen=True)
class Refusal:
    """Values that each are right and cannot work together."""

    when: str
    """Expression."""
    why: str
    """The reason, and what to do."""


@dataclass(frozen=True)
class Proof:
    """What was shown of a preset's far side, and against whom."""

    state: ProofState
    peer: str = ""
    run_on: date | None = None
    what: str = ""


@dataclass(frozen=True)
class Preset:
    """One carrier or PBX."""

    name: str
    title: str
    kind: PresetKind
    about: str
    modes: tuple[Mode, ...]
    """The first one is the default."""
    facts: Mapping[str, Fact]
    quirks: tuple[Fact, ...] = ()
    questions: tuple[Question, ...] = ()
    entries: Mapping[Mode, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict[Mode, Any])
    """Mode → section of `trunks.yaml` → fields, whose texts are templates."""
    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    proofs: Mapping[Mode, Proof] = field(default_factory=dict[Mode, Proof])

    def listed(self, fact: str) -> tuple[str, ...]:
        """A fact that is a list: `codecs`, `source_ranges`, …; empty when it is unknown."""
        value = self.facts[fact].value
        return value if isinstance(value, tuple) else ()

    @property
    def codecs(self) -> tuple[str, ...]:
        """Codecs of the far end in its order, by their SDP names."""
        return self.listed("codecs")

    @property
    def source_ranges(self) -> tuple[str, ...]:
        """Networks that its INVITEs come from; empty when they are unknown or the user's own."""
        return self.listed("source_ranges")

    @property
    def cps(self) -> float | None:
        """New calls a second that it takes by default; None when unknown."""
        value = self.facts["cps"].value
        return value if isinstance(value, (int, float)) else None

    @property
    def concurrency(self) -> int | None:
        """Calls at once that it takes by default; None when unknown."""
        value = self.facts["concurrency"].value
        return value if isinstance(value, int) else None
