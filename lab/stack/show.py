"""Lines for people: how the stack starts, and what to do with it."""

from __future__ import annotations

from typing import TextIO

from lab.stack import parts
from lab.stack.events import Event
from sip.local import LocalStack

_EVERY = 15.0
"""Seconds between two lines about the same work where a line cannot be overwritten."""


class Printer:
    """Prints events as lines; on a terminal a line about work under way is overwritten by the next one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._open = False  # the cursor stands behind a line that will be overwritten
        self._told = 0.0  # `seconds` of the last line about work under way

    def __call__(self, event: Event) -> None:
        """Print one event."""
        if event.state == "starting" or (event.state == "ready" and event.part == "stack"):
            return
        text = line_of(event)
        passing = event.state == "working" and self._terminal
        if event.state == "working" and not self._terminal:
            if event.seconds - self._told < _EVERY:
                return
            self._told = event.seconds
        if self._open:
            self._stream.write("\r\x1b[K")
        self._stream.write(text if passing else f"{text}\n")
        self._stream.flush()
        self._open = passing


def line_of(event: Event) -> str:
    """One event as text, without a line's end."""
    match event.state:
        case "ready":
            return f"{event.part:<15} ready    {event.detail:<22} {event.seconds:5.1f} s"
        case "died":
            return f"{event.part:<15} DIED\n{event.detail}"
        case "stopping" | "stopped":
            return f"{event.part:<15} {event.state}"
        case "progress" | "working":
            return f"{event.part:<15} {event.detail}"
        case _:
            return f"{event.part:<15} {event.state:<8} {event.detail}"


def next_steps(local: LocalStack, *, detached: bool) -> str:
    """What to dial, where things answer, how to stop."""
    named = "" if local.name == "local" else f" --name {local.name}"
    lines = [""]
    if local.sip_address:
        lines.append(
            f"Call      sip:{local.numbers[0]}@{local.sip_address}  (UDP or TCP, any softphone here)"
        )
    lines.append(f"LiveKit   {local.livekit_url}   (keys: ./run sip stack env{named})")
    lines.append(f"Logs      {local.directory}/logs   (./run sip stack logs -f{named})")
    if parts.AGENT not in local.parts:
        lines.append(
            f'Agent     not started: eval "$(./run sip stack env{named})" && ./run python agent.py dev'
        )
    lines.append(f"Stop      ./run sip stack down{named}" if detached else "Stop      Ctrl-C")
    return "\n".join(lines)
