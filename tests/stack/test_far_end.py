"""Dialling and transferring through LiveKit's own API, with far ends that are not ours: SIPp and baresip."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from livekit import api, rtc
from livekit.protocol import sip

from lab.probes import sip_options
from lab.stack import Options, background
from lab.stack.ports import HOST, free_port
from sip.local import LocalStack
from tests.stack.rig import Talker
from tests.stack.test_sipp import _SDP, called, reply

pytestmark = pytest.mark.stack

needs_sipp = pytest.mark.skipif(
    shutil.which("sipp") is None, reason="SIPp is not installed (apt-get install sip-tester)"
)
MODULES = Path("/usr/lib/baresip/modules")
"""Where Debian keeps them."""
needs_baresip = pytest.mark.skipif(
    shutil.which("baresip") is None or not MODULES.is_dir(),
    reason="baresip is not installed (apt-get install baresip-core)",
)
ROOM = "far-end"
USER, PASSWORD = "trunk-user", "right"
HANG_UP = f'<recv request="BYE"/>{reply("200 OK").replace(";tag=[call_number]", "")}'
ANSWER = f'{reply("180 Ringing")}{reply("200 OK", _SDP)}<recv request="ACK"/>'


@pytest.fixture(scope="module")
def local(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker and speech servers."""
    directory = tmp_path_factory.mktemp("far-end")
    with background(Options(name="far-end", directory=directory, agent=False, speech=False)) as stack:
        yield stack


@pytest.fixture
def port() -> int:
    """A port for the far end."""
    return free_port(socket.SOCK_DGRAM)


def livekit_api(local: LocalStack) -> api.LiveKitAPI:
    """The API as everybody uses it."""
    return api.LiveKitAPI(local.livekit_url, local.api_key, local.api_secret)


def request(port: int, password: str = "", ringing: float = 5.0) -> sip.CreateSIPParticipantRequest:
    """Call the far end and wait for its answer."""
    trunk = sip.SIPOutboundConfig(hostname=f"{HOST}:{port}")
    if password:
        trunk.auth_username, trunk.auth_password = USER, password
    wanted = sip.CreateSIPParticipantRequest(
        trunk=trunk,
        sip_number="+15550111",
        sip_call_to="bob",
        room_name=ROOM,
        participant_identity="callee",
        wait_until_answered=True,
    )
    wanted.ringing_timeout.FromMilliseconds(int(ringing * 1000))
    return wanted


async def transfer(livekit: api.LiveKitAPI, target: str) -> None:
    """Send the callee elsewhere, and wait until he is there."""
    await livekit.sip.transfer_sip_participant(
        sip.TransferSIPParticipantRequest(room_name=ROOM, participant_identity="callee", transfer_to=target)
    )


def talker(local: LocalStack) -> Talker:
    """Somebody in the room."""
    return Talker(local.livekit_url, local.api_key, local.api_secret, ROOM)


@needs_sipp
@pytest.mark.parametrize(("code", "phrase"), [(401, "Unauthorized"), (407, "Proxy Authentication Required")])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
async def test_digest(
    local: LocalStack, tmp_path: Path, port: int, code: int, phrase: str, password: str
) -> None:
    """SIPp checks the answer to its 401 itself; the right password gets in, a wrong one fails with the code.

    It does not look into Proxy-Authorization: there it is asked only whether there is an answer.
    """
    name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
    challenge = (
        f'{name}: Digest realm="far end", nonce="a1b2c3", qop="auth", algorithm=MD5\nContent-Length: 0\n\n'
    )
    refused = f'{reply(f"{code} {phrase}", challenge)}<recv request="ACK"/>'
    check = f'<verifyauth assign_to="good" username="{USER}" password="{PASSWORD}"/>'
    if code == 407 and password == PASSWORD:
        check = (
            f'<ereg regexp="username=.{USER}.*response=" search_in="hdr" header="Proxy-Authorization:" '
            'assign_to="good"/>'
        )
    verify = f'<recv request="INVITE"><action>{check}</action></recv>'
    steps = f'<recv request="INVITE"/>{refused}{verify}<nop hide="true" test="good" next="1"/>'
    # A far end that does not believe us refuses for good.
    steps += f'{reply("403 Forbidden")}<recv request="ACK"/><nop next="2"/>'
    steps += f'<label id="1"/>{ANSWER}{HANG_UP}<label id="2"/>'
    async with livekit_api(local) as livekit, called(tmp_path, steps, port) as far:
        if password == PASSWORD:
            async with talker(local):
                info = await livekit.sip.create_sip_participant(request(port, password))
                assert info.participant_identity == "callee"
                await livekit.room.remove_participant(
                    api.RoomParticipantIdentity(room=ROOM, identity="callee")
                )
        else:
            with pytest.raises(api.SipCallError) as raised:
                await livekit.sip.create_sip_participant(request(port, password))
            assert (raised.value.code, raised.value.sip_status_code) == ("permission_denied", 403)
        result, output = await far
    assert result == 0, output


