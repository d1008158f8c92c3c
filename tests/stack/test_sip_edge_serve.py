"""`sip serve` as a process: its ready line, its end, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lab.stack import Options, background
from sip.local import LocalStack
from tests.stack.edge_kit import OFFER, Phone

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def bare(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """livekit-server and its store, and no SIP service."""
    directory = tmp_path_factory.mktemp("bare")
    options = Options(name="bare", directory=directory, agent=False, speech=False, service=False)
    with background(options) as stack:
        yield stack


def environment(stack: LocalStack | None, **changes: str) -> dict[str, str]:
    """What `sip serve` needs to know of a stack."""
    named = {name: value for name, value in os.environ.items() if not name.startswith(("SIP_", "LIVEKIT_"))}
    if stack:
        named |= {
            "LIVEKIT_URL": stack.livekit_url,
            "LIVEKIT_API_KEY": stack.api_key,
            "LIVEKIT_API_SECRET": stack.api_secret,
            "REDIS_URL": stack.redis_url,
        }
    return named | changes


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start `sip serve`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip.cli", "serve", "--port", "0", *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def failed(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and last line of a service that cannot start."""
    process = await start(environment, *arguments)
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    assert output == b""
    return process.returncode or 0, errors.decode().strip().splitlines()[-1]


@asynccontextmanager
async def serving(
    stack: LocalStack, *arguments: str
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, Phone]]:
    """A service that is ready, and a phone; the service is gone at the end."""
    process = await start(environment(stack))
    try:
        assert process.stdout
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        word, _, facts = line.partition(" ")
        assert word == "READY"
        ready = json.loads(facts)
        assert ready["transports"] == ["udp", "tcp"]
        assert ready["pid"] == process.pid
        host, _, port = ready["sip"].rpartition(":")
        phone = await Phone((host, int(port))).open()
        yield process, phone
        phone.socket.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ready_means_answering_and_term_ends_it(bare: LocalStack) -> None:
    """After the ready line OPTIONS is answered; SIGTERM ends the service with 0, and its media process."""
    async with serving(bare) as (process, phone):
        phone.send(phone.build("OPTIONS"))
        await phone.response(200, "OPTIONS")
        phone.remote = "<sip:nobody@edge.example>"
        await phone.refused(404, phone.build("INVITE", body=OFFER))
        media = children(process.pid)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert media
        assert not any(map(runs, media))


async def test_media_process_does_not_outlive_a_killed_edge(bare: LocalStack) -> None:
    """After kill -9 of the edge nothing of it runs on."""
    async with serving(bare) as (process, _):
        media = children(process.pid)
        process.kill()
        await process.wait()
        async with asyncio.timeout(10):
            while any(map(runs, media)):  # noqa: ASYNC110 - a stranger's child tells nobody
                await asyncio.sleep(0.05)


async def test_wrong_keys_taken_port_and_missing_servers(bare: LocalStack) -> None:
    """Each says what, why and the mend in its last line, and exits with 1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for change, arguments, words in (
            ({"LIVEKIT_API_SECRET": "w" * 32}, (), "refuses the keys"),
            ({"LIVEKIT_URL": "ws://127.0.0.1:1"}, (), "livekit-server does not answer"),
            ({"REDIS_URL": "redis://127.0.0.1:1"}, (), "Redis does not answer"),
            ({}, ("--port", port), "another program has it"),
            ({}, ("--host", "192.0.2.1"), "no such address"),
        ):
            code, line = await failed(environment(bare, **change), *arguments)
            assert code == 1
            assert words in line
            assert bare.api_secret not in line


async def test_missing_settings_are_all_named(tmp_path: Path) -> None:
    """Wrong use: exit code 2, and every setting that is missing."""
    names = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "REDIS_URL")
    code, line = await failed(environment(None, **dict.fromkeys(names, "")))
    assert code == 2
    assert all(name in line for name in names)


def runs(pid: str) -> bool:
    """Whether a process still runs; one that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[str]:
    """Process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
