"""The edge from INVITE to the final answer: who is let in, who is refused, and how."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import jwt
import pytest

from sip.model import InboundTrunk
from sip.service import control
from sip.service.bus import messages as rpc
from sip.service.signalling.digest import Credentials, answer
from sip.service.signalling.messages import Response
from tests.stack.edge_kit import ANSWER, NUMBER, OFFER, SECRET, TRUNK, world


async def test_inbound_call_from_invite_to_record(tmp_path: Path) -> None:
    """A call rings, is answered with the mapped headers, is hung up by the caller, and leaves its record."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        ok = await phone.call(headers={"X-Account": "42"})
        assert ok.body == ANSWER
        assert ok.headers.get("X-Fixed") == "fixed"
        assert ok.headers.get("X-Mood") == "merry"
        expect = await around.media[0].until(control.Expect)
        claims = jwt.decode(expect.spec.room.token, SECRET, algorithms=["HS256"])
        assert claims["kind"] == "sip"
        assert claims["sub"] == "sip_alice"
        assert claims["video"]["room"] == "room-1"
        assert claims["attributes"]["account"] == "42"
        assert claims["attributes"]["sip.callIDFull"] == phone.call_id
        assert claims["attributes"]["sip.callTag"] == "a1"
        phone.send(phone.build("BYE", headers={"Reason": "Q.850;cause=16"}))
        await phone.response(200, "BYE")
        summary = await around.summary(phone)
        assert summary["code"] == 200
        assert summary["ended_by"] == "far"
        assert summary["quality"] == {"mos": 4.2}
        assert summary["trunk_id"] == TRUNK
        assert not around.edge.calls
        assert summary["times"]["invite"] <= summary["times"]["ringing"] <= summary["times"]["answered"]
        first = [line["first"].split()[0] for line in around.ladder() if line["dir"] == "in"]
        assert first[0] == "INVITE"
        assert "BYE" in first


async def test_caller_who_cancels_gets_487_and_the_near_leg_too(tmp_path: Path) -> None:
    """CANCEL while ringing: 200 to it, 487 to the INVITE, CANCEL and End to the media process."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        around.media[0].answer_at_once = False
        invite = phone.build("INVITE", body=OFFER)
        phone.send(invite)
        await phone.response(180)
        phone.send(phone.build("CANCEL", sequence=1, branch=invite.via.parameters["branch"] or ""))
        await phone.response(200, "CANCEL")
        await phone.response(487)
        await around.media[0].until(control.End)
        summary = await around.summary(phone)
        assert (summary["code"], summary["ended_by"]) == (487, "far")
        methods = [around.media[0].requests.get_nowait().method for _ in range(2)]
        assert methods == ["INVITE", "CANCEL"]


async def test_early_bye_ends_the_call(tmp_path: Path) -> None:
    """A caller who hangs up before the agent joined, by BYE in the early dialog, gets 200 and 487."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        around.media[0].answer_at_once = False
        phone.send(phone.build("INVITE", body=OFFER))
        phone.remote = (await phone.response(180)).headers["To"]
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")
        await phone.response(487)
        await around.media[0].until(control.End)


async def test_retransmitted_invite_makes_no_second_call(tmp_path: Path) -> None:
    """Copies of an INVITE get the same answers, and the media process hears of one call."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        around.media[0].answer_at_once = False
        invite = phone.build("INVITE", body=OFFER)
        for _ in range(3):
            phone.send(invite)
        await phone.response(180)
        phone.send(invite)
        await phone.response(180)
        assert len(around.media[0].specs) == 1
        assert around.edge.counts["calls"] == 1


async def test_merged_request_gets_482(tmp_path: Path) -> None:
    """The same INVITE on another way (another branch) is refused with 482, and the call goes on."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        around.media[0].answer_at_once = False
        phone.send(phone.build("INVITE", body=OFFER))
        await phone.response(180)
        phone.send(phone.build("INVITE", body=OFFER, sequence=1))
        await phone.response(482)
        assert around.edge.counts["calls"] == 1