@needs_sipp
@pytest.mark.parametrize("code", [401, 407])
async def test_digest_that_is_asked_for_again_and_again(
    local: LocalStack, tmp_path: Path, port: int, code: int
) -> None:
    """A far end that goes on challenging is not tried for ever: the error carries its code."""
    name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
    challenge = f'{name}: Digest realm="far end", nonce="n[call_number]"\nContent-Length: 0\n\n'
    once = f'<recv request="INVITE"/>{reply(f"{code} Again", challenge)}<recv request="ACK"/>'
    async with livekit_api(local) as livekit, called(tmp_path, 3 * once, port):  # he may stop earlier
        with pytest.raises(api.SipCallError) as raised:
            await livekit.sip.create_sip_participant(request(port, "wrong"))
    assert raised.value.sip_status_code == code


@needs_sipp
@pytest.mark.parametrize(("refer", "notify", "code"), [(603, 0, 603), (202, 486, 486), (202, 404, 404)])
async def test_refused_transfer(
    local: LocalStack, tmp_path: Path, port: int, refer: int, notify: int, code: int
) -> None:
    """A REFER that is declined, or whose target is busy or unknown: the code, and the call goes on."""
    keep = (
        '<action><ereg regexp=".*" search_in="hdr" header="From:" assign_to="from"/>'
        '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="to"/>'
        '<ereg regexp="sip:[^ >]*" search_in="hdr" header="Contact:" assign_to="contact"/></action>'
    )
    told = f"""
NOTIFY [$contact] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From:[$to]
To:[$from]
Call-ID: [call_id]
CSeq: 1 NOTIFY
Contact: <sip:[local_ip]:[local_port]>
Event: refer
Subscription-State: terminated;reason=noresource
Max-Forwards: 70
Content-Type: message/sipfrag
Content-Length: [len]

SIP/2.0 {notify} Refused
"""
    in_dialog = reply(f"{refer} Whatever").replace(";tag=[call_number]", "")
    steps = f'<recv request="INVITE"/>{ANSWER}<recv request="REFER">{keep}</recv>{in_dialog}'
    if notify:
        steps += f'<send><![CDATA[{told}]]></send><recv response="200"/>'
    steps += f'{HANG_UP}<Reference variables="from,to,contact"/>'
    async with talker(local) as agent, livekit_api(local) as livekit, called(tmp_path, steps, port) as far:
        await livekit.sip.create_sip_participant(request(port))
        with pytest.raises(api.SipCallError) as raised:
            await transfer(livekit, "sip:desk@127.0.0.1")
        assert raised.value.sip_status_code == code
        await status(agent.room, "active")
        await livekit.room.remove_participant(api.RoomParticipantIdentity(room=ROOM, identity="callee"))
        result, output = await far
    assert result == 0, output


async def status(room: rtc.Room, wanted: str) -> None:
    """Until the callee's call status is this one; the API's answer may be quicker than the attribute."""
    changed = asyncio.Event()
    room.on("participant_attributes_changed", lambda attributes, who: changed.set())
    async with asyncio.timeout(5):
        while room.remote_participants["callee"].attributes["sip.callStatus"] != wanted:
            changed.clear()
            await changed.wait()


