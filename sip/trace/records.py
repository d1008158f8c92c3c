"""Calls from the SIP service's own records, `<stem>.ladder.jsonl` and `<stem>.signal.json` (design.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sip.trace.capture import CaptureError
from sip.trace.messages import Message, read
from sip.trace.network import Endpoint

SERVICE = Endpoint("sip service", 0)
_SUFFIX = ".ladder.jsonl"


def is_record(path: Path) -> bool:
    """Whether it is a ladder of ours, or a directory of them."""
    return path.is_dir() or path.name.endswith(".jsonl")


def messages(path: Path) -> Iterator[Message]:
    """All messages of a ladder, or of a directory's. Raises `CaptureError` for what is none."""
    files = sorted(path.glob(f"*{_SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise CaptureError(f"{path} holds no calls", f"there is no *{_SUFFIX} in it")
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    yield from _message(file, number, line)
        except OSError as error:
            raise CaptureError(f"{file} cannot be read", error.strerror or str(error)) from error


def summary(path: Path) -> dict[str, Any] | None:
    """What the service measured and wrote when the call ended; None while it has not."""
    if path.is_dir() or not path.name.endswith(_SUFFIX):
        return None
    beside = path.with_name(path.name.removesuffix(_SUFFIX) + ".signal.json")
    try:
        return json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _message(file: Path, number: int, line: str) -> Iterator[Message]:
    if not line.strip() or not line.endswith("\n"):
        return  # the last line of a call under way
    try:
        entry = json.loads(line)
        host, _, port = entry["peer"].rpartition(":")
        peer = Endpoint(host.strip("[]"), int(port))
        data = entry["text"].encode()
        inward, t, transport = entry["dir"] == "in", float(entry["t"]), str(entry["transport"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CaptureError(
            f"{file}, line {number} is no line of a SIP ladder",
            "it wants t, dir, transport, peer and text",
            "Give a capture (pcap, pcapng), or a *.ladder.jsonl of `sip serve`",
        ) from None
    source, target = (peer, SERVICE) if inward else (SERVICE, peer)
    found = read(t, source, target, transport, data)
    if found:
        yield found
