"""The stack's life: up, status, down; Ctrl-C, a crash, `kill -9`; two side by side; what listens where."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from lab.guardian import descendants
from lab.stack import Options, PartDied, Stack
from lab.stack.health import check
from lab.stack.provision import provision
from sip.errors import ServiceError, StackNotFound
from sip.local import LocalStack, load

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("livekit_server")]

CORE = ("--no-agent", "--no-speech", "--no-service")
"""A stack of the store and livekit-server alone: how many parts there are makes no difference here."""


def core(name: str, **more: Any) -> Options:
    """Options of such a stack."""
    return Options(name=name, agent=False, speech=False, service=False, **more)


async def sip(*arguments: str) -> asyncio.subprocess.Process:
    """Start the command `sip`."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip.cli", *arguments, stdout=pipe, stderr=pipe
    )


async def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command `sip` to its end: exit code, standard output, standard error."""
    process = await sip(*arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def up(name: str, *arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """Start a core stack in the foreground, and wait until it says that it is ready."""
    process = await sip("stack", "up", "--name", name, "--json", *CORE, *arguments)
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, (await process.communicate())[1].decode()
    return process, json.loads(line)


def pids(stack: dict[str, Any] | LocalStack) -> list[int]:
    """Process ids of a stack's parts."""
    parts = stack.parts if isinstance(stack, LocalStack) else stack["parts"]
    return [part["pid"] for part in parts.values()]


async def gone(numbers: list[int]) -> None:
    """Wait until none of these processes runs any more."""
    async with asyncio.timeout(15):
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                await _ended(os.pidfd_open(number))


