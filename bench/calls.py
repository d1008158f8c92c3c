"""`./run bench calls`: whole calls on one local stack, and the medians of what the caller waits for.

Each call runs the demo's script. A response counts only if the script went on from there: an `expect` after
the question heard the answer in the agent's audio. The machine should be idle; one call follows the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.caller import load_script
from lab.demo import DEMO, Outcome, place, standing
from sip.errors import SipError

RESULTS = Path(__file__).parent / "results" / "calls.md"
TARGETS = {"invite_to_ok_ms": 500, "invite_to_greeting_ms": 800, "response_ms": 900, "barge_in_ms": 400}


@dataclass(frozen=True)
class Measure:
    """Values of one figure over all calls, in ms, and the most that its median may be."""

    name: str
    values: tuple[int, ...]
    target: int

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def ok(self) -> bool:
        return self.median is not None and self.median <= self.target


def main(arguments: list[str] | None = None) -> int:
    """Run the bench: 0 when all medians reach their targets, 1 when one does not or a call failed."""
    options = _parser().parse_args(arguments)
    progress = Console(stderr=True)
    try:
        outcomes = asyncio.run(_run(options, progress))
    except SipError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    measures = measure(outcomes)
    failed = [outcome for outcome in outcomes if outcome.code]
    if options.json:
        print(json.dumps(as_json(measures, outcomes), indent=2))
    else:
        Console().print(_table(measures))
        for outcome in failed:
            print(f"FAILED: {_reason(outcome)}", file=sys.stderr)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(markdown(measures, outcomes, options))
    return 0 if not failed and all(each.ok for each in measures) else 1


def measure(outcomes: list[Outcome]) -> list[Measure]:
    """The four figures over the calls that did what the script demands."""
    calls = [outcome.figures for outcome in outcomes if outcome.figures is not None and not outcome.code]
    values = {
        "invite_to_ok_ms": [call.invite_to_ok_ms for call in calls],
        "invite_to_greeting_ms": [call.invite_to_greeting_ms for call in calls],
        "response_ms": [turn.response_ms for call in calls for turn in call.turns],
        "barge_in_ms": [call.barge_in_ms for call in calls],
    }
    return [
        Measure(name, tuple(value for value in values[name] if value is not None), target)
        for name, target in TARGETS.items()
    ]


def as_json(measures: list[Measure], outcomes: list[Outcome]) -> dict[str, Any]:
    """Medians, all values, and every call's own figures."""
    return {
        "calls": len(outcomes),
        "failed": sum(outcome.code != 0 for outcome in outcomes),
        "medians": {each.name: each.median for each in measures},
        "targets": TARGETS,
        "values": {each.name: each.values for each in measures},
        "figures": [outcome.figures.as_json() for outcome in outcomes if outcome.figures is not None],
    }


async def _run(options: argparse.Namespace, progress: Console) -> list[Outcome]:
    load_script(options.script)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="bench-calls-") as scratch:
        folder = options.out or Path(scratch)
        async with standing(options.stack, folder, progress) as local:
            for number in range(1, options.n + 1):
                outcome = await place(local, options.script, folder / f"call-{number}", codec=options.codec)
                outcomes.append(outcome)
                progress.print(f"call {number} of {options.n}: {_short(outcome)}", highlight=False)
    return outcomes


def _short(outcome: Outcome) -> str:
    if outcome.code or outcome.figures is None:
        return f"FAILED, {_reason(outcome)}"
    call = outcome.figures
    responses = " ".join("cut" if t.cut_in else str(t.response_ms) for t in call.turns)
    return (
        f"200 OK {call.invite_to_ok_ms} ms, greeting {call.invite_to_greeting_ms} ms, "
        f"responses {responses} ms, barge-in {call.barge_in_ms} ms"
    )


def _reason(outcome: Outcome) -> str:
    failure = outcome.figures.failure if outcome.figures is not None else None
    if failure is None:
        return outcome.stderr or f"the caller ended with code {outcome.code}"
    heard = failure["heard"] or "nothing"
    return f"{failure['step']}, line {failure['line']}: {failure['what']} (heard: {heard})"


def _table(measures: list[Measure]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "median", "target", "min", "max", "n"):
        table.add_column(name, justify="left" if not name else "right")
    for each in measures:
        style = "green" if each.ok else "yellow"
        low, high = (min(each.values), max(each.values)) if each.values else ("-", "-")
        median = "-" if each.median is None else f"{each.median:.0f}"
        row = (f"<= {each.target}", str(low), str(high), str(len(each.values)))
        table.add_row(each.name, f"[{style}]{median}[/]", *row)
    return table


def markdown(measures: list[Measure], outcomes: list[Outcome], options: argparse.Namespace) -> str:
    """The results as a page that says how to read them."""
    good = sum(not outcome.code for outcome in outcomes)
    rows = "\n".join(
        f"| `{each.name}` | {_cell(each.median)} | <= {each.target} "
        f"| {_cell(min(each.values, default=None))} | {_cell(max(each.values, default=None))} "
        f"| {len(each.values)} |"
        for each in measures
    )
    calls = "\n".join(f"| {number} | {_short(outcome)} |" for number, outcome in enumerate(outcomes, 1))
    setting = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    busy = os.getloadavg()[0]
    return f"""# Whole calls on one machine

`./run bench calls -n {options.n} --write`, {time.strftime("%d %B %Y")}, {setting},
{options.codec} over UDP, local speech servers; load average at the end {busy:.1f}.
{good} of {len(outcomes)} calls did what the script demands.

| figure | median, ms | target | least | most | values |
|---|---|---|---|---|---|
{rows}

| call | |
|---|---|
{calls}

## How to read it

Everything is measured by `lab.ear` on the caller's own stereo recording, with no help from the agent. The
recording has both sides on one clock: what the caller sent stands where his microphone took it, what he heard
where his loudspeaker played it. So every figure holds what a person on the telephone waits for: 20 ms of
packetisation and at least 40 ms of jitter buffer at the caller's end are inside.

- `invite_to_ok_ms`: from the INVITE leaving the caller to the 200 reaching him. By then the agent has joined
  the room and published its voice.
- `invite_to_greeting_ms`: from the INVITE to the first voiced frame of the agent's greeting.
- `response_ms`: from the last voiced frame of the caller's turn to the first of the agent's answer. It
  counts only in calls whose answers were right: after every question the script wants words of the answer,
  recognised from the audio.
- `barge_in_ms`: the caller says "Stop, wait." over the agent's speech; from his first voiced frame to the
  agent's last.

A voiced frame is one within 18 dB of the talker's own level. The ear's error is at most 20 ms at 15 dB of
white or pink noise (`tests/unit/test_ear.py`). A machine that does other work at the same time shows it here
at once: leave it alone for the three minutes.
"""


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench calls", description=__doc__)
    parser.add_argument("-n", type=int, default=5, help="calls (default 5)")
    parser.add_argument("--script", type=Path, default=DEMO, help="what the caller does (default: the demo)")
    parser.add_argument("--stack", default="", help="a running stack; by default one is started")
    parser.add_argument("--codec", default="PCMU", choices=("PCMU", "PCMA", "G722"))
    parser.add_argument("--out", type=Path, help="keep recordings and reports here")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} in bench/results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
