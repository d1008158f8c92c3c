"""SIPp against the whole service: a user agent not ours, on both ends of calls through a real room."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from livekit import api, rtc
from livekit.protocol import sip

from lab.stack import Options, background
from sip.local import LocalStack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        shutil.which("sipp") is None, reason="SIPp is not installed (apt-get install sip-tester)"
    ),
]

ROOM = "tone"
UAS_PORT = 0
_HEAD = '<?xml version="1.0" encoding="UTF-8" ?><scenario name="test">'
_SDP = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
"""
_INVITE = f"""
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
{_SDP}"""
_REPLY = """
SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
"""


@pytest.fixture(scope="module")
def local(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker and speech servers."""
    directory = tmp_path_factory.mktemp("sipp")
    with background(Options(name="sipp", directory=directory, agent=False, speech=False)) as stack:
        asyncio.run(_provision(stack))
        yield stack


async def _provision(stack: LocalStack) -> None:
    """A trunk and a rule for each thing that can be dialled."""
    async with _api(stack) as livekit:
        for name, room, allowed in (
            ("tone", ROOM, []),
            ("quiet", "quiet", []),
            ("forbidden", ROOM, ["198.51.100.0/24"]),
            ("norule", "", []),
        ):
            wanted = sip.SIPInboundTrunkInfo(name=name, numbers=[name], allowed_addresses=allowed)
            # Short only where it is to run out: a busy machine may take a second to join a room.
            wanted.ringing_timeout.FromMilliseconds(700 if name == "quiet" else 10_000)
            trunk = await livekit.sip.create_inbound_trunk(sip.CreateSIPInboundTrunkRequest(trunk=wanted))
            if room:
                direct = sip.SIPDispatchRule(dispatch_rule_direct=sip.SIPDispatchRuleDirect(room_name=room))
                rule = sip.SIPDispatchRuleInfo(name=name, trunk_ids=[trunk.sip_trunk_id], rule=direct)
                await livekit.sip.create_dispatch_rule(sip.CreateSIPDispatchRuleRequest(dispatch_rule=rule))


def _api(stack: LocalStack) -> api.LiveKitAPI:
    return api.LiveKitAPI(stack.livekit_url, stack.api_key, stack.api_secret)


@asynccontextmanager
async def talker(stack: LocalStack) -> AsyncGenerator[rtc.Room]:
    """Somebody in the room who can be heard."""
    grants = api.VideoGrants(room_join=True, room=ROOM)
    token = api.AccessToken(stack.api_key, stack.api_secret).with_identity("talker").with_grants(grants)
    room = rtc.Room()
    await room.connect(stack.livekit_url, token.to_jwt())
    source = rtc.AudioSource(8000, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    speaking = asyncio.create_task(_speak(source))
    try:
        yield room
    finally:
        speaking.cancel()
        await room.disconnect()


async def _speak(source: rtc.AudioSource) -> None:
    tone = (8000 * np.sin(2 * np.pi * 400 * np.arange(160) / 8000)).astype(np.int16)
    while True:
        await source.capture_frame(rtc.AudioFrame(tone.tobytes(), 8000, 1, 160))


async def sipp(*arguments: str, port: int = 0) -> tuple[int, str]:
    """Run SIPp once: its exit code (0: every call went by the scenario) and what it printed."""
    local_port = ["-p", str(port)] if port else []
    process = await asyncio.create_subprocess_exec(
        "sipp", *arguments, *local_port, "-i", "127.0.0.1", "-nostdin", "-timeout", "25", "-timeout_error",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")[-3000:]


@pytest.mark.parametrize(("transport", "calls"), [("u1", 10), ("t1", 3)])
async def test_uac_scenario(local: LocalStack, transport: str, calls: int) -> None:
    """SIPp's own `uac`: 180, 200, no re-INVITE in its pause, a clean BYE; over UDP and TCP."""
    async with talker(local):
        arguments = ("-sn", "uac", "-s", "tone", "-t", transport, "-m", str(calls), "-l", "1", "-d", "300")
        code, output = await sipp(*arguments, local.sip_address)
    assert code == 0, output
    assert f"INVITE ---------->         {calls:<9}" in output, output


@pytest.mark.parametrize(
    ("number", "code"), [("forbidden", 403), ("unknown", 404), ("norule", 404), ("quiet", 486)]
)
async def test_refusals(local: LocalStack, tmp_path: Path, number: str, code: int) -> None:
    """Source, number, rule, no agent: the true code; only the last one rang."""
    rings = '<recv response="180"/>' if code == 486 else ""
    invite = _INVITE
    ack = """
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

"""
    scenario = tmp_path / "refused.xml"
    scenario.write_text(
        f'{_HEAD}<send><![CDATA[{invite}]]></send><recv response="100"/>{rings}'
        f'<recv response="{code}"/><send><![CDATA[{ack}]]></send></scenario>'
    )
    result, output = await sipp("-sf", str(scenario), "-s", number, "-m", "1", local.sip_address)
    assert result == 0, output


def in_dialog(method: str, sequence: int, body: str = "Content-Length: 0\n\n") -> str:
    """A step: a request in the dialog of a call that SIPp made."""
    text = f"""
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: {sequence} {method}
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
{body}"""
    return f"<send><![CDATA[{text}]]></send>"


async def test_cancel_while_ringing(local: LocalStack, tmp_path: Path) -> None:
    """CANCEL before the agent came: 200 to it, 487 to the INVITE; the near leg and the room are gone, too."""

    def along(method: str) -> str:
        return f"""<send><![CDATA[
{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
{"To: <sip:[service]@[remote_ip]:[remote_port]>" if method == "CANCEL" else "[last_To:]"}
Call-ID: [call_id]
CSeq: 1 {method}
Max-Forwards: 70
Content-Length: 0

]]></send>"""

    steps = (
        f'<send><![CDATA[{_INVITE}]]></send><recv response="100"/><recv response="180"/>{along("CANCEL")}'
        f'<recv response="200"/><recv response="487"/>{along("ACK")}'
    )
    scenario = tmp_path / "cancel.xml"
    scenario.write_text(f"{_HEAD}{steps}</scenario>")
    code, output = await sipp("-sf", str(scenario), "-s", "quiet", "-m", "3", "-l", "1", local.sip_address)
    assert code == 0, output
    async with asyncio.timeout(10):
        while endings(local).count("cancelled") < 3:  # noqa: ASYNC110 - a record tells nobody that it is written
            await asyncio.sleep(0.05)


def endings(stack: LocalStack) -> list[str]:
    """Why the calls of a stack ended, as their records say."""
    records = Path(stack.directory, "records").glob("*.signal.json")
    return [json.loads(path.read_text())["reason"] for path in records]


async def test_hold_and_resume_do_not_end_the_call(local: LocalStack, tmp_path: Path) -> None:
    """re-INVITE with sendonly is answered recvonly, with sendrecv back again; then INFO digits, BYE."""
    checked = (
        '<recv response="200" crlf="true"><action><ereg regexp="a={}" search_in="body" check_it="true" '
        'assign_to="{}"/></action></recv>'
    )
    steps = (
        f'<send><![CDATA[{_INVITE}]]></send><recv response="100"/><recv response="180"/>'
        f'<recv response="200" rrs="true"/>{in_dialog("ACK", 1)}<pause milliseconds="200"/>'
    )
    for sequence, (wanted, expected) in enumerate((("sendonly", "recvonly"), ("sendrecv", "sendrecv")), 2):
        steps += in_dialog("INVITE", sequence, f"{_SDP}a={wanted}\n")
        steps += checked.format(expected, f"a{sequence}") + in_dialog("ACK", sequence)
    digits = "Content-Type: application/dtmf-relay\nContent-Length: [len]\n\nSignal=5\nDuration=160\n"
    steps += f'{in_dialog("INFO", 4, digits)}<recv response="200"/><pause milliseconds="200"/>'
    steps += f'{in_dialog("BYE", 5)}<recv response="200"/><Reference variables="a2,a3"/>'
    scenario = tmp_path / "hold.xml"
    scenario.write_text(f"{_HEAD}{steps}</scenario>")
    async with talker(local):
        code, output = await sipp("-sf", str(scenario), "-s", "tone", "-m", "1", local.sip_address)
    assert code == 0, output


@asynccontextmanager
async def called(tmp_path: Path, steps: str, port: int) -> AsyncGenerator[asyncio.Task[tuple[int, str]]]:
    """A SIPp that waits for one call and takes it by these steps."""
    scenario = tmp_path / "uas.xml"
    scenario.write_text(f"{_HEAD}{steps}</scenario>")
    running = asyncio.create_task(sipp("-sf", str(scenario), "-m", "1", port=port))
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def reply(status: str, body: str = "Content-Length: 0\n\n") -> str:
    """A step: answer what came last."""
    return f"<send><![CDATA[{_REPLY.format(status=status)}{body}]]></send>"


async def dial(livekit: api.LiveKitAPI, port: int, ringing: float = 5.0) -> sip.SIPParticipantInfo:
    """Call SIPp through the API, waiting for its answer."""
    request = sip.CreateSIPParticipantRequest(
        trunk=sip.SIPOutboundConfig(hostname=f"127.0.0.1:{port}"),
        sip_number="+15550111",
        sip_call_to="+15550122",
        room_name=ROOM,
        participant_identity="callee",
        wait_until_answered=True,
    )
    request.ringing_timeout.FromMilliseconds(int(ringing * 1000))
    return await livekit.sip.create_sip_participant(request)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("486 Busy Here", "resource_exhausted"),
        ("603 Decline", "permission_denied"),
        ("404 Not Found", "not_found"),
        ("401 Unauthorized", "permission_denied"),
    ],
)
async def test_refused_dials_through_the_api(
    local: LocalStack, tmp_path: Path, unused_udp_port: int, status: str, name: str
) -> None:
    """`SipCallError` carries the code of a far end that refuses."""
    steps = f'<recv request="INVITE"/>{reply("180 Ringing")}{reply(status)}<recv request="ACK"/>'
    async with called(tmp_path, steps, unused_udp_port) as far, _api(local) as livekit:
        with pytest.raises(api.SipCallError) as raised:
            await dial(livekit, unused_udp_port)
        assert (raised.value.code, raised.value.sip_status_code) == (name, int(status[:3]))
        code, output = await far
    assert code == 0, output


