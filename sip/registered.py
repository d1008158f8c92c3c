"""How a running `sip serve` tells of its registrations: a small file that `sip doctor` reads.

A file and no network: what extensions there are is nobody's business but this machine's. It stands beside the
state files of local stacks, is named after the service's SIP address, and is gone when the service stops.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sip import local

Status = Literal["trying", "registered", "refused", "lost"]
"""`trying`: not answered yet. `refused`: needs a change, asked again seldom. `lost`: asked again soon."""


@dataclass(frozen=True)
class Registered:
    """State of one registration. It holds no number and no password."""

    name: str
    status: Status = "trying"
    code: int = 0
    """SIP code of the last answer; 0: none came."""
    reason: str = ""
    mend: str = ""
    since: float = 0
    """Unix time of the last change of `status`."""
    until: float = 0
    """Unix time until which the registrar keeps the extension; 0: not at all."""
    behind_nat: bool = False
    """Whether the registrar saw the service at another address than it named."""


def path_of(sip_address: str) -> Path:
    """The file of the service at this `host:port`."""
    safe = sip_address.replace(":", "-").replace("[", "").replace("]", "")
    return local.state_dir() / "registrations" / f"{safe}.json"


def save(sip_address: str, states: list[Registered]) -> None:
    """Write the file so that a reader sees all of it or none. Raises `OSError`."""
    path = path_of(sip_address)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"pid": os.getpid(), "registrations": [asdict(state) for state in states]}, file)
    draft.replace(path)


def remove(sip_address: str) -> None:
    """The service stops; a second call is no error."""
    path_of(sip_address).unlink(missing_ok=True)


def load(sip_address: str) -> list[Registered] | None:
    """What the service at this address tells; None when it does not run here, or tells nothing."""
    try:
        data = json.loads(path_of(sip_address).read_text())
        os.kill(int(data["pid"]), 0)
        return [Registered(**each) for each in data["registrations"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
