"""The Asterisk preset, as it is printed, run by a real Asterisk beside the local stack.

Debian 12 has no Asterisk; Ubuntu and Debian unstable have.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from livekit.protocol import sip as pb

from lab.processes import Command, Supervisor
from lab.stack import Options, background
from lab.stack.ports import HOST, free_port
from sip.local import LocalStack
from sip.presets import load
from sip.presets.use import Use, use
from tests.stack.preset_kit import (
    PASSWORD,
    Ear,
    applied,
    close,
    dial,
    filled,
    livekit_api,
    new_room,
    peer,
    registering,
    reply,
    rooms,
    told,
    write_files,
)
from tests.stack.test_sipp import _SDP

PHONE = "127.0.0.2"
"""Address of the phone at the PBX."""
ASTERISK = shutil.which("asterisk") or shutil.which("asterisk", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(ASTERISK is None, reason="Asterisk is not installed (apt-get install asterisk)"),
    pytest.mark.skipif(
        shutil.which("sipp") is None, reason="SIPp is not installed (apt-get install sip-tester)"
    ),
]

MODULES = [
    "res_clioriginate",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_sorcery_astdb",
    "res_timing_timerfd",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_session",
    "res_pjsip_pubsub",
    "res_pjsip_authenticator_digest",
    "res_pjsip_caller_id",
    "res_pjsip_endpoint_identifier_ip",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_nat",
    "res_pjsip_outbound_authenticator_digest",
    "res_pjsip_refer",
    "res_pjsip_rfc3326",
    "res_pjsip_sdp_rtp",
    "res_pjsip_registrar",
    "res_rtp_asterisk",
    "bridge_simple",
    "bridge_native_rtp",
    "bridge_builtin_features",
    "app_dial",
    "app_echo",
    "codec_ulaw",
    "codec_alaw",
    "codec_g722",
    "chan_pjsip",
    "pbx_config",
]


@pytest.fixture(scope="module")
def stack(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker and speech servers."""
    directory = tmp_path_factory.mktemp("asterisk")
    with background(Options(name="asterisk", directory=directory, agent=False, speech=False)) as local:
        yield local


def configure(directory: Path, phone_port: int, port: int = 0) -> None:
    """What every Asterisk has besides the preset: its own files, a port, and a phone with two extensions."""
    places = "".join(
        f"{name} => {directory}\n"
        for name in (
            "astetcdir",
            "astvarlibdir",
            "astdbdir",
            "astkeydir",
            "astspooldir",
            "astrundir",
            "astlogdir",
        )
    )
    (directory / "asterisk.conf").write_text(f"[directories]\n{places}")
    loads = "".join(f"load => {name}.so\n" for name in MODULES)
    (directory / "modules.conf").write_text(f"[modules]\nautoload=no\n{loads}")
    (directory / "logger.conf").write_text("[logfiles]\nconsole => notice,warning,error\n")
    with (directory / "pjsip.conf").open("a") as file:
        for extension in ("201", "202"):
            file.write(
                f"\n[{extension}]\ntype=endpoint\ncontext=from-internal\naors={extension}\ndisallow=all\n"
                f"allow=ulaw\ndirect_media=no\n\n[{extension}]\ntype=aor\n"
                f"contact=sip:{extension}@{PHONE}:{phone_port}\n\n"
            )
        port = port or free_port(socket.SOCK_DGRAM)
        file.write(f"[udp-phones]\ntype=transport\nprotocol=udp\nbind={HOST}:{port}\n")


