"""Extensions of a real PBX: Kamailio as the registrar, SIPp as a phone there, the service as 1001."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from lab.probes import sip_options
from lab.processes import Command, Supervisor
from lab.stack.ports import HOST, free_port
from sip.api.connect import Target
from sip.api.live import Live
from sip.doctor import registrations
from sip.doctor.context import Context
from sip.local import LocalStack
from sip.wanted.desired import parse
from tests.stack.preset_kit import (
    Ear,
    close,
    dial,
    new_room,
    peer,
    registering,
    reply,
    rooms,
    told,
)
from tests.stack.test_preset_kamailio import in_dialog
from tests.stack.test_sipp import _INVITE, _SDP

PHONE = "127.0.0.2"
PASSWORD = "extension-secret"
GRANTED = 10
"""Seconds for which this PBX keeps an extension: a refresh comes every 5 s."""
KAMAILIO = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(KAMAILIO is None, reason="Kamailio is not installed (apt-get install kamailio)"),
    pytest.mark.skipif(
        shutil.which("sipp") is None, reason="SIPp is not installed (apt-get install sip-tester)"
    ),
]

CONFIG = """#!KAMAILIO
debug=2
log_stderror=yes
children=2
auto_aliases=no
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_expires", {granted})
modparam("registrar", "max_contacts", 1)

