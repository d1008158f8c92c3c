"""A YAML file as a tree that knows where each value stands, and what is wrong with it as YAML.

PyYAML composes the nodes; the values stay text as it was written, so that `+15550100` or `007` without quotes
is noticed instead of turned into another number. YAML is only imported when a file is read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sip.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

Severity = Literal["error", "warning"]
Shape = Literal["text", "number", "flag", "nothing", "list", "mapping", "other"]
"""What YAML makes of a value."""
_SHAPES: dict[str, Shape] = {
    "str": "text",
    "int": "number",
    "float": "number",
    "bool": "flag",
    "null": "nothing",
    "seq": "list",
    "map": "mapping",
}
_CORE = "tag:yaml.org,2002:"
LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
"""What may be a number without quotes: 08 is text to YAML 1.1 and a number to YAML 1.2."""
_DEEPEST = 100
"""Levels of nesting; the parser needs stack for each, and ends the process when there is none left."""
_MOST_NODES = 300_000
"""A file that unfolds to more through aliases was made to harm."""


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands; line and column count from 1, 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one field of a file."""

    place: Place
    field: str
    """Path of the field, `inbound.carrier.numbers[0]`; empty for the file itself."""
    reason: str
    mend: str
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.place}: warning" if self.severity == "warning" else str(self.place)
        text = f"{where}: {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"
        return f"{text.rstrip('.')}. {self.mend}" if self.mend else text

    def as_json(self) -> dict[str, object]:
        """The fault as one flat object."""
        place: dict[str, object] = {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
        }
        rest = {"field": self.field, "reason": self.reason, "mend": self.mend, "severity": self.severity}
        return place | rest


class FileError(ConfigurationError):
    """All faults of one file, in the order of its lines; warnings stand among them."""

    def __init__(self, file: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.place, fault.field)))
        count = sum(fault.severity == "error" for fault in self.faults)
        text = "an error" if count == 1 else f"{count} errors"
        super().__init__(f"{file} has {text}", "\n  " + "\n  ".join(map(str, self.faults)))

    def __str__(self) -> str:
        return f"{self.what}:{self.why}"


@dataclass(frozen=True)
class Value:
    """One value of the file: a scalar's text, a list's items or a mapping's entries."""

    place: Place
    shape: Shape
    text: str = ""
    items: tuple[Value, ...] = ()
    entries: dict[str, tuple[Place, Value]] = field(default_factory=dict[str, "tuple[Place, Value]"])
    """`{key: (place of the key, value)}`, in the order of the file."""
    literal: bool = False
    """Whether the text stood in quotes or in a block."""
    broken: bool = False
    """Whether a fault of it is noted already."""


def load(path: Path) -> tuple[str, str]:
    """Name and text of a file; `-` is standard input. Raises `FileError` for what cannot be read as text."""
    name = "<stdin>" if str(path) == "-" else str(path)
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError:
        raise _unreadable(
            name, "there is no such file", "Write one, or let `sip import` write the live trunks into it"
        ) from None
    except IsADirectoryError:
        raise _unreadable(name, "it is a directory", "Name the file in it") from None
    except PermissionError:
        raise _unreadable(
            name, "you may not read it", f"Run chmod u+r {name}, or read it as its owner"
        ) from None
    except OSError as error:
        raise _unreadable(name, f"it cannot be read ({error.strerror})", "Check the path") from None
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise _unreadable(name, "it is no text (it holds NUL bytes)", "Name a YAML file in UTF-8", line)
    try:
        return name, data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        reason = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _unreadable(name, reason, "Save the file as UTF-8", line) from None


def _unreadable(name: str, reason: str, mend: str, line: int = 0) -> FileError:
    return FileError(name, [Fault(Place(name, line), "file", reason, mend)])


