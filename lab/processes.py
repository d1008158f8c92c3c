"""Child processes under one supervisor: started, watched, logged to files, ended with all that is theirs.

    async with Supervisor(on_exit=…) as supervisor:
        valkey = await supervisor.start(Command("valkey", argv, log=logs / "valkey.log"))
        await valkey.ready(probe, deadline=10)

Whatever happens to this process, kill -9 included, nothing of what it started stays behind: see
`lab.guardian`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sip.errors import ServiceError

Found = TypeVar("Found")


class PartDied(ServiceError):
    """A child process ended that should not have; carries the last lines of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        self.name, self.code, self.log, self.lines = name, code, log, last_lines(log)
        super().__init__(f"{name} ended", _ending(code), quote(log))


class NotReady(ServiceError):
    """A child process runs but did not answer in time; carries the last lines of its log."""

    def __init__(self, name: str, seconds: float, log: Path, why: str) -> None:
        self.name, self.log, self.lines = name, log, last_lines(log)
        super().__init__(f"{name} did not answer within {seconds:g} s", why, quote(log))


@dataclass(frozen=True)
class Command:
    """What to run.

    `env` is the whole environment of the child; standard output and error go to the end of `log`.
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = field(default_factory=Path.cwd)
    grace: float = 5.0
    """Seconds between TERM and KILL when it is stopped."""


@dataclass(eq=False)
class Process:
    """A child that was started: leader of its own session and process group."""

    command: Command
    pid: int
    started: float
    """`time.monotonic()` of its start."""
    exited: asyncio.Future[int]
    """Its exit code once it has ended; negative: the signal that ended it."""
    _supervisor: Supervisor
    stopping: bool = False

    @property
    def name(self) -> str:
        """Its name among the supervisor's children."""
        return self.command.name

    async def ready(self, probe: Callable[[], Awaitable[Found]], deadline: float) -> Found:
        """Try `probe` until it returns something true, and return that.

        A probe says "not yet" with None, False, `OSError` or `TimeoutError`. Raises `PartDied` as soon as the
        process ends and `NotReady` after `deadline` seconds.
        """
        end = time.monotonic() + deadline
        pause, why = 0.005, "no answer"
        while True:
            if self.exited.done():
                raise PartDied(self.name, self.exited.result(), self.command.log)
            left = end - time.monotonic()
            if left <= 0:
                raise NotReady(self.name, deadline, self.command.log, why)
            try:
                if found := await asyncio.wait_for(probe(), left):
                    return found
            except (OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            # Between two tries the only news worth waking for is the process's end.
            await asyncio.wait([self.exited], timeout=min(pause, max(left, 0.001)))
            pause = min(pause * 1.6, 0.1)

    def signal(self, number: int) -> None:
        """Send it a signal; KILL reaches its whole process group."""
        if not self.exited.done():
            self._supervisor.request({"signal": self.name, "number": int(number)})

    async def stop(self) -> int:
        """TERM, its grace period, KILL; returns the exit code. Stopping twice is safe."""
        self.stopping = True
        self.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.exited], timeout=self.command.grace)
        if not done:
            self.signal(signal.SIGKILL)
            await asyncio.wait([self.exited])
        return self.exited.result()


class Supervisor:
    """All child processes of one stack.

    `on_exit(process)` is told of each one that ends without having been stopped.
    """

    def __init__(self, on_exit: Callable[[Process], None] | None = None) -> None:
        self._on_exit = on_exit
        self._processes: dict[str, Process] = {}
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._guardian: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def processes(self) -> list[Process]:
        """Children in the order of their start, ended ones included."""
        return list(self._processes.values())

    async def __aenter__(self) -> Supervisor:
        ours, theirs = socket.socketpair()
        with theirs:
            self._guardian = subprocess.Popen(  # noqa: ASYNC220 - asyncio's own would be reaped by its watcher
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(__file__).with_name("guardian.py")),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                cwd="/",
            )
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        self._listener = asyncio.create_task(self._listen(reader), name="guardian")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, command: Command) -> Process:
        """Start a child. Raises `ServiceError` when it cannot be run at all."""
        name = command.name
        if name in self._waiting or (name in self._processes and not self._processes[name].exited.done()):
            raise ServiceError(f"a process named {name!r} runs already")
        command.log.parent.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        waiting = self._waiting[name] = loop.create_future()
        # The process is known before its start is acknowledged: it may end at once.
        process = self._processes[name] = Process(command, 0, started, loop.create_future(), self)
        try:
            self.request(
                {
                    "start": name,
                    "argv": list(command.argv),
                    "env": dict(command.env),
                    "cwd": str(command.cwd),
                    "log": str(command.log),
                }
            )
            process.pid = await waiting
        except ServiceError:
            del self._processes[name]
            raise
        finally:
            self._waiting.pop(name, None)
        return process

    async def run(self, command: Command) -> int:
        """Start a child and wait for its end; a cancelled wait stops it. Returns its exit code."""
        process = await self.start(command)
        process.stopping = True  # its end is no news
        try:
            return await asyncio.shield(process.exited)
        finally:
            await process.stop()

    def request(self, message: dict[str, Any]) -> None:
        """Tell the guardian. Raises `ServiceError` when it is gone."""
        if self._writer is None or self._writer.is_closing():
            raise ServiceError("no process can be started or signalled", "the supervisor is closed")
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def close(self) -> None:
        """Stop the children, last one first, then whatever they left behind. Closing twice is safe."""
        if self._writer is None or self._guardian is None or self._listener is None or self._closed:
            return
        self._closed = True
        try:
            for process in reversed(self._processes.values()):
                if not process.exited.done():
                    await process.stop()
        finally:
            # The guardian ends what is left (descendants in groups of their own), then itself.
            self._writer.close()
            guardian = self._guardian
            await asyncio.get_running_loop().run_in_executor(None, guardian.wait)
            await self._listener

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._take(json.loads(line))
        # No more news: what the guardian did not report ended with it.
        if self._writer is not None:
            self._writer.close()
        for name, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_exception(ServiceError(f"{name} was not started", "the guardian process ended"))
        for process in self._processes.values():
            if not process.exited.done():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if process.pid:
                        os.killpg(process.pid, signal.SIGKILL)
                self._ended(process, -signal.SIGKILL)

    def _take(self, event: dict[str, Any]) -> None:
        name = event["name"]
        match event["event"]:
            case "started":
                self._processes[name].pid = event["pid"]
                self._waiting[name].set_result(event["pid"])
            case "failed":
                self._waiting[name].set_exception(ServiceError(f"{name} cannot be run", event["error"]))
            case _:
                self._ended(self._processes[name], event["code"])

    def _ended(self, process: Process, code: int) -> None:
        process.exited.set_result(code)
        if self._on_exit is not None and not process.stopping:
            self._on_exit(process)


def last_lines(log: Path, count: int = 12) -> list[str]:
    """The last lines of a log file that are not blank; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def quote(log: Path, count: int = 12) -> str:
    """The last lines of a log file as the end of an error message."""
    lines = last_lines(log, count)
    return (
        f"The last lines of {log}:" + "".join(f"\n  | {line}" for line in lines)
        if lines
        else f"{log} is empty."
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