request_route {{
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (is_method("REGISTER")) {{
        xlog("L_WARN", "REGISTER $tU\\n");
        if (!pv_www_authenticate("pbx", "{password}", "0")) {{
            www_challenge("pbx", "1");
            exit;
        }}
        save("location");
        exit;
    }}
    if (is_method("CANCEL")) {{
        t_relay();
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    record_route();
    if ($si == "{phone}") {{
        if (!lookup("location")) {{
            sl_send_reply("404", "Not Found");
            exit;
        }}
    }} else {{
        # A call of an extension, which proves its password.
        if ($fU != "1001" || !pv_proxy_authenticate("pbx", "{password}", "0")) {{
            proxy_challenge("pbx", "1");
            exit;
        }}
        consume_credentials();
        $ru = "sip:201@{phone}:{phone_port}";
    }}
    t_relay();
}}
"""
FILE = """
inbound:
  pbx: {{numbers: ["1001"], allowed_addresses: [{host}]}}
outbound:
  pbx:
    address: {host}:{port}
    transport: {transport}
    numbers: ["1001"]
    auth_username: "1001"
    auth_password: ${{PBX_PASSWORD}}
rules:
  pbx: {{kind: individual, room: pbx-, trunks: [pbx]}}
registrations:
  desk:
    registrar: {host}:{port}
    username: "1001"
    auth_password: ${{PBX_PASSWORD}}
    transport: {transport}
  wrong: {{registrar: "{host}:{port}", username: "1002", auth_password: "not ${{PBX_PASSWORD}}"}}
"""


class Pbx:
    """A Kamailio that can be stopped and started; what it knows of extensions is in its memory alone."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port, self.phone_port = directory, free_port(), free_port()
        self.log = directory / "kamailio.log"
        config = CONFIG.format(
            host=HOST,
            port=self.port,
            phone=PHONE,
            phone_port=self.phone_port,
            password=PASSWORD,
            granted=GRANTED,
        )
        (directory / "kamailio.cfg").write_text(config)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Up."""
        config = str(self.directory / "kamailio.cfg")
        argv = [str(KAMAILIO), "-f", config, "-DD", "-E", "-Y", str(self.directory)]
        self.log.unlink(missing_ok=True)
        async with Supervisor() as supervisor:
            command = Command("kamailio", argv, self.log, dict(os.environ), self.directory, grace=5.0)
            process = await supervisor.start(command)
            await process.ready(lambda: sip_options(f"{HOST}:{self.port}"), 15)
            yield

    def requests(self, extension: str) -> int:
        """REGISTERs for this extension since the start."""
        return self.log.read_text(errors="replace").count(f"REGISTER {extension}\n")


@asynccontextmanager
async def serving(pbx: Pbx, transport: str) -> AsyncGenerator[LocalStack]:
    """A stack with the file's trunks and rule, that registers at the PBX."""
    file = pbx.directory / "trunks.yaml"
    file.write_text(FILE.format(host=HOST, port=pbx.port, transport=transport))
    environment = {"SIP_REGISTRATIONS": str(file), "PBX_PASSWORD": PASSWORD}
    async with registering(f"registration-{transport}", pbx.directory / "stack", environment) as stack:
        state = parse(file.read_text(), "trunks.yaml", environment).state
        async with Live(Target(stack.livekit_url, stack.api_key, stack.api_secret, "test")) as live:
            for item in (*state.inbound, *state.outbound, *state.rules):
                await live.create(item)
        yield stack


async def call_in(stack: LocalStack, pbx: Pbx) -> None:
    """The phone dials 1001 at the PBX: answered in a room, heard, hung up."""
    steps = (
        f'<send retrans="500"><![CDATA[{_INVITE}]]></send><recv response="100" optional="true"/>'
        '<recv response="180" optional="true"/><recv response="200" rrs="true"/>'
        f'{in_dialog("ACK", 1)}<pause milliseconds="2500"/>{in_dialog("BYE", 2)}<recv response="200"/>'
    )
    before = await rooms(stack)
    port = free_port()
    caller = asyncio.create_task(
        peer(pbx.directory, steps, "udp", PHONE, port, "-s", "1001", f"{HOST}:{pbx.port}")
    )
    async with Ear(stack, await new_room(stack, before)) as ear:
        await ear.hears_tone()
        code, output = await caller
    assert code == 0, output


async def refused(pbx: Pbx, code: int) -> None:
    """The phone dials 1001 and hears this code."""
    steps = (
        f'<send retrans="500"><![CDATA[{_INVITE}]]></send><recv response="100" optional="true"/>'
        f'<recv response="{code}"/>{in_dialog("ACK", 1).replace("[next_url]", "sip:1001@[remote_ip]")}'
    )
    result, output = await peer(
        pbx.directory, steps, "udp", PHONE, free_port(), "-s", "1001", f"{HOST}:{pbx.port}"
    )
    assert result == 0, output


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_in_and_out(livekit_server: Path, tmp_path: Path, transport: str) -> None:
    """1001 is registered: the PBX's calls reach a room, and calls out over its trunk prove the password."""
    pbx = Pbx(tmp_path)
    async with pbx.running():
        async with serving(pbx, transport) as stack:
            await told(stack, "desk", "registered")
            await call_in(stack, pbx)
            steps = (
                f'<recv request="INVITE" rrs="true"/>{reply("180 Ringing")}{reply("200 OK", _SDP)}'
                f'<recv request="ACK"/><recv request="BYE"/>{reply("200 OK", tag="")}'
            )
            phone = asyncio.create_task(peer(tmp_path, steps, "udp", PHONE, pbx.phone_port))
            async with Ear(stack, "out") as ear:
                await dial(stack, "pbx", "201", "out")
                await ear.hears_tone()
                await close(stack, "out")
            code, output = await phone
            assert code == 0, output
        # The service has stopped, and has taken the extension back.
        await refused(pbx, 404)


async def test_a_wrong_password_and_a_restarted_pbx(livekit_server: Path, tmp_path: Path) -> None:
    """A refused password is told and not hammered; a PBX that forgot everything knows 1001 soon again."""
    pbx = Pbx(tmp_path)
    async with AsyncExitStack() as first:
        await first.enter_async_context(pbx.running())
        async with serving(pbx, "udp") as stack:
            known = await told(stack, "wrong", "refused")
            assert known.code == 401 and "auth_password" in known.mend
            until = (await told(stack, "desk", "registered")).until
            refreshed = await told(stack, "desk", "registered", since=until)
            assert pbx.requests("1002") == 2
            await first.aclose()
            async with pbx.running():
                await refused(pbx, 404)
                await told(stack, "desk", "registered", since=refreshed.until)
                await call_in(stack, pbx)
                assert pbx.requests("1002") == 0
                target = Target(stack.livekit_url, stack.api_key, stack.api_secret, "test")
                async with Live(target) as live:
                    found = await registrations.registrations(Context(target, live, stack, {}, tmp_path))
                assert [(each.name, each.subject) for each in found] == [("registration-refused", "wrong")]
                log = await asyncio.to_thread(Path(stack.parts["sip"]["log"]).read_text)
                assert log.count("registration refused") == 1 and PASSWORD not in log