async def test_forbidden_source_is_403_and_an_unknown_number_404(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is told the truth; the log names the trunk and its field, and no number."""
    async with world(tmp_path) as around:
        around.bus.auth = rpc.GetSIPTrunkAuthenticationResponse()
        around.bus.dispatch = rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP)
        around.directory.trunks = [InboundTrunk("carrier", TRUNK, (NUMBER,), ("198.51.100.0/24",))]
        await (await around.phone()).refused(403)
        assert "carrier (ST_one): allowed_addresses" in caplog.text
        around.directory.trunks = [InboundTrunk("carrier", TRUNK, ("+15559999",))]
        phone = await around.phone()
        await phone.refused(404)
        assert "carrier (ST_one): numbers" in caplog.text
        assert NUMBER not in caplog.text
        assert not around.media[0].specs
        assert (await around.summary(phone))["code"] == 404


async def test_a_rule_for_all_trunks_does_not_lead_past_a_trunk_that_forbids(tmp_path: Path) -> None:
    """A rule without trunks would take the call; the trunk that names the number refuses its source: 403."""
    async with world(tmp_path) as around:
        around.bus.auth = rpc.GetSIPTrunkAuthenticationResponse()
        around.directory.trunks = [InboundTrunk("carrier", TRUNK, (NUMBER,), ("198.51.100.7",))]
        await (await around.phone()).refused(403)
        around.directory.trunks = []
        await (await around.phone()).call()


async def test_digest_is_asked_for_and_checked(tmp_path: Path) -> None:
    """Right credentials get in; wrong ones are asked again and refused at the third time."""
    async with world(tmp_path) as around:
        around.bus.auth = rpc.GetSIPTrunkAuthenticationResponse(
            sip_trunk_id=TRUNK, username="user", password="right", realm="here"
        )
        for password, expected in (("right", [200]), ("wrong", [407, 407, 403])):
            phone = await around.phone()
            challenge = (await phone.refused(407)).headers["Proxy-Authenticate"]
            assert 'realm="here"' in challenge
            for code in expected:
                value = answer([challenge], "INVITE", "sip:x@y", Credentials("user", password))
                assert value
                invite = phone.build("INVITE", body=OFFER, headers={"Proxy-Authorization": value})
                if code == 200:
                    phone.send(invite)
                    await phone.response(200)
                else:
                    challenge = (await phone.refused(code, invite)).headers.get("Proxy-Authenticate") or ""
        texts = [line["text"] for line in around.ladder() if "Proxy-Authorization" in line["text"]]
        assert texts
        assert all('response="…' in text for text in texts)


async def test_no_common_codec_is_488_and_bad_sdp_400(tmp_path: Path) -> None:
    """What no call can stand on is refused before anybody is asked."""
    async with world(tmp_path) as around:
        opus = OFFER.replace(b"RTP/AVP 0 101", b"RTP/AVP 96").replace(
            b"rtpmap:0 PCMU/8000", b"rtpmap:96 opus/48000"
        )
        for body, code in ((opus, 488), (OFFER.replace(b"m=audio", b"m=video"), 488), (b"hello", 400)):
            phone = await around.phone()
            await phone.refused(code, phone.build("INVITE", body=body))
        assert not around.bus.asked


async def test_requests_that_ask_for_too_much(tmp_path: Path) -> None:
    """420 for an extension, 483 at the last hop, 415 for another body, 422 for a short timer, 481, 405."""
    async with world(tmp_path) as around:
        for headers, code in (
            ({"Require": "100rel"}, 420),
            ({"Max-Forwards": "0"}, 483),
            ({"Supported": "timer", "Session-Expires": "30"}, 422),
        ):
            phone = await around.phone()
            response = await phone.refused(code, phone.build("INVITE", body=OFFER, headers=headers))
            if code == 420:
                assert response.headers["Unsupported"] == "100rel"
        phone = await around.phone()
        for method, code in (("MESSAGE", 405), ("SUBSCRIBE", 405), ("BYE", 481), ("OPTIONS", 200)):
            phone.send(phone.build(method))
            response = await phone.response(code, method)
            assert code not in (200, 405) or "INVITE" in response.headers["Allow"]


async def test_full_and_draining_are_503(tmp_path: Path) -> None:
    """More calls than allowed, and a service that stops, say 503 with Retry-After; OPTIONS says so, too."""
    async with world(tmp_path, max_calls=1) as around:
        first = await around.phone()
        await first.call()
        response = await (await around.phone()).refused(503)
        assert response.headers.get("Retry-After")
        draining = asyncio.create_task(around.edge.drain(0.2))
        await asyncio.sleep(0)
        phone = await around.phone()
        await phone.refused(503)
        phone.send(phone.build("OPTIONS"))
        await phone.response(503, "OPTIONS")
        bye = await first.request("BYE")
        assert "cause=503" in (bye.headers.get("Reason") or "")
        await draining
        assert not around.edge.calls


async def test_no_agent_is_486(tmp_path: Path) -> None:
    """`Refuse` from the media process is the caller's final code."""
    async with world(tmp_path) as around:
        around.media[0].answer_at_once = False
        phone = await around.phone()
        phone.send(phone.build("INVITE", body=OFFER))
        await phone.response(180)
        key = next(iter(around.media[0].specs))
        await around.media[0].channel.request(control.Refuse(key, 486, "no agent"))
        response = await phone.response(486)
        assert "cause=17" in (response.headers.get("Reason") or "")


async def test_garbage_is_counted_and_a_broken_request_answered(tmp_path: Path) -> None:
    """What is no SIP is dropped; a request that can be answered gets 400; a number that is too large 513."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        for data in (b"\x00\x01\x02", b"hello", os.urandom(500), b"\r\n\r\n", b"SIP/2.0 banana\r\n\r\n"):
            phone.send(data)
        phone.send(phone.build("INVITE", body=OFFER).encode().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"))
        async with asyncio.timeout(5):
            message = await phone.received.get()
        assert isinstance(message, Response)
        assert message.code == 400
        phone.send(phone.build("INVITE", headers={"X-Long": "x" * 9_000}))
        async with asyncio.timeout(5):
            message = await phone.received.get()
        assert isinstance(message, Response)
        assert message.code == 513
        assert around.edge.counts["malformed"] >= 4
        await phone.call()


async def test_tcp_call_with_pings_and_split_segments(tmp_path: Path) -> None:
    """Over TCP: CRLF pings are answered, a message may come in pieces, one that is too large gets 513."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        reader, writer = await asyncio.open_connection(*around.address)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
        invite = phone.build("INVITE", body=OFFER).encode().replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
        for start in range(0, len(invite), 100):
            writer.write(invite[start : start + 100])
            await writer.drain()
            await asyncio.sleep(0)
        data = b""
        async with asyncio.timeout(5):
            while b"SIP/2.0 200" not in data or not data.endswith(ANSWER):
                data += await reader.read(4096)
        assert b"SIP/2.0 180" in data
        assert b";transport=tcp>" in data
        huge = phone.build("INVITE", headers={"Content-Length": "x"}).encode()
        writer.write(huge.replace(b"Content-Length: 0", b"Content-Length: 99999").replace(b"/UDP", b"/TCP"))
        async with asyncio.timeout(5):
            while b"SIP/2.0 513" not in data:
                data += await reader.read(4096)
            while await reader.read(4096):
                pass
        writer.close()


async def test_flood_from_one_source_is_503(tmp_path: Path) -> None:
    """More INVITEs than one address may send get 503 and make no call."""
    async with world(tmp_path, invite_rate=2.0) as around:
        phones = [await around.phone() for _ in range(5)]
        for phone in phones:
            phone.send(phone.build("INVITE", body=OFFER))
        await phones[4].response(503)
        assert around.edge.counts["calls"] == 4


async def test_livekit_that_does_not_answer_is_503(tmp_path: Path) -> None:
    """With nobody on the bus the caller is told to try again."""
    async with world(tmp_path) as around:
        around.bus.down = True
        response = await (await around.phone()).refused(503)
        assert response.headers.get("Retry-After")


async def test_decision_takes_less_than_ten_milliseconds(tmp_path: Path) -> None:
    """Processor time from INVITE to the media process, phone and fakes included: the median of 20 calls."""
    async with world(tmp_path) as around:
        costs: list[float] = []
        for _ in range(20):
            phone = await around.phone()
            started = time.process_time()
            phone.send(phone.build("INVITE", body=OFFER))
            await around.media[0].until(control.Expect)
            costs.append(time.process_time() - started)
        assert sorted(costs)[10] < 0.010
