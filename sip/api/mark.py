"""The mark that tells what `sip apply` made: only marked trunks and rules are ever pruned.

A trunk carries it inside its metadata, which nothing but its owner reads: as a key where the metadata is a
JSON object, as a last line where it is plain text. A rule carries it as an attribute, because participants
inherit a rule's metadata. Setting and removing the mark gives back the very text that stood there before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

KEY, VALUE = "livekit-phone-agent", "managed"
LINE = f"[{KEY}: {VALUE}]"
"""The last line of plain metadata."""
ATTRIBUTE = f"{KEY}.{VALUE}"
"""The attribute of a rule; its value is `true`."""

_MEMBER = f'"{KEY}":"{VALUE}"'
_MEMBER_AT_END = re.compile(rf"(?:,?{re.escape(_MEMBER)})(?=\}}\s*\Z)")


def in_metadata(metadata: str) -> bool:
    """Whether a trunk's metadata carries the mark."""
    fields = _object(metadata)
    if fields is not None:
        return fields.get(KEY) == VALUE
    return metadata == LINE or metadata.endswith("\n" + LINE)


def add(metadata: str) -> str:
    """A trunk's metadata with the mark in it, once."""
    if in_metadata(metadata):
        return metadata
    fields = _object(metadata)
    if fields is None:
        return f"{metadata}\n{LINE}" if metadata else LINE
    end = metadata.rindex("}")
    return f"{metadata[:end]}{',' if fields else ''}{_MEMBER}{metadata[end:]}"


def remove(metadata: str) -> str:
    """A trunk's metadata without the mark: the user's own text."""
    if not in_metadata(metadata):
        return metadata
    fields = _object(metadata)
    if fields is None:
        return metadata[: -len(LINE)].removesuffix("\n")
    text, removed = _MEMBER_AT_END.subn("", metadata)
    if removed:
        return text
    # Somebody has written the JSON anew since: its spelling is no longer known.
    return json.dumps({name: value for name, value in fields.items() if name != KEY}, ensure_ascii=False)


def in_attributes(attributes: Mapping[str, str]) -> bool:
    """Whether a rule's attributes carry the mark."""
    return attributes.get(ATTRIBUTE) == "true"


def with_attribute(attributes: Mapping[str, str], *, managed: bool) -> dict[str, str]:
    """A rule's attributes with or without the mark."""
    own = {name: value for name, value in attributes.items() if name != ATTRIBUTE}
    return own | ({ATTRIBUTE: "true"} if managed else {})


def _object(metadata: str) -> dict[str, Any] | None:
    """The members of a JSON object; None for any other text."""
    if not metadata.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
