"""What commands print: tables, JSON, messages, progress and questions. The one place that knows of colour.

Results go to standard output, everything else to standard error. Colour and progress lines that change are
for a terminal only; `NO_COLOR` (no-color.org) and `TERM=dumb` turn colour off.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from sip.errors import ConfigurationError

Colour = Literal["red", "green", "yellow", "blue", "cyan", "dim", "bold"]
_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "dim": 2, "bold": 1}


def colours(stream: TextIO | None = None) -> bool:
    """Whether colour is wanted on a stream (standard output by default)."""
    return (
        (stream or sys.stdout).isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def paint(text: str, colour: Colour, stream: TextIO | None = None) -> str:
    """The text in a colour, or as it is where colour is not wanted."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colours(stream) else text


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str = "nothing",
    colour: Callable[[str, str], Colour | None] | None = None,
) -> None:
    """Print rows under their columns, aligned with blanks, nothing cut: it can be read by eye and by awk.

    `None` and `""` show as `-`, a list with commas. Without rows `empty` is said on standard error.
    `colour(column, text)` may choose a colour for a cell.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        say(empty)
        return
    widths = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    line = "  ".join(_padded(name.upper(), width) for name, width in zip(columns, widths, strict=True))
    print(paint(line.rstrip(), "bold"))
    for row in cells:
        shown: list[str] = []
        for name, text, width in zip(columns, row, widths, strict=True):
            wanted = colour(name, text) if colour else None
            padded = _padded(text, width)
            shown.append(paint(padded, wanted) if wanted else padded)
        print("  ".join(shown).rstrip())


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print one object: a name and a value a line."""
    shown = [(name, _cell(value)) for name, value in pairs]
    width = max((_width(name) for name, _ in shown), default=0)
    for name, text in shown:
        first, *more = text.splitlines() or [""]
        print(f"{paint(_padded(name, width), 'dim')}  {first}".rstrip())
        for line in more:
            print(f"{' ' * width}  {line}")


def as_json(value: object) -> None:
    """Print a value as JSON; dataclasses, mappings, paths and sets are understood."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def say(text: str) -> None:
    """A message for people, on standard error."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Something that works but may not be meant."""
    say(f"{paint('warning', 'yellow', sys.stderr)}: {text}")


def fail(error: Exception) -> None:
    """An error in one line, as `sip` ends with it."""
    say(f"{paint('sip', 'red', sys.stderr)}: {error}")


def can_ask() -> bool:
    """Whether somebody sits at a terminal and can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(
    question: str, *, yes: bool = False, mend: str = "Give --yes to go on without a question"
) -> bool:
    """Ask on a terminal; `yes` answers. Raises `ConfigurationError` where nobody can be asked."""
    if yes:
        return True
    if not can_ask():
        raise ConfigurationError(f"{question.rstrip('? ')}: nobody can be asked", "this is no terminal", mend)
    print(f"{question.rstrip()} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Progress:
    """Work of several steps: `with Progress("applying", 12) as progress: … progress.step("trunk a")`.

    On a terminal one line that changes and goes away at the end, elsewhere a line a step (at most every
    tenth part of long work).
    """

    def __init__(self, what: str, total: int = 0, *, stream: TextIO | None = None) -> None:
        self.what, self.total, self.done = what, total, 0
        self._stream = stream or sys.stderr
        self._every = max(1, total // 10)

    def __enter__(self) -> Self:
        self._show(self.what + " …")
        return self

    def step(self, text: str = "") -> None:
        """One more is done; `text` names it."""
        self.done += 1
        counted = f"{self.done}/{self.total}" if self.total else str(self.done)
        if self._stream.isatty() or self.done % self._every == 0 or self.done == self.total:
            self._show(f"{self.what} {counted} {text}".rstrip())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream.isatty():
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def _show(self, text: str) -> None:
        if self._stream.isatty():
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)


def _cell(value: object) -> str:
    if value is None or value == "" or value == () or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        pairs: Mapping[Any, Any] = value
        return ", ".join(f"{key}={each}" for key, each in pairs.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        several: Iterable[Any] = value
        return ", ".join(map(str, several))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        pairs: Mapping[Any, Any] = value
        return dict(pairs)
    if isinstance(value, (set, frozenset)):
        several: Iterable[Any] = value
        return sorted(several)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
