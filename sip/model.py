"""Domain values that the agent and the service share. Frozen; no I/O."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def record_stem(call_id_full: str) -> str:
    """File name stem of a call's records, from its SIP Call-ID (`sip.callIDFull`).

    Readable, at most 80 characters, safe on every file system, and different for different Call-IDs: what had
    to be changed is told apart by a short hash.
    """
    safe = _UNSAFE.sub("_", call_id_full).lstrip(".")[:64]
    if safe == call_id_full:
        return safe
    digest = hashlib.sha256(call_id_full.encode()).hexdigest()[:10]
    return f"{safe}-{digest}"