def parse(text: str, file: str) -> tuple[Value | None, list[Fault]]:
    """The tree of a document, None when it holds nothing; and its problems: keys given twice, unknown tags.

    Raises `FileError` for text that is no YAML: nothing after the first such place can be trusted.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if _may_be_deep(text):
            _check_depth(yaml.parse(text, Loader=loader), file)
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise FileError(file, [_syntax(error, text, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        reason = f"character U+{code:04X} is not allowed in YAML"
        field = _last_key(text.splitlines()[:line])
        raise FileError(file, [Fault(Place(file, line), field, reason, "Remove it")]) from None
    builder = _Builder(file)
    return (None if root is None else builder.value(root, "", ())), builder.faults


def _may_be_deep(text: str) -> bool:
    """Whether brackets, indentation or dashes in a row could nest too deep; quick, and may be wrong."""
    depth = 0
    for match in re.finditer(r"[\[{]|[\]}]", text):
        depth += 1 if match[0] in "[{" else -1
        if depth > _DEEPEST:
            return True
    return re.search(rf"(?m)^ {{{_DEEPEST}}}|(?:[-?:]\s+){{{_DEEPEST}}}", text) is not None


def _check_depth(events: Iterator[Any], file: str) -> None:
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            place = Place(file, event.start_mark.line + 1, event.start_mark.column + 1)
            reason = f"values are nested more than {_DEEPEST} levels deep"
            raise FileError(file, [Fault(place, "file", reason, "Write it in fewer levels")])


class _Builder:
    """Turns nodes into values: merges unfolded, doubles and unknown tags noted."""

    def __init__(self, file: str) -> None:
        self.file, self.faults, self._count = file, list[Fault](), 0

    def value(self, node: yaml.Node, path: str, above: tuple[int, ...]) -> Value:
        """One node and all below it; `above` are the nodes that it stands in."""
        import yaml

        self._count += 1
        place = self._place(node)
        if id(node) in above:
            self._note(place, path, "it contains itself through an alias", "Write the value out")
            return Value(place, "nothing", broken=True)
        if self._count > _MOST_NODES:
            reason = f"it holds more than {_MOST_NODES} values, aliases unfolded"
            raise FileError(self.file, [Fault(place, path, reason, "Split the file")])
        above = (*above, id(node))
        faults = len(self.faults)
        shape = self._shape(node, path)
        broken = len(self.faults) > faults
        if isinstance(node, yaml.ScalarNode):
            text = str(node.value)
            if shape == "text" and not node.style and LEADING_ZERO.fullmatch(text):
                shape = "number"
            return Value(place, shape, text, literal=bool(node.style), broken=broken)
        if isinstance(node, yaml.SequenceNode):
            items = [self.value(item, f"{path}[{index}]", above) for index, item in enumerate(node.value)]
            return Value(place, "list", items=tuple(items), broken=broken)
        return Value(place, "mapping", entries=self._entries(node, path, above), broken=broken)

    def _entries(self, node: Any, path: str, above: tuple[int, ...]) -> dict[str, tuple[Place, Value]]:
        import yaml

        found: dict[str, tuple[Place, Value]] = {}
        merged: dict[str, tuple[Place, Value]] = {}
        for key, value in node.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._note(place, path, "a key is a list or a mapping", "Write a name before the colon")
                continue
            if key.tag == f"{_CORE}merge":
                for base in self._bases(value, path, above):
                    merged |= {name: entry for name, entry in base.items() if name not in merged}
                continue
            name = str(key.value)
            below = f"{path}.{name}" if path else name
            if name in found:
                first = found[name][0].line
                self._note(
                    place, below, f"it is there twice (first in line {first})", "Remove one of the two"
                )
                continue
            found[name] = (place, self.value(value, below, above))
        return found | {name: entry for name, entry in merged.items() if name not in found}

    def _bases(
        self, node: Any, path: str, above: tuple[int, ...]
    ) -> Iterator[dict[str, tuple[Place, Value]]]:
        """What `<<` names: one mapping or several, the first wins."""
        base = self.value(node, path, above)
        for each in base.items if base.shape == "list" else (base,):
            if each.shape == "mapping":
                yield each.entries
            else:
                self._note(each.place, path, "<< needs a mapping", "Write <<: *NAME of a mapping")

    def _shape(self, node: Any, path: str) -> Shape:
        tag = str(node.tag)
        if tag.startswith(_CORE):
            return _SHAPES.get(tag.removeprefix(_CORE), "other")
        reason = f"the tag {tag} is not known here"
        self._note(self._place(node), path, reason, "Remove it; secrets are written ${NAME}")
        return "other"

    def _place(self, node: Any) -> Place:
        mark = node.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)

    def _note(self, place: Place, path: str, reason: str, mend: str) -> None:
        self.faults.append(Fault(place, path, reason, mend))


def _syntax(error: Any, text: str, file: str) -> Fault:
    """A message of the parser in words that say what to do."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    reason = str(error.problem or error.context or "it is no YAML")
    lines = text.splitlines()
    shown = lines[line] if line < len(lines) else ""
    mend = "Check indentation, quotes and brackets of this line and of the one before"
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or shown[column : column + 1] == "\t":
        reason, mend = "a tab stands where YAML wants blanks", "Indent with blanks"
    elif "single document" in f"{error.context} {error.problem}":
        reason, mend = "a second document begins here (---)", "Put all into one document"
    elif "mapping values are not allowed" in reason:
        reason = "a colon stands where no key can be"
        mend = "Put the text in quotes, or check the indentation of this line"
    elif "undefined alias" in reason:
        mend = "Define it with &NAME further up, or put the text in quotes"
    elif "cannot start any token" in reason:
        mend = "Put the text in quotes"
    elif "unexpected end of stream" in reason or line >= len(lines):
        start = error.context_mark
        if start is not None:
            line, column = start.line, start.column
        reason, mend = "a quote or bracket that opens here is never closed", "Close it"
    field = _last_key(lines[: line + 1])
    return Fault(Place(file, line + 1, column + 1), field, reason.removeprefix("found "), mend)


def _last_key(lines: list[str]) -> str:
    """The nearest key at or above a place that cannot be parsed: the best name that there is for it."""
    for line in reversed(lines):
        if match := re.match(r"[\s{-]*[\"']?([\w.+-]+)[\"']?\s*:", line):
            return match[1]
    return ""
