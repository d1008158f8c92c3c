"""Put entries into the text of a `trunks.yaml` without touching what is there, comments included. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import yaml

from sip.errors import ConfigurationError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Entries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Section → name → fields."""


def merge(text: str, entries: Entries, items: Mapping[str, str], file: str = "trunks.yaml") -> str:
    """The text with the entries in it; the very same text when all of them are there already.

    `items`: section → its item as YAML, without indentation. Raises `ConfigurationError` when the file
    cannot be read, when it has other entries of the same names, or when a section is in braces.
    """
    before = _load(text, file)
    missing = _missing(before, entries, file)
    newline = "\r\n" if "\r\n" in text else "\n"
    merged = text.replace("\r\n", "\n")
    for section in missing:
        merged = _add(merged, section, items[section], file)
    _check(before, _load(merged, file), entries, file)
    return merged.replace("\n", newline)


def _load(text: str, file: str) -> dict[str, Any]:
    try:
        found = yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"{file} cannot be read", str(error).replace("\n", " "), "Mend it first"
        ) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{file} cannot be added to", "it is no mapping of inbound, outbound, rules and registrations"
        )
    return cast("dict[str, Any]", found)


def _missing(before: Mapping[str, Any], entries: Entries, file: str) -> list[str]:
    """Sections whose entry is not there yet; one with the same name and other fields is an error."""
    missing: list[str] = []
    taken: list[str] = []
    for section, named in entries.items():
        there = before.get(section)
        if there is not None and not isinstance(there, dict):
            raise ConfigurationError(f"{file}: {section} is no mapping of names", "", "Mend it first")
        known = cast("dict[str, Any]", there or {})
        for name, fields in named.items():
            if name not in known:
                missing.append(section)
            elif known[name] != fields:
                taken.append(f"{section}.{name}")
    if taken:
        raise ConfigurationError(
            f"{file} has another {' and '.join(taken)} already",
            "nothing was written",
            "Take another name with --set name=NAME, or change the entry by hand",
        )
    return missing


def _add(text: str, section: str, item: str, file: str) -> str:
    """One item at the end of its section, which is made where it is missing."""
    root = yaml.compose(text, _LOADER)
    lines = text.splitlines()
    for key, value in root.value if isinstance(root, yaml.MappingNode) else []:
        if key.value != section:
            continue
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            indent = value.value[0][0].start_mark.column
            at = _last_line(value) + 1
        elif isinstance(value, yaml.MappingNode) and value.value:
            raise ConfigurationError(
                f"{file}: {section} is written in braces",
                f"line {value.start_mark.line + 1}",
                "Write one entry below the other, then names can be added to it",
            )
        else:  # nothing, ~ or {}
            line = key.start_mark.line
            head, _, tail = lines[line].partition(":")
            comment = tail[tail.index("#") :] if "#" in tail else ""
            lines[line] = f"{head}:{'  ' + comment if comment else ''}"
            indent, at = key.start_mark.column + 2, line + 1
        lines[at:at] = _indented(item, indent)
        return "\n".join(lines) + "\n"
    while lines and not lines[-1].strip():
        lines.pop()
    if lines:
        lines.append("")
    return "\n".join([*lines, f"{section}:", *_indented(item, 2)]) + "\n"


def _last_line(node: yaml.Node) -> int:
    """The last line that belongs to a node: a block's own end mark stands behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(map(_last_line, last)) if isinstance(last, tuple) else _last_line(last)
    mark = node.end_mark
    ended = (
        mark.column == 0 and mark.line > node.start_mark.line
    )  # a block text ends where the next line begins
    return mark.line - 1 if ended else mark.line


def _indented(item: str, indent: int) -> list[str]:
    return [f"{' ' * indent}{line}" if line else "" for line in item.splitlines()]


def _check(before: Mapping[str, Any], after: Mapping[str, Any], entries: Entries, file: str) -> None:
    """The new text says what the old one said and what was added, and nothing else."""
    wanted: dict[str, Any] = dict(before)
    for section, named in entries.items():
        wanted[section] = {**(wanted.get(section) or {}), **named}
    if wanted != after:
        raise ConfigurationError(
            f"{file} is written in a way that cannot be added to",
            "the result would not say the same",
            "Print the entry without --write and put it in by hand",
        )
