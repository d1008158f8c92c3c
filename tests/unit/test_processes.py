"""Supervised processes: readiness, endings, and that nothing is left behind whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab import probes
from lab.processes import Command, NotReady, PartDied, Process, Supervisor, last_lines
from sip.errors import ServiceError

FAMILY = """
import os, signal, socket, sys, time
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.setsid()  # out of the group of its parent
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork():
            os._exit(0)  # the grandchild is an orphan now
        break
line.send(b"up\\n")
time.sleep(600)
"""
"""A process with orphaned descendants in sessions of their own, deaf to TERM; all hold the lifeline."""

PARENT = """
import asyncio, sys
from pathlib import Path
from lab.processes import Command, Supervisor

async def main():
    async with Supervisor() as supervisor:
        await supervisor.start(Command("family", sys.argv[1:], Path(sys.argv[-2]).with_name("family.log")))
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Lifeline:
    """A socket that a family of processes holds open: it ends when the last of them is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: asyncio.Future[asyncio.StreamReader] = asyncio.get_running_loop().create_future()

    async def up(self, count: int) -> None:
        """Wait for `count` processes to say that they are up."""
        reader = await self._reader
        async with asyncio.timeout(20):
            for _ in range(count):
                assert await reader.readline() == b"up\n"

    async def ended(self) -> None:
        """Wait until nobody holds it."""
        async with asyncio.timeout(15):
            assert await (await self._reader).read() == b""

    def connected(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        self._reader.set_result(reader)


@pytest.fixture
async def lifeline(tmp_path: Path) -> AsyncIterator[Lifeline]:
    """A lifeline that nobody holds yet."""
    line = Lifeline(tmp_path / "lifeline")
    async with await asyncio.start_unix_server(line.connected, line.path):
        yield line


def family(lifeline: Lifeline, orphans: int = 2) -> list[str]:
    """Command line of a process with this many orphans; each of them says that it is up."""
    return [sys.executable, "-c", FAMILY, str(lifeline.path), str(orphans)]


async def test_ready_returns_what_the_probe_found(tmp_path: Path) -> None:
    """A READY line in the log makes a process ready, and its JSON is handed over."""
    log = tmp_path / "a.log"
    async with Supervisor() as supervisor:
        process = await supervisor.start(
            Command(
                "a", ["sh", "-c", """echo starting; echo 'READY {"sip": "127.0.0.1:5"}'; sleep 60"""], log
            )
        )
        found = await process.ready(lambda: probes.ready_line(log), 10)
    assert found == {"sip": "127.0.0.1:5"}
    assert process.exited.result() == -signal.SIGTERM


async def test_a_process_that_ends_while_it_starts_is_told_with_its_last_lines(tmp_path: Path) -> None:
    """Whoever waits for readiness learns at once that the process ended, why, and where its log is."""
    log = tmp_path / "a.log"
    async with Supervisor() as supervisor:
        process = await supervisor.start(Command("a", ["sh", "-c", "echo no database >&2; exit 3"], log))
        with pytest.raises(PartDied) as caught:
            await process.ready(lambda: probes.log_has(log, "never"), 10)
    assert caught.value.lines == ["no database"]
    assert caught.value.code == 3
    assert "a ended: exit code 3" in str(caught.value)
    assert "| no database" in str(caught.value)
    assert str(log) in str(caught.value)


async def test_a_process_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """The deadline of readiness holds, and the error carries what the probe last said."""

    async def refuses() -> bool:
        raise ConnectionRefusedError("nobody listens")

    async with Supervisor() as supervisor:
        process = await supervisor.start(Command("a", ["sleep", "60"], tmp_path / "a.log"))
        with pytest.raises(NotReady, match=r"did not answer within 0.2 s: nobody listens"):
            await process.ready(refuses, 0.2)


async def test_a_program_that_is_not_there_cannot_be_started(tmp_path: Path) -> None:
    """A missing program is an error of the start, not a process that ends."""
    async with Supervisor() as supervisor:
        with pytest.raises(ServiceError, match="a cannot be run"):
            await supervisor.start(Command("a", ["no-such-program-here"], tmp_path / "a.log"))
        assert supervisor.processes == []


async def test_an_unexpected_end_is_reported_once_and_a_stop_is_not(tmp_path: Path) -> None:
    """`on_exit` hears of the process that crashed and not of the one that was stopped."""
    seen: list[tuple[str, int]] = []
    crashed = asyncio.Event()

    def on_exit(process: Process) -> None:
        seen.append((process.name, process.exited.result()))
        crashed.set()

    async with Supervisor(on_exit) as supervisor:
        await supervisor.start(Command("steady", ["sleep", "60"], tmp_path / "steady.log"))
        victim = await supervisor.start(Command("victim", ["sleep", "60"], tmp_path / "victim.log"))
        os.kill(victim.pid, signal.SIGKILL)
        await asyncio.wait_for(crashed.wait(), 10)
    assert seen == [("victim", -signal.SIGKILL)]


async def test_stop_is_gentle_first(tmp_path: Path) -> None:
    """A process that handles TERM ends with its own exit code, within its grace period."""
    log = tmp_path / "a.log"
    script = "trap 'echo goodbye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    async with Supervisor() as supervisor:
        process = await supervisor.start(Command("a", ["sh", "-c", script], log))
        await process.ready(lambda: probes.log_has(log, "up"), 10)
        assert await process.stop() == 7
        assert await process.stop() == 7
    assert last_lines(log) == ["up", "goodbye"]


async def test_stop_leaves_children_to_their_parent(tmp_path: Path) -> None:
    """TERM reaches the process alone, so that it can end its own children in its own order."""
    log = tmp_path / "a.log"
    child = "trap 'echo child was told; exit 1' TERM; echo up; while :; do sleep 0.05; done"
    script = f'sh -c "{child}" & trap "echo done; exit 0" TERM; wait; wait'
    async with Supervisor() as supervisor:
        process = await supervisor.start(Command("a", ["sh", "-c", script], log))
        await process.ready(lambda: probes.log_has(log, "up"), 10)
        assert await process.stop() == 0
    assert last_lines(log) == ["up", "done"]


async def test_stop_kills_what_ignores_term(tmp_path: Path) -> None:
    """A process that ignores TERM is killed when its grace period is over."""
    log = tmp_path / "a.log"
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    async with Supervisor() as supervisor:
        process = await supervisor.start(Command("a", ["sh", "-c", script], log, grace=0.2))
        await process.ready(lambda: probes.log_has(log, "up"), 10)
        assert await process.stop() == -signal.SIGKILL


async def test_run_returns_the_exit_code_and_a_cancelled_run_ends_the_program(
    tmp_path: Path, lifeline: Lifeline
) -> None:
    """`run` waits for a program, and cancelling the wait leaves nothing running."""
    async with Supervisor() as supervisor:
        assert await supervisor.run(Command("a", ["sh", "-c", "exit 4"], tmp_path / "a.log")) == 4
        endless = Command("b", family(lifeline), tmp_path / "b.log")
        task = asyncio.create_task(supervisor.run(endless))
        await lifeline.up(3)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert all(process.exited.done() for process in supervisor.processes)


async def test_closing_ends_descendants_that_left_their_group(tmp_path: Path, lifeline: Lifeline) -> None:
    """Orphans in sessions of their own, deaf to TERM, do not survive the supervisor's end."""
    async with Supervisor() as supervisor:
        await supervisor.start(Command("family", family(lifeline), tmp_path / "family.log"))
        await lifeline.up(3)
    await lifeline.ended()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_survives_a_supervisor_that_is_killed(
    tmp_path: Path, lifeline: Lifeline, number: signal.Signals
) -> None:
    """`kill -9` of the supervising process ends all its descendants within seconds."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, *family(lifeline))
    await lifeline.up(3)
    parent.send_signal(number)
    assert await parent.wait() == -number
    await lifeline.ended()


async def test_nothing_survives_a_guardian_that_is_killed(tmp_path: Path, lifeline: Lifeline) -> None:
    """Should the guardian itself be killed, its children go with it and the supervisor says so."""
    ended: list[str] = []
    async with Supervisor(lambda process: ended.append(process.name)) as supervisor:
        process = await supervisor.start(Command("a", family(lifeline, orphans=0), tmp_path / "a.log"))
        await lifeline.up(1)
        os.kill(_parent(process.pid), signal.SIGKILL)
        await lifeline.ended()
        await asyncio.wait_for(asyncio.shield(process.exited), 10)
        assert ended == ["a"]
        with pytest.raises(ServiceError):
            await supervisor.start(Command("b", ["sleep", "60"], tmp_path / "b.log"))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
