"""Times as people and APIs write them, in seconds."""

from __future__ import annotations

import re
from typing import Any, cast

_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(value: object) -> float | None:
    """Seconds of `30`, `"30"`, `"30s"`, `"1m30s"` or `{"seconds": 30}`; None for anything else."""
    if isinstance(value, dict):
        parts = {key.lower(): each for key, each in cast("dict[str, Any]", value).items()}
        if not parts.keys() <= {"seconds", "nanos"}:
            return None
        whole, nanos = seconds(parts.get("seconds", 0)), parts.get("nanos", 0)
        return None if whole is None or type(nanos) is not int or nanos < 0 else whole + nanos / 1e9
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 <= value < 1e9 else None
    if isinstance(value, str):
        return _of(value)
    return None


def _of(text: str) -> float | None:
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    pieces = list(_PIECE.finditer(text))
    if not pieces or "".join(piece[0] for piece in pieces) != text:
        return None
    return sum(float(piece[1]) * _UNITS[piece[2]] for piece in pieces)
