"""`sip demo`: a stack, a caller who does a script, both sides of the call as it happens, and a summary."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console

from lab.caller import load_script
from lab.live import Live
from lab.processes import last_lines
from lab.report import Figures, print_summary, write_report
from sip.errors import SipError
from sip.local import LocalStack, load

DEMO = Path(__file__).with_name("scripts") / "demo.yaml"
RECORD_DEADLINE = 3.0
"""Seconds that the agent may take after the call to complete its record."""
LOOK = 0.1
"""Seconds between looks at the agent's record."""
LOG_LINES, LOG_WIDTH = 12, 300
"""How much of a log is shown after a failure: lines, and characters of each."""


@dataclass(frozen=True)
class Outcome:
    """A call that was placed: `figures` is None when not even a recording came of it."""

    code: int
    figures: Figures | None
    folder: Path
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stderr: str = ""


def run(
    script: Path | None = None,
    json_file: Path | None = None,
    out: Path | None = None,
    to: str = "",
    stack: str = "",
) -> int:
    """Run the demo; returns the exit code: 0 only if the call did what the script demands.

    `to` is a number (the stack's first by default), `stack` names a running stack (by default one is started,
    and stopped at the end). Raises `ConfigurationError` for a script that cannot be used, `SipError` when the
    stack does not start.
    """
    chosen = script or DEMO
    load_script(chosen)
    folder = out or Path("out") / time.strftime("demo-%Y%m%d-%H%M%S")
    console = Console(stderr=False)
    try:
        outcome = asyncio.run(_demo(chosen, folder, to, stack, console))
    except KeyboardInterrupt:
        console.print("stopped", style="dim")
        return 1
    if outcome.figures is not None and json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(outcome.figures.as_json(), indent=2, ensure_ascii=False) + "\n")
    return outcome.code


async def _demo(script: Path, folder: Path, to: str, stack: str, console: Console) -> Outcome:
    _cancel_on_term()
    async with standing(stack, folder, console) as local:
        outcome = await place(local, script, folder, to=to, console=console)
        if outcome.figures is not None:
            console.print()
            print_summary(outcome.figures, console)
            console.print(f"\nReport, recording and figures: {folder}/ (open {folder / 'call.html'})")
        if outcome.code:
            _explain(outcome, local, console)
    return outcome


@contextlib.asynccontextmanager
async def standing(name: str, folder: Path, console: Console) -> AsyncGenerator[LocalStack, None]:
    """The running stack of this name; for an empty one our own, logs and records in `folder`/stack."""
    if name:
        yield load(name)
        return
    from lab.stack import Options, Stack
    from lab.stack.show import Printer

    console.print("Starting the stack", style="bold")
    async with Stack(
        Options(f"demo-{os.getpid()}", folder / "stack"), Printer(cast(TextIO, console.file))
    ) as stack:
        console.print()
        yield stack.local


async def place(
    local: LocalStack,
    script: Path,
    folder: Path,
    *,
    to: str = "",
    codec: str = "PCMU",
    transport: str = "udp",
    console: Console | None = None,
) -> Outcome:
    """One call through a running stack, by a caller process; its report is in `folder` afterwards."""
    number = to or local.numbers[0]
    records = Path(local.directory) / "records"
    live = Live(console or Console(quiet=True), records)
    command = [sys.executable, "-m", "lab.caller", str(script), "--json"]
    caller = await asyncio.create_subprocess_exec(
        *command, "--to", f"sip:{number}@{local.sip_address}", "--out", str(folder), "--codec", codec,
        "--transport", transport,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    events: list[dict[str, Any]] = []
    try:
        code, stderr = await _watch(caller, live, events)
    finally:
        if caller.returncode is None:
            caller.terminate()
            await caller.wait()
    dialled = any(event["event"] == "dialing" for event in events)
    if not dialled or not (folder / "call.json").exists():
        return Outcome(code or 1, None, folder, events, stderr)
    figures = await asyncio.to_thread(write_report, folder, records)
    return Outcome(code, figures, folder, events, stderr)


async def _watch(
    caller: asyncio.subprocess.Process, live: Live, events: list[dict[str, Any]]
) -> tuple[int, str]:
    """Show both sides until the caller is done and the agent's record is complete."""
    if caller.stdout is None or caller.stderr is None:
        raise SipError("the caller has no output")
    errors = asyncio.create_task(caller.stderr.read())
    following = asyncio.create_task(_follow(live))
    try:
        async for line in caller.stdout:
            event = json.loads(line)
            events.append(event)
            live.caller(event)
        code = await caller.wait()
        if any(event["event"] == "answered" for event in events):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.complete.wait(), RECORD_DEADLINE)
    finally:
        following.cancel()
    live.agent()
    return code, (await errors).decode(errors="replace").strip()


async def _follow(live: Live) -> None:
    """A file gives no signal."""
    while True:
        live.agent()
        await asyncio.sleep(LOOK)


def _explain(outcome: Outcome, local: LocalStack, console: Console) -> None:
    """Which step failed, what was heard, and the last lines of the logs that may say why."""
    failure = outcome.figures.failure if outcome.figures is not None else None
    if failure is not None:
        where = f"{failure['step']}, line {failure['line']}"
        console.print(f"\nFAILED at {where}: {failure['what']}", style="bold red")
        if failure["heard"]:
            console.print(f'heard: "{failure["heard"]}"')
    elif outcome.stderr:
        console.print(f"\n{outcome.stderr}", style="red", highlight=False)
    for part in ("sip", "agent"):
        if part in local.parts:
            log = Path(local.parts[part]["log"])
            console.print(f"\nlast lines of {log}:", style="bold")
            for line in last_lines(log, LOG_LINES):
                console.print(line[:LOG_WIDTH], style="dim", highlight=False, markup=False, soft_wrap=True)


def _cancel_on_term() -> None:
    """TERM ends the demo as Ctrl-C does: everything that it started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