class Pbx:
    """A running Asterisk."""

    def __init__(self, directory: Path, phone_port: int) -> None:
        self.directory, self.phone_port = directory, phone_port

    async def tell(self, command: str) -> str:
        """What it answers to a command of its console."""
        process = await asyncio.create_subprocess_exec(
            str(ASTERISK), "-C", str(self.directory / "asterisk.conf"), "-rx", command,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return output.decode(errors="replace")

    async def up(self) -> bool | None:
        """Whether it has loaded everything."""
        return True if "fully booted" in await self.tell("core waitfullybooted") else None


@asynccontextmanager
async def asterisk(stack: LocalStack, directory: Path, transport: str, auth: str) -> AsyncGenerator[Pbx]:
    """Asterisk with the preset's files, up."""
    phone_port = free_port(socket.SOCK_DGRAM)
    given = {
        "pbx_host": HOST,
        "listen_ip": HOST,
        "pbx_port": str(free_port()),
        "numbers": "700",
        "transport": transport,
        "auth": auth,
    }
    wanted = filled("asterisk", {key: [value] for key, value in given.items()}, stack)
    prepare(wanted, directory)
    configure(directory, phone_port)
    async with applied(wanted, stack), running(directory, phone_port) as pbx:
        yield pbx


def prepare(wanted: Use, directory: Path) -> None:
    """The preset's files, with the password where it belongs, as envsubst does it."""
    write_files(wanted, directory)
    secret = directory / "pjsip.conf"
    secret.write_text(secret.read_text().replace("${ASTERISK_PASSWORD}", PASSWORD))


@asynccontextmanager
async def running(directory: Path, phone_port: int) -> AsyncGenerator[Pbx]:
    """Asterisk with the files of a directory."""
    pbx = Pbx(directory, phone_port)
    argv = [str(ASTERISK), "-f", "-C", str(directory / "asterisk.conf")]
    async with Supervisor() as supervisor:
        command = Command(
            "asterisk", argv, directory / "asterisk.log", dict(os.environ), directory, grace=5.0
        )
        process = await supervisor.start(command)
        await process.ready(pbx.up, 30)
        yield pbx


@pytest.mark.parametrize(("transport", "auth"), [("udp", "ip"), ("tcp", "digest")])
async def test_calls_and_transfer(stack: LocalStack, tmp_path: Path, transport: str, auth: str) -> None:
    """An extension calls the agent and is transferred; the agent calls an extension: all of it is heard."""
    answers = (
        f'<recv request="INVITE"/>{reply("180 Ringing")}{reply("200 OK", _SDP)}<recv request="ACK"/>'
        f'<recv request="BYE"/>{reply("200 OK", tag="")}'
    )
    async with asterisk(stack, tmp_path, transport, auth) as pbx:
        await pbx.tell("pjsip qualify asterisk")
        async with asyncio.timeout(10):
            while "Avail" not in await pbx.tell("pjsip show aor asterisk"):  # noqa: ASYNC110 - LiveKit's 200
                await asyncio.sleep(0.2)
        before = await rooms(stack)
        await pbx.tell("channel originate Local/700@from-internal application Echo")
        room = await new_room(stack, before)
        async with Ear(stack, room) as ear:
            await ear.hears_tone()
            target = asyncio.create_task(peer(tmp_path, answers, "udp", PHONE, pbx.phone_port))
            async with livekit_api(stack) as livekit:
                caller, *_ = ear.room.remote_participants
                await livekit.sip.transfer_sip_participant(
                    pb.TransferSIPParticipantRequest(
                        room_name=room, participant_identity=caller, transfer_to=f"sip:202@{HOST}"
                    )
                )
        await pbx.tell("channel request hangup all")
        code, output = await target
        assert code == 0, output

        called = asyncio.create_task(peer(tmp_path, answers, "udp", PHONE, pbx.phone_port))
        out = f"out-{transport}"
        async with Ear(stack, out) as ear:
            await dial(stack, "asterisk", "201", out)
            await ear.hears_tone()
            await close(stack, out)
        code, output = await called
        assert code == 0, output


async def test_an_extension_registers_calls_and_is_called(livekit_server: Path, tmp_path: Path) -> None:
    """The printed registration at an Asterisk with the printed extension: calls both ways are heard."""
    port, phone_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    given = {"pbx_host": [HOST], "pbx_port": [str(port)], "extension": ["700"]}
    wanted = use(load("asterisk"), given, mode="extension", target="local", agent="nobody")
    prepare(wanted, tmp_path)
    configure(tmp_path, phone_port, port)
    with (tmp_path / "extensions.conf").open("a") as file:
        file.write("\n[from-internal](+)\nexten => 201,1,Dial(PJSIP/201,30)\n")
    registrations = tmp_path / "trunks.yaml"
    registrations.write_text(wanted.document())
    environment = {"SIP_REGISTRATIONS": str(registrations), "ASTERISK_PASSWORD": PASSWORD}
    answers = (
        f'<recv request="INVITE"/>{reply("180 Ringing")}{reply("200 OK", _SDP)}<recv request="ACK"/>'
        f'<recv request="BYE"/>{reply("200 OK", tag="")}'
    )
    async with (
        running(tmp_path, phone_port) as pbx,
        registering("extension", tmp_path / "stack", environment) as stack,
        applied(wanted, stack),
    ):
        await told(stack, "asterisk", "registered")
        assert f"sip:700@{stack.sip_address}" in await pbx.tell("pjsip show aor 700")
        before = await rooms(stack)
        await pbx.tell("channel originate Local/700@from-internal application Echo")
        async with Ear(stack, await new_room(stack, before)) as ear:
            await ear.hears_tone()
        await pbx.tell("channel request hangup all")

        called = asyncio.create_task(peer(tmp_path, answers, "udp", PHONE, phone_port))
        async with Ear(stack, "out") as ear:
            await dial(stack, "asterisk", "201", "out")
            await ear.hears_tone()
            await close(stack, "out")
        code, output = await called
        assert code == 0, output