async def _ended(pidfd: int) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(pidfd, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


@pytest.fixture(scope="module", autouse=True)
def own_state_home(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands without a name find these tests' stacks only, not the one that other tests share.

    That one is asked for so that it is there before: its state file must stand in the common place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
async def small() -> AsyncIterator[LocalStack]:
    """A core stack in this process."""
    async with Stack(core(f"small-{os.getpid()}")) as stack:
        yield stack.local


async def test_up_status_logs_env_and_down() -> None:
    """A detached stack is found by every command without flags, and `down` leaves nothing of it."""
    code, out, err = await run("stack", "up", "--detach", *CORE)
    assert code == 0, err
    assert "livekit-server  ready" in err
    assert "./run sip stack down" in out
    code, out, _ = await run("stack", "status", "--json")
    status = json.loads(out)
    assert code == 0
    assert status["ok"]
    assert {part["part"] for part in status["parts"]} == {"valkey", "livekit-server"}
    code, out, _ = await run("stack", "logs", "livekit-server")
    assert code == 0
    assert "starting LiveKit server" in out
    code, out, _ = await run("stack", "env")
    assert f"export LIVEKIT_URL={status['livekit_url']}" in out.splitlines()
    code, out, err = await run("stack", "down")
    assert (code, out) == (0, "stopped local\n"), err
    await gone([part["pid"] for part in status["parts"]])
    code, _, err = await run("stack", "status")
    assert code == 1
    assert "no local stack runs" in err


async def test_status_fails_when_a_part_does_not_answer(small: LocalStack) -> None:
    """`status` exits 0 only when all parts answer: a livekit-server that hangs is named."""
    server = small.parts["livekit-server"]["pid"]
    os.kill(server, signal.SIGSTOP)
    try:
        code, out, _ = await run("stack", "status")
    finally:
        os.kill(server, signal.SIGCONT)
    assert code == 1
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "ready" in lines["valkey"]
    assert "DOWN" in lines["livekit-server"]
    assert "no answer within" in lines["livekit-server"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_ctrl_c_leaves_nothing(number: signal.Signals) -> None:
    """Ctrl-C, TERM and a closed terminal stop everything; the exit code says that it was wanted."""
    process, stack = await up("ctrl-c")
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    await gone(pids(stack))
    with pytest.raises(StackNotFound):
        load("ctrl-c")


async def test_ctrl_c_while_it_starts() -> None:
    """A start that is interrupted ends at once, with nothing left and no state file."""

    accepted = asyncio.Event()

    async def never_answers(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        accepted.set()

    async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await sip(
            "stack", "up", "--name", "early", *CORE, "--redis-url", f"redis://127.0.0.1:{port}"
        )
        await accepted.wait()
        children = descendants(process.pid)
        assert children
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in err
    await gone(children)


async def test_kill_9_of_the_supervisor_leaves_nothing() -> None:
    """When the supervisor is killed outright all parts end; no command finds the stack, `down` tidies up."""
    process, stack = await up("killed")
    process.kill()
    await process.wait()
    await gone(pids(stack))
    code, _, err = await run("stack", "status", "--name", "killed")
    assert code == 1
    assert "no local stack named 'killed' runs" in err
    code, out, _ = await run("stack", "down", "--name", "killed")
    assert (code, out) == (0, "stopped killed\n")
    code, _, _ = await run("stack", "down", "--name", "killed")
    assert code == 1


async def test_kill_9_of_a_whole_stack_leaves_nothing() -> None:
    """The worker's and the SIP service's own processes go with it, too: forkserver, idle jobs, media."""
    process = await sip("stack", "up", "--name", "whole", "--json")
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, (await process.communicate())[1].decode()
    family = descendants(process.pid)
    assert len(family) > len(pids(json.loads(line))) + 3
    process.kill()
    await process.wait()
    await gone(family)


async def test_a_part_that_dies_takes_the_stack_down() -> None:
    """The crash of one part is told at once, with its log's last lines, and ends the stack: exit code 1."""
    process, stack = await up("crash")
    os.kill(stack["parts"]["livekit-server"]["pid"], signal.SIGKILL)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "livekit-server ended: killed by SIGKILL" in err.decode()
    assert "  | " in err.decode()
    assert "CreateSIPDispatchRule" in err.decode()
    await gone(pids(stack))


async def test_a_detached_stack_that_went_down_says_why() -> None:
    """Nobody watched when a part of a detached stack died: `status` tells it afterwards."""
    code, _, err = await run("stack", "up", "--detach", "--name", "unseen", *CORE)
    assert code == 0, err
    unseen = load("unseen")
    supervisor = os.pidfd_open(unseen.pid)
    os.kill(unseen.parts["valkey"]["pid"], signal.SIGKILL)
    await asyncio.wait_for(_ended(supervisor), 15)
    code, _, err = await run("stack", "status", "--name", "unseen")
    assert code == 1
    assert "no local stack runs: the last one went down" in err
    assert "valkey ended: killed by SIGKILL" in err


async def test_a_part_that_dies_ends_the_block() -> None:
    """In Python, the block that uses a stack is interrupted when a part dies, and raises what happened."""
    with pytest.raises(PartDied, match=r"valkey ended: killed by SIGKILL"):
        async with Stack(core("block")) as stack:
            os.kill(stack.local.parts["valkey"]["pid"], signal.SIGKILL)
            await asyncio.Event().wait()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_two_stacks_side_by_side(small: LocalStack) -> None:
    """Stacks with different names share nothing; a command that could mean both asks for a name."""
    code, _, err = await run("stack", "up", "--detach", "--name", "second", *CORE)
    assert code == 0, err
    second = load("second")
    assert {part["address"] for part in second.parts.values()}.isdisjoint(
        part["address"] for part in small.parts.values()
    )
    code, _, err = await run("stack", "status")
    assert code == 1
    assert "several local stacks run" in err
    code, out, _ = await run("stack", "down", "--name", "second")
    assert (code, out) == (0, "stopped second\n")
    assert all(health.ok for health in await check(small))


async def test_a_name_can_be_used_once_at_a_time(small: LocalStack) -> None:
    """A second stack under the same name is refused before anything starts."""
    code, _, err = await run("stack", "up", "--name", small.name, *CORE)
    assert code == 1
    assert f"a local stack named '{small.name}' runs already" in err
    assert "--name" in err


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("detach", [(), ("--detach",)])
async def test_a_taken_port_is_said_before_anything_starts(
    kind: socket.SocketKind, detach: tuple[str, ...]
) -> None:
    """A fixed SIP port in use, UDP or TCP, names the port and the flag that chooses another."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        code, _, err = await run("stack", "up", *detach, "--sip-port", str(port))
    assert code == 1
    assert f"port {port} is taken" in err
    assert "--sip-port" in err


async def test_wrong_use_exits_with_2() -> None:
    """A name or port that can never work is wrong use, and all that is wrong is said at once."""
    code, _, err = await run("stack", "up", "--name", "a/b", "--sip-port", "70000")
    assert code == 2
    assert "a/b" in err
    assert "70000" in err


async def test_a_store_that_is_not_there() -> None:
    """A REDIS_URL that nobody answers is an error that names the setting, and nothing stays behind."""
    with pytest.raises(ServiceError, match="REDIS_URL"):
        async with Stack(core("store", redis_url="redis://127.0.0.1:1")):
            pass
    with pytest.raises(StackNotFound):
        load("store")


async def test_a_store_of_ones_own(small: LocalStack) -> None:
    """With REDIS_URL no store is started, and the one that is named is used."""
    async with Stack(core("own", redis_url=small.redis_url)) as stack:
        assert set(stack.local.parts) == {"livekit-server"}
        assert stack.local.redis_url == small.redis_url


async def test_what_is_set_up_for_calls(small: LocalStack) -> None:
    """One trunk for this machine's callers and one rule to the agent, however often it is set up."""
    again = functools.partial(
        provision,
        small.livekit_url,
        small.api_key,
        small.api_secret,
        numbers=("+15550100", "+15550101"),
        agent_name="somebody",
        stack=small.name,
    )
    await again()
    ids = await again()
    async with api.LiveKitAPI(small.livekit_url, small.api_key, small.api_secret) as server:
        trunks = (await server.sip.list_inbound_trunk(api.ListSIPInboundTrunkRequest())).items
        rules = (await server.sip.list_dispatch_rule(api.ListSIPDispatchRuleRequest())).items
    assert [trunk.sip_trunk_id for trunk in trunks] == [ids.inbound_trunk_id]
    assert list(trunks[0].numbers) == ["+15550100", "+15550101"]
    assert list(trunks[0].allowed_addresses) == ["127.0.0.1/32"]
    assert [rule.sip_dispatch_rule_id for rule in rules] == [ids.dispatch_rule_id]
    assert list(rules[0].trunk_ids) == [ids.inbound_trunk_id]
    assert rules[0].rule.dispatch_rule_individual.room_prefix == "call-"
    assert [agent.agent_name for agent in rules[0].room_config.agents] == ["somebody"]


def test_secrets_are_for_their_owner(small: LocalStack) -> None:
    """The files that hold the API secret can be read by their owner alone, and no command line shows it."""
    for path in (small.path, Path(small.directory) / "livekit.yaml"):
        assert small.api_secret in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for number in pids(small):
        assert small.api_secret not in Path(f"/proc/{number}/cmdline").read_text()


async def test_the_whole_stack_answers(stack: LocalStack) -> None:
    """Store, livekit-server, SIP service, speech servers and worker all answer, as `status` sees it."""
    healths = await check(stack)
    assert {health.part for health in healths} == {"valkey", "livekit-server", "sip", "speech", "agent"}
    assert [health for health in healths if not health.ok] == []


async def test_every_tcp_listener_is_on_loopback(stack: LocalStack) -> None:
    """No process of the stack accepts TCP connections from another machine."""
    family = [number for pid in pids(stack) for number in (pid, *descendants(pid))]
    listening = [address for number in family for address in _listeners(number)]
    assert len(listening) >= 5
    assert [address for address in listening if not address.startswith("127.")] == []


def _listeners(pid: int) -> list[str]:
    """Addresses on which a process listens, from procfs (IPv6 ones as their hexadecimal form)."""
    inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found: list[str] = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                raw = fields[1].split(":")[0]
                found.append(socket.inet_ntoa(bytes.fromhex(raw)[::-1]) if table == "tcp" else raw)
    return found