async def test_dial_that_nobody_answers(local: LocalStack, tmp_path: Path, unused_udp_port: int) -> None:
    """CANCEL after the ringing timeout, and `canceled` for the API's user."""
    steps = f'<recv request="INVITE"/>{reply("180 Ringing")}<recv request="CANCEL"/>{reply("200 OK")}'
    async with called(tmp_path, steps, unused_udp_port) as far, _api(local) as livekit:
        with pytest.raises(api.ServerError) as raised:
            await dial(livekit, unused_udp_port, ringing=0.5)
        assert raised.value.code == "canceled"
        code, output = await far
    assert code == 0, output


def status(room: rtc.Room, identity: str) -> str:
    """A participant's call status, as others in the room see it; empty before they do."""
    participant = room.remote_participants.get(identity)
    return participant.attributes.get("sip.callStatus", "") if participant else ""


async def test_answered_dial_and_transfer(local: LocalStack, tmp_path: Path, unused_udp_port: int) -> None:
    """An answered call is active in the room; REFER, 202, NOTIFY 200 and BYE end it, and the API says so."""
    keep = (
        '<action><ereg regexp=".*" search_in="hdr" header="From:" assign_to="from"/>'
        '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="to"/>'
        '<ereg regexp="sip:[^ >]*" search_in="hdr" header="Contact:" assign_to="contact"/></action>'
    )
    notify = """
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

SIP/2.0 200 OK
"""
    steps = (
        f'<recv request="INVITE"/>{reply("180 Ringing")}{reply("200 OK", _SDP)}<recv request="ACK"/>'
        f'<recv request="REFER">{keep}</recv>{reply("202 Accepted").replace(";tag=[call_number]", "")}'
        f'<send><![CDATA[{notify}]]></send><recv response="200"/>'
        f'<recv request="BYE"/>{reply("200 OK").replace(";tag=[call_number]", "")}'
    )
    async with talker(local) as room, called(tmp_path, steps, unused_udp_port) as far, _api(local) as livekit:
        info = await dial(livekit, unused_udp_port)
        assert info.participant_id.startswith("PA_")
        # The others in the room hear of it a little later than the API's caller.
        async with asyncio.timeout(10):
            while status(room, "callee") != "active":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert room.remote_participants["callee"].attributes["sip.callTag"]
        await livekit.sip.transfer_sip_participant(
            sip.TransferSIPParticipantRequest(
                room_name=ROOM, participant_identity="callee", transfer_to="tel:+15550133"
            )
        )
        code, output = await far
    assert code == 0, output


@pytest.fixture
def unused_udp_port() -> int:
    """A port that nobody has."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
