"""A stack under a terminal: `up` (also detached) and `down`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lab.processes import last_lines, quote
from lab.stack.events import Event, Listener
from lab.stack.options import Options
from lab.stack.show import line_of
from lab.stack.stack import Stack
from sip.errors import ServiceError, SipError, StackNotFound
from sip.local import LocalStack, NameLock, load, read, running, state_dir

DOWN_DEADLINE = 30.0
"""Seconds that a supervisor may take to stop before it is killed (its guardian then ends the parts)."""


Ready = Callable[[LocalStack], None]


def up(options: Options, *, detach: bool, on_event: Listener, on_ready: Ready) -> int:
    """Run a stack until Ctrl-C, TERM or the death of a part; detached, until it is ready.

    Returns the exit code. Raises `SipError` when it does not start.
    """
    if detach:
        _detach(options, on_event, on_ready)
        return 0
    return asyncio.run(serve(options, on_event, on_ready))


async def serve(options: Options, on_event: Listener, on_ready: Ready) -> int:
    """Start, stay up, stop. 0 when asked to stop, 1 when a part died or the start was interrupted.

    Raises `SipError` when it does not start.
    """
    loop = asyncio.get_running_loop()
    stack = Stack(options, on_event)
    asked = asyncio.Event()

    def ask() -> None:
        if asked.is_set():
            stack.kill()  # asked twice: no more grace
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask)
    asking = asyncio.create_task(asked.wait())
    starting = asyncio.create_task(stack.start())
    await asyncio.wait([asking, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return 1
    starting.result()
    on_ready(stack.local)
    dying = asyncio.create_task(stack.wait())
    await asyncio.wait([asking, dying], return_when=asyncio.FIRST_COMPLETED)
    await stack.stop()
    died = dying.done()
    for task in (asking, dying):
        task.cancel()
    return 1 if died else 0


def find(name: str = "") -> LocalStack:
    """The running stack that is meant.

    Raises `StackNotFound`, with the last words of a detached one that went down meanwhile.
    """
    try:
        return load(name)
    except StackNotFound as error:
        log = state_dir() / (name or "local") / "stack.log"
        if running() or not any(" DIED" in line for line in last_lines(log, 40)):
            raise
        raise StackNotFound("no local stack runs", "the last one went down", quote(log, 20)) from error


def down(name: str = "") -> list[str]:
    """Stop the stack of this name, or the only one that runs; clean up after dead ones. Returns their names.

    Raises `StackNotFound` when there was nothing to stop, or several run and no name was given.
    """
    cleaned: list[str] = []
    for path in sorted(state_dir().glob("*.json")):
        found = read(path)
        if found is not None and not found.alive() and name in ("", found.name):
            _clean(found)
            cleaned.append(found.name)
    try:
        stack = load(name)
    except SipError:
        if cleaned:
            return cleaned
        raise
    _signal(stack.pid, signal.SIGTERM)
    if not _gone(stack, DOWN_DEADLINE):
        _signal(stack.pid, signal.SIGKILL)
        _gone(stack, 10.0)
        _clean(stack)
    return [*cleaned, stack.name]


def public(local: LocalStack) -> dict[str, object]:
    """What `--json` shows of a stack: everything but the API secret."""
    data = dataclasses.asdict(local)
    del data["api_secret"]
    return data


def _detach(options: Options, on_event: Listener, on_ready: Ready) -> None:
    """Fork the supervisor into a session of its own; relay its events until it is ready or has failed."""
    reader, writer = os.pipe()
    options.home.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        os.close(reader)
        _supervise(options, writer)
    os.close(writer)
    with os.fdopen(reader) as events:
        for line in events:
            message = json.loads(line)
            if "event" in message:
                on_event(Event(**message["event"]))
            elif "error" in message:
                raise ServiceError(message["error"])
            else:
                on_ready(LocalStack(**message["ready"] | {"numbers": tuple(message["ready"]["numbers"])}))
                return
    raise ServiceError("the stack ended before it was ready", "", f"See {options.home / 'stack.log'}")


def _supervise(options: Options, writer: int) -> NoReturn:
    """The forked half.

    Its own output is the stack's log; what happens until it is ready goes to `writer`, too.
    """
    code = 1
    try:
        os.setsid()
        log = os.open(options.home / "stack.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        pipe = os.fdopen(writer, "w")

        def tell(**message: object) -> None:
            if not pipe.closed:
                with contextlib.suppress(BrokenPipeError):  # whoever waited was interrupted
                    pipe.write(json.dumps(message) + "\n")
                    pipe.flush()

        def on_event(event: Event) -> None:
            sys.stderr.write(line_of(event) + "\n")
            tell(event=dataclasses.asdict(event))

        def on_ready(local: LocalStack) -> None:
            tell(ready=dataclasses.asdict(local))
            pipe.close()

        try:
            code = asyncio.run(serve(options, on_event, on_ready))
        except SipError as error:
            sys.stderr.write(f"{error}\n")
            tell(error=str(error))
        except BaseException:
            traceback.print_exc()  # `os._exit` below would swallow it
            raise
    finally:
        sys.stderr.flush()
        os._exit(code)  # the caller's own exit code and clean-up are not this half's business


def _gone(stack: LocalStack, seconds: float) -> bool:
    end = time.monotonic() + seconds
    lock = NameLock(stack.name)
    while lock.held():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)  # a stranger's process: there is no signal to wait for
    return True


def _clean(stack: LocalStack) -> None:
    """End what a dead supervisor may have left, and its state file."""
    written = stack.path.stat().st_mtime if stack.path.exists() else 0.0
    for part in stack.parts.values():
        started = _started(part["pid"])
        # A later process with the same number is none of ours.
        if started is not None and started <= written + 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(part["pid"], signal.SIGKILL)
    stack.remove()


def _started(pid: int) -> float | None:
    """Unix time of a process's start; None when it is gone or this system does not tell."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except (OSError, StopIteration):
        return None
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
