"""The SIP messages of a call as a ladder of text: times and directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH = 46


def draw(messages: Sequence[dict[str, Any]], left: str = "caller", right: str = "SIP service") -> str:
    """A line a message. `messages` are `{"t": seconds, "sent": from left to right, "first": first line}`."""
    if not messages:
        return "no SIP messages were recorded\n"
    gap = " " * (WIDTH - len(left) - len(right) + 6)
    lines = [f"{'ms':>9}   {left}{gap}{right}", f"{'':>9}   |{' ' * WIDTH}|"]
    for message in messages:
        label = f" {shown(message['first'])} "[: WIDTH - 4]
        dashes = "-" * (WIDTH - 1 - len(label))
        half = len(dashes) // 2
        arrow = f"{dashes[:half]}{label}{dashes[half:]}"
        arrow = f"{arrow}>" if message["sent"] else f"<{arrow}"
        lines.append(f"{message['t'] * 1000:9.1f}   |{arrow}|")
    return "\n".join(lines) + "\n"


def shown(first: str) -> str:
    """A first line without what is the same everywhere: method and number, or code and phrase."""
    if first.startswith("SIP/2.0 "):
        return first[8:]
    method, _, rest = first.partition(" ")
    user = rest.partition("@")[0].removeprefix("sip:")
    return f"{method} {user}".rstrip() if "@" in rest and method == "INVITE" else method
