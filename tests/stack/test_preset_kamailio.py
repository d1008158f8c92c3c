"""The Kamailio preset, as it is printed, run by a real Kamailio between SIPp and the local stack."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lab.probes import sip_options
from lab.processes import Command, Supervisor
from lab.stack import Options, background
from lab.stack.ports import HOST, free_port
from sip.local import LocalStack
from sip.presets.use import Use
from tests.stack.preset_kit import (
    Ear,
    applied,
    close,
    dial,
    filled,
    new_room,
    peer,
    reply,
    rooms,
    write_files,
)
from tests.stack.test_sipp import _INVITE, _SDP

PBX = "127.0.0.2"
"""The PBX's address: Kamailio tells it from LiveKit by it."""
NUMBER = "+15550170"
KAMAILIO = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(KAMAILIO is None, reason="Kamailio is not installed (apt-get install kamailio)"),
    pytest.mark.skipif(
        shutil.which("sipp") is None, reason="SIPp is not installed (apt-get install sip-tester)"
    ),
]


@pytest.fixture(scope="module")
def stack(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker and speech servers."""
    directory = tmp_path_factory.mktemp("kamailio")
    with background(Options(name="kamailio", directory=directory, agent=False, speech=False)) as local:
        yield local


def _check(config: Path) -> None:
    """Kamailio takes the file as right."""
    argv = [str(KAMAILIO), "-c", "-f", str(config)]
    checked = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@asynccontextmanager
async def kamailio(
    stack: LocalStack, directory: Path, transport: str, destination: str = ""
) -> AsyncGenerator[tuple[Use, int]]:
    """Kamailio with the preset's files (and one more destination), up; and the port of the PBX behind it."""
    port, pbx_port = free_port(), free_port()
    given = {
        "kamailio_host": HOST,
        "kamailio_port": str(port),
        "pbx_address": f"{PBX}:{pbx_port}",
        "numbers": NUMBER,
        "transport": transport,
        "config_dir": str(directory),
    }
    wanted = filled("kamailio", {key: [value] for key, value in given.items()}, stack)
    write_files(wanted, directory)
    with (directory / "dispatcher.list").open("a") as file:
        file.write(destination)
    _check(directory / "kamailio.cfg")
    argv = [str(KAMAILIO), "-f", str(directory / "kamailio.cfg"), "-DD", "-E", "-Y", str(directory)]
    async with Supervisor() as supervisor, applied(wanted, stack):
        command = Command(
            "kamailio", argv, directory / "kamailio.log", dict(os.environ), directory, grace=5.0
        )
        process = await supervisor.start(command)
        await process.ready(lambda: sip_options(f"{HOST}:{port}"), 15)
        yield wanted, pbx_port


def in_dialog(method: str, sequence: int) -> str:
    """A request of the caller along the route of his call."""
    return f"""<send><![CDATA[
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: {sequence} {method}
[routes]
Max-Forwards: 70
Content-Length: 0

]]></send>"""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_in_and_out(stack: LocalStack, tmp_path: Path, transport: str) -> None:
    """Calls in and out through Kamailio: answered, heard in both directions, hung up by either side."""
    async with kamailio(stack, tmp_path, transport) as (wanted, pbx_port):
        steps = (
            f'<send retrans="500"><![CDATA[{_INVITE}]]></send><recv response="100" optional="true"/>'
            '<recv response="180" optional="true"/><recv response="200" rrs="true"/>'
            f'{in_dialog("ACK", 1)}<pause milliseconds="3000"/>{in_dialog("BYE", 2)}<recv response="200"/>'
        )
        address = f"{wanted.values['kamailio_host']}:{wanted.values['kamailio_port']}"
        before = await rooms(stack)
        caller = asyncio.create_task(peer(tmp_path, steps, transport, PBX, pbx_port, "-s", NUMBER, address))
        async with Ear(stack, await new_room(stack, before)) as ear:
            await ear.hears_tone()
            code, output = await caller
        assert code == 0, output

        steps = (
            f'<recv request="INVITE" rrs="true"/>{reply("180 Ringing")}{reply("200 OK", _SDP)}'
            f'<recv request="ACK"/><recv request="BYE"/>{reply("200 OK", tag="")}'
        )
        called = asyncio.create_task(peer(tmp_path, steps, transport, PBX, pbx_port))
        async with Ear(stack, f"out-{transport}") as ear:
            await dial(stack, "kamailio", "+15550122", f"out-{transport}")
            await ear.hears_tone()
            await close(stack, f"out-{transport}")
        code, output = await called
        assert code == 0, output


async def test_the_next_destination_is_tried(stack: LocalStack, tmp_path: Path) -> None:
    """A SIP service that is silent costs a call 5 seconds, and the next one of the list takes it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        line = f"1 sip:{HOST}:{silent.getsockname()[1]} 0 9\n"
        async with kamailio(stack, tmp_path, "udp", line) as (wanted, pbx_port):
            acknowledged = in_dialog("ACK", 1).replace("[next_url]", "sip:[service]@[remote_ip]")
            steps = (
                f'<send retrans="500"><![CDATA[{_INVITE}]]></send><recv response="100" optional="true"/>'
                f'<recv response="404"/>{acknowledged}'
            )
            address = f"{HOST}:{wanted.values['kamailio_port']}"
            began = asyncio.get_running_loop().time()
            code, output = await peer(tmp_path, steps, "udp", PBX, pbx_port, "-s", "unknown", address)
            took = asyncio.get_running_loop().time() - began
        assert code == 0, output
        assert silent.recv(4000).startswith((b"INVITE sip:unknown@", b"OPTIONS "))
    assert 4.5 < took < 10


async def test_strangers_are_refused(stack: LocalStack, tmp_path: Path) -> None:
    """Who calls from neither side gets 403, and LiveKit never hears of it."""
    async with kamailio(stack, tmp_path, "udp") as (wanted, _):
        port = int(str(wanted.values["kamailio_port"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.3", 0))
            own = f"127.0.0.3:{stranger.getsockname()[1]}"
            invite = (
                f"INVITE sip:{NUMBER}@{HOST}:{port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {own};branch=z9hG4bKstranger\r\nMax-Forwards: 70\r\n"
                f"From: <sip:s@{own}>;tag=s\r\nTo: <sip:{NUMBER}@{HOST}>\r\nCall-ID: stranger\r\n"
                f"CSeq: 1 INVITE\r\nContact: <sip:s@{own}>\r\nContent-Length: 0\r\n\r\n"
            )
            stranger.settimeout(5)
            stranger.sendto(invite.encode(), (HOST, port))
            assert stranger.recv(2000).startswith(b"SIP/2.0 403 ")
    assert not _records(stack, "stranger")


def _records(stack: LocalStack, call_id: str) -> list[Path]:
    return list(Path(stack.directory, "records").glob(f"{call_id}*"))