@needs_sipp
async def test_a_room_deleted_while_it_rings(local: LocalStack, tmp_path: Path, port: int) -> None:
    """The far end gets CANCEL, and whoever waits for the answer an error."""
    steps = f'<recv request="INVITE"/>{reply("180 Ringing")}<recv request="CANCEL"/>{reply("200 OK")}'
    async with talker(local) as agent, livekit_api(local) as livekit, called(tmp_path, steps, port) as far:
        rings = asyncio.Event()

        def look(*_: object) -> None:
            callee = agent.room.remote_participants.get("callee")
            if callee and callee.attributes.get("sip.callStatus") == "ringing":
                rings.set()

        agent.room.on("participant_attributes_changed", look)
        agent.room.on("participant_connected", look)
        dialling = asyncio.create_task(livekit.sip.create_sip_participant(request(port, ringing=20)))
        await asyncio.wait_for(rings.wait(), 5)
        await livekit.room.delete_room(api.DeleteRoomRequest(room=ROOM))
        with pytest.raises(api.ServerError):
            await asyncio.wait_for(dialling, 5)
        result, output = await far
    assert result == 0, output


async def test_nobody_listens_there(local: LocalStack, port: int) -> None:
    """A TCP port that nobody has: an error with a SIP code, long before the ringing timeout."""
    began = time.monotonic()
    wanted = request(port, ringing=20)
    wanted.trunk.transport = sip.SIP_TRANSPORT_TCP
    async with livekit_api(local) as livekit:
        with pytest.raises(api.SipCallError) as raised:
            await livekit.sip.create_sip_participant(wanted)
    assert raised.value.sip_status_code == 503
    assert time.monotonic() - began < 5


CONFIG = """
poll_method epoll
net_interface 127.0.0.1
sip_listen {host}:{port}
call_local_timeout 60
audio_player aubridge,none
audio_source aubridge,none
audio_alert aubridge,none
audio_channels 1-1
rtp_ports 20000-29999
module_path {modules}
module g711.so
module stdio.so
module aubridge.so
module_app account.so
module_app menu.so
"""


@asynccontextmanager
async def baresip(directory: Path, port: int, mode: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Debian's baresip with one account that answers by itself (`auto`) or lets it ring (`manual`)."""
    (directory / "config").write_text(CONFIG.format(host=HOST, port=port, modules=MODULES))
    (directory / "accounts").write_text(f"<sip:bob@{HOST}:{port}>;regint=0;answermode={mode}\n")
    (directory / "contacts").write_text("")
    with (directory / "baresip.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "baresip", "-f", str(directory), "-v",
            stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, cwd=directory,
        )  # fmt: skip
    try:
        async with asyncio.timeout(10):
            while not await _answers(port):
                assert process.returncode is None, (directory / "baresip.log").read_text()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        return await sip_options(f"{HOST}:{port}")
    except (OSError, TimeoutError):
        await asyncio.sleep(0.05)
        return False


@needs_baresip
async def test_baresip_answers_and_is_transferred(local: LocalStack, tmp_path: Path, port: int) -> None:
    """baresip answers, is sent to SIPp, calls it, and tells so: the transfer succeeds and our call ends."""
    if shutil.which("sipp") is None:
        pytest.skip("SIPp is not installed (apt-get install sip-tester)")
    target = free_port()
    steps = f'<recv request="INVITE"/>{ANSWER}<pause milliseconds="500"/>'
    async with (
        baresip(tmp_path, port, "auto"),
        talker(local) as agent,
        livekit_api(local) as livekit,
        called(tmp_path, steps, target) as far,
    ):
        left = asyncio.Event()
        agent.room.on("participant_disconnected", lambda who: left.set())
        await livekit.sip.create_sip_participant(request(port))
        await status(agent.room, "active")
        await asyncio.wait_for(transfer(livekit, f"sip:desk@{HOST}:{target}"), 10)
        await asyncio.wait_for(left.wait(), 5)
        result, output = await far
    assert result == 0, output


@needs_baresip
async def test_baresip_is_busy_and_does_not_answer(local: LocalStack, tmp_path: Path, port: int) -> None:
    """The key that rejects a call is 486 for the API's user; a call that only rings is `canceled`."""
    async with baresip(tmp_path, port, "manual") as phone, livekit_api(local) as livekit:
        with pytest.raises(api.ServerError) as unanswered:
            await livekit.sip.create_sip_participant(request(port, ringing=1.0))
        assert unanswered.value.code == "canceled"
        dialling = asyncio.create_task(livekit.sip.create_sip_participant(request(port, ringing=10)))
        assert phone.stdin
        while not dialling.done():
            phone.stdin.write(b"b")  # hang up; pressed again until there is a call to reject
            await phone.stdin.drain()
            await asyncio.wait({dialling}, timeout=0.3)
        with pytest.raises(api.SipCallError) as busy:
            await dialling
        assert busy.value.sip_status_code == 486
