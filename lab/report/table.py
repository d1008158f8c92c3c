"""The table at the end of a call, for a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .figures import Figures

TARGETS = {"invite_to_ok_ms": 500, "invite_to_greeting_ms": 800, "response_ms": 900, "barge_in_ms": 400}
"""What a call on two cores should reach, in ms."""


def summary(call: Figures) -> RenderableType:
    """Set-up, every turn, barge-in, quality."""
    turns = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    turns.add_column("turn", justify="right", style="dim")
    for name in ("caller said", "agent heard", "agent said"):
        turns.add_column(name, ratio=3, overflow="fold")
    turns.add_column("response", justify="right", no_wrap=True)
    for number, turn in enumerate(call.turns, 1):
        response = (
            Text("cut in", style="red") if turn.cut_in else _ms(turn.response_ms, TARGETS["response_ms"])
        )
        said = turn.caller_said if turn.caller_said is not None else "(WAV file)"
        turns.add_row(str(number), said, turn.agent_heard, turn.agent_said, response)
    return Group(turns, Text(""), _measures(call))


def _measures(call: Figures) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    table.add_row("INVITE to 200 OK", _ms(call.invite_to_ok_ms, TARGETS["invite_to_ok_ms"]), "")
    table.add_row(
        "INVITE to greeting", _ms(call.invite_to_greeting_ms, TARGETS["invite_to_greeting_ms"]), "at the ear"
    )
    if call.barge_in_ms is not None:
        table.add_row("barge-in to silence", _ms(call.barge_in_ms, TARGETS["barge_in_ms"]), "at the ear")
    cut_ins = sum(turn.cut_in for turn in call.turns)
    table.add_row("cut-ins", str(cut_ins), "agent began in the middle of a turn")
    table.add_row(
        "false interruptions", str(call.false_interruptions), "agent stopped for noise, echo, backchannel"
    )
    dropouts = call.conversation.dropouts
    table.add_row("dropouts", str(len(dropouts)), "audio lost inside the agent's speech")
    if call.quality is not None:
        q = call.quality
        scale = "estimate" if q["estimate"] else "E-model, ITU-T G.107"
        table.add_row(
            "MOS",
            "-" if q["mos"] is None else f"{q['mos']:.2f}",
            f"{scale}, {q['codec']}, {q['packets']} packets",
        )
        table.add_row("loss", f"{q['loss_pct']:.2f} %", f"and {q['late_pct']:.2f} % too late")
        table.add_row("jitter", f"{q['jitter_ms']:.1f} ms", f"jitter buffer {q['jitter_buffer_ms']:.0f} ms")
    by, code = call.hangup["by"] or "nobody", call.hangup["sip_code"]
    table.add_row("hang-up", f"{by}", f"SIP {code}" if code else "")
    return table


def print_summary(call: Figures, console: Console) -> None:
    """Print it."""
    console.print(summary(call))


def _ms(value: int | None, target: int) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(f"{value} ms", style="green" if value <= target else "yellow")
