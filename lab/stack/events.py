"""What a stack tells while it starts, runs and stops: one stream for terminals, logs and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "progress", "working", "ready", "warning", "died", "stopping", "stopped"]
"""`progress` is news; `working` is the same news with newer figures, about once a second."""


@dataclass(frozen=True)
class Event:
    """Something happened to a part."""

    part: str
    """Name of the part; `stack` for the whole."""
    state: State
    detail: str = ""
    """Its address when ready, else words for people; may hold several lines."""
    seconds: float = 0.0
    """Since the part was started."""


Listener = Callable[[Event], None]


def silent(_event: Event) -> None:
    """A listener that wants to know nothing."""
