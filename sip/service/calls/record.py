"""What is known of a call, and the summary that its record ends with. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sip import codes


@dataclass
class PinFacts:
    """What became of the question for a PIN. No PIN stands here, right or wrong."""

    outcome: str = "hung up"
    """`right`, `wrong pin`, `no pin`, or the caller `hung up` before."""
    wrong_tries: int = 0


@dataclass
class Facts:
    """What the summary says of a call; times are unix seconds, 0 while they have not come."""

    direction: str
    call_id: str
    call_id_full: str
    caller: str = ""
    called: str = ""
    peer: str = ""
    trunk_id: str = ""
    rule_id: str = ""
    room: str = ""
    identity: str = ""
    """The participant's, in the room."""
    times: dict[str, float] = field(default_factory=dict[str, float])
    code: int = 0
    """Final code of the INVITE."""
    pin: PinFacts | None = None
    """Where a PIN was asked for."""


@dataclass(frozen=True)
class Ending:
    """How a call ends. `code` is the final code of a call that was not answered."""

    by: str
    """`far`, `room` or `service`."""
    reason: str
    code: int = 0
    phrase: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    q850: int = 0
    """Cause from the far end's Reason header; 0: it gave none."""


def summary(facts: Facts, ending: Ending, quality: Mapping[str, Any]) -> dict[str, Any]:
    """The call's `signal.json`; times are unix seconds, `duration_s` counts from the answer."""
    times = facts.times
    answered = times.get("answered")
    return {
        "call_id": facts.call_id,
        "call_id_full": facts.call_id_full,
        "direction": facts.direction,
        "from": facts.caller,
        "to": facts.called,
        "peer": facts.peer,
        "trunk_id": facts.trunk_id,
        "rule_id": facts.rule_id,
        "room": facts.room,
        "identity": facts.identity,
        "times": {name: round(moment, 6) for name, moment in times.items()},
        "duration_s": round(times["ended"] - answered, 3) if answered else 0.0,
        "code": facts.code,
        "ended_by": ending.by,
        "reason": ending.reason,
        "q850": ending.q850 or (16 if answered else codes.q850(facts.code)),
        "quality": dict(quality),
    } | ({"pin": asdict(facts.pin)} if facts.pin else {})
