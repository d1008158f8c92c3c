"""A call's messages as a ladder of text: a column for each host, an arrow for each message."""

from __future__ import annotations

from sip.trace.calls import Call
from sip.trace.messages import Message

COLUMN = 38
"""Characters from one host's line to the next one's."""
HOSTS = 6
"""Columns at most; messages of further hosts are left out, and counted."""


def draw(call: Call) -> list[str]:
    """Lines of text: hosts, then a line a message with its milliseconds since the first one."""
    hosts = call.hosts[:HOSTS]
    column = {host: number for number, host in enumerate(hosts)}
    head = "".join(f"{host!s:<{COLUMN}}" for host in hosts)
    lines = [f"{'ms':>10}  {head}".rstrip()]
    again = {id(each) for each in call.repeats}
    left_out = call.left_out
    for each in call.messages:
        start, end = column.get(each.source), column.get(each.target)
        if start is None or end is None or start == end:
            left_out += 1
            continue
        label = shown(each) + (" (again)" if id(each) in again else "")
        at = (each.t - call.started) * 1000
        lines.append(f"{at:10.1f}  {_row(len(hosts), start, end, label)}")
    if left_out:
        lines.append(f"{'':>10}  … and {left_out} more")
    return lines


def shown(message: Message) -> str:
    """A message in a few words: method and number, or code and phrase; with what its SDP offers."""
    text = message.first[8:] if message.code else message.method or message.first.partition(" ")[0]
    if message.request and message.method == "INVITE" and message.called:
        text = f"INVITE {message.called}"
    if message.sdp:
        text += f" ({', '.join(message.sdp.codecs[:2]) or 'SDP'})"
    return text


def _row(columns: int, start: int, end: int, label: str) -> str:
    low, high = min(start, end), max(start, end)
    row = ["|" + " " * (COLUMN - 1)] * columns
    span = COLUMN * (high - low) - 1
    label = f" {label} "[: span - 2]
    dashes = span - len(label) - 1
    half = dashes // 2
    body = f"{'-' * half}{label}{'-' * (dashes - half)}"
    arrow = f"{body}>" if start < end else f"<{body}"
    return ("".join(row[:low]) + "|" + arrow + "".join(row[high:])).rstrip()
