"""`${NAME}` in a file: values that come from the environment, so that no secret stands in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::?-(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Expanded:
    """A text with its references filled in."""

    text: str
    missing: tuple[str, ...] = ()
    """Variables that are not set, or empty, and have no default."""
    malformed: str = ""
    """The first reference that is none."""
    plain: bool = True
    """Whether any part of the text, also a default, stood in the file itself."""


def expand(text: str, environment: Mapping[str, str]) -> Expanded:
    """Fill in `${NAME}` and `${NAME:-default}`; `$${` is `${`. An empty variable counts as not set."""
    if "${" not in text:
        return Expanded(text, plain=bool(text))
    missing: list[str] = []
    malformed = ""
    plain = bool(_REFERENCE.sub("", text))

    def fill(match: re.Match[str]) -> str:
        nonlocal malformed, plain
        if match[0] == "$${":
            plain = True
            return "${"
        parts = _NAME.fullmatch(match[1])
        if not parts or not match[2]:
            malformed = malformed or match[0]
            return ""
        if value := environment.get(parts[1]):
            return value
        if parts[2] is None:
            missing.append(parts[1])
            return ""
        plain = plain or bool(parts[2])
        return parts[2]

    filled = _REFERENCE.sub(fill, text)
    return Expanded(filled, tuple(missing), malformed, plain)


def environment(directory: Path | None = None) -> dict[str, str]:
    """The process's environment over the `.env` of a directory (the working directory).

    Values of the file are taken as they stand there: a `${` in a password is no reference.
    """
    from dotenv import dotenv_values

    file = (directory or Path.cwd()) / ".env"
    return {name: value for name, value in dotenv_values(file, interpolate=False).items() if value} | {
        name: value for name, value in os.environ.items() if value
    }
