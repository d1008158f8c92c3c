"""The signalling record of a call: every message of the far leg, and a summary. One call, two files.

`<stem>.ladder.jsonl`: a line a message, `{"t", "dir", "transport", "peer", "first", "text"}`, `t` in unix
seconds, `dir` "in" or "out". `<stem>.signal.json`: who, which trunk and rule, when, how it ended. See
docs/design.md.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sip.model import record_stem
from sip.service.signalling.peer import Peer

logger = logging.getLogger(__name__)

_SECRET = re.compile(r'(?im)^((?:proxy-)?authorization\s*:.*?\bresponse\s*=\s*")[^"]*')
_KEYS = re.compile(r"(?is)^(INFO .*?dtmf.*?\r?\n\r?\n).+")


class Ladder:
    """Writes as things happen. Without a directory it only counts, and nothing is written."""

    def __init__(
        self, directory: Path | None, call_id_full: str, now: Callable[[], float] = time.time
    ) -> None:
        self.stem = record_stem(call_id_full)
        self.messages = 0
        self._directory, self._now = directory, now

    def add(self, direction: str, peer: Peer, data: bytes) -> None:
        """One message of the far leg, sent or received; digest responses and keys pressed are blotted out."""
        self.messages += 1
        if self._directory is None:
            return
        text = _SECRET.sub(r"\1…", data.decode(errors="replace"))
        # Keys may be a PIN or a card's number.
        text = _KEYS.sub(r"\1…", text)
        line = {
            "t": round(self._now(), 6),
            "dir": direction,
            "transport": peer.transport,
            "peer": f"{peer.host}:{peer.port}",
            "first": text.partition("\r\n")[0],
            "text": text,
        }
        self._write("ladder.jsonl", json.dumps(line, ensure_ascii=False) + "\n", append=True)

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """The whole summary; a later one replaces it."""
        self._write("signal.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n", append=False)

    def _write(self, kind: str, text: str, *, append: bool) -> None:
        if self._directory is None:
            return
        path = self._directory / f"{self.stem}.{kind}"
        # A reader sees all of a summary or none; lines are added one whole write at a time.
        target = path if append else path.with_suffix(".draft")
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        try:
            # Call records hold numbers: only their owner reads them.
            descriptor = os.open(target, flags, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            if target != path:
                target.replace(path)
        except OSError as error:
            # A full disk must not end calls.
            logger.error("cannot write a call record", extra={"file": path.name, "error": str(error)})
