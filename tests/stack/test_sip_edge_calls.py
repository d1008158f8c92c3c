"""Calls that stand, as the edge sees them: what changes in mid-call and who ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import jwt
import pytest

from sip.service import control
from sip.service.media_pool import HANDLE_LIMIT
from sip.service.signalling.messages import respond, uri_of
from tests.stack.edge_kit import ANSWER, OFFER, SECRET, world


async def test_room_that_hangs_up_sends_bye_with_headers(tmp_path: Path) -> None:
    """`Hangup` from the media process: BYE with given and mapped headers, acknowledged once it is sent."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        key = next(iter(around.media[0].specs))
        headers, attributes = {"X-Why": "done"}, {"agent.mood": "sad"}
        await around.media[0].channel.request(control.Hangup(key, "end_call_rpc", headers, attributes))
        bye = await phone.request("BYE")
        assert (bye.headers.get("X-Why"), bye.headers.get("X-Mood")) == ("done", "sad")
        assert "cause=16" in (bye.headers.get("Reason") or "")
        around.media[0].ended(key, "end_call_rpc")
        summary = await around.summary(phone)
        assert (summary["ended_by"], summary["reason"]) == ("room", "end_call_rpc")


async def test_dead_media_process_is_replaced_and_its_calls_end(tmp_path: Path) -> None:
    """Calls of a process that dies get BYE; the next call goes to its replacement."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        around.media[0].die()
        await phone.request("BYE")
        async with asyncio.timeout(5):
            while len(around.media) < 2 or not around.edge.pool.pick():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        await (await around.phone()).call()
        assert around.media[1].specs


async def test_refresh_is_answered_here_and_hold_goes_to_the_media_process(tmp_path: Path) -> None:
    """The same SDP again changes nothing; sendonly goes to the near leg and the media process."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        media = around.media[0]
        async with asyncio.timeout(5):
            while (await media.requests.get()).method != "ACK":
                pass
        phone.send(phone.build("INVITE", body=OFFER.replace(b"o=- 1 1", b"o=- 1 2")))
        again = await phone.response(200)
        assert again.body == ANSWER
        phone.send(phone.build("ACK", sequence=again.sequence))
        phone.send(phone.build("INVITE", body=OFFER + b"a=sendonly\r\n"))
        held = await phone.response(200)
        phone.send(phone.build("ACK", sequence=held.sequence))
        assert b"recvonly" in held.body
        assert (await media.until(control.Hold)).on
        assert (await asyncio.wait_for(media.requests.get(), 5)).method == "INVITE"
        phone.send(phone.build("UPDATE"))
        await phone.response(200, "UPDATE")
        phone.send(phone.build("UPDATE", body=OFFER))
        await phone.response(200, "UPDATE")
        assert not (await media.until(control.Hold)).on


async def test_near_reinvite_that_changes_nothing_stays_here(tmp_path: Path) -> None:
    """baresip's re-INVITE after the answer stays here; one that moves the media reaches the caller."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        media = around.media[0]
        invite = next(iter(media.invites.values()))
        for body, forwarded in ((ANSWER.replace(b" 0 101", b" 0 8 101"), False), (OFFER, True)):
            again = media.request(
                "INVITE", uri_of(invite.headers["Contact"]), invite.headers["From"], 2 + forwarded
            )
            again.headers.set("From", f"{invite.headers['To']};tag=neartag")
            again.headers.set("Call-ID", invite.call_id)
            again.headers.set("Content-Type", "application/sdp")
            again.body = body
            media.near.sendto(again.encode(), ("127.0.0.1", around.edge.near.transport.port))
            if forwarded:
                request = await phone.request("INVITE")
                ok = respond(request, 200, body=OFFER)
                ok.headers.set("Contact", f"<sip:alice@127.0.0.1:{phone.port}>")
                ok.headers.set("Content-Type", "application/sdp")
                phone.send(ok)
                await phone.request("ACK")
            async with asyncio.timeout(5):
                while (answered := await media.responses.get()).code < 200:
                    pass
            assert (answered.code, answered.body) == (200, OFFER)
            if not forwarded:
                assert not any(data.startswith(b"INVITE") for data in phone.raw)


async def test_late_offer(tmp_path: Path) -> None:
    """An INVITE without SDP gets our offer in the 200, and its ACK's answer reaches the near leg."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        ok = await phone.call(body=b"")
        assert ok.body == OFFER
        async with asyncio.timeout(5):
            while (request := await around.media[0].requests.get()).method != "ACK":
                pass
        assert request.body == ANSWER


async def test_info_digits_reach_the_media_process(tmp_path: Path) -> None:
    """DTMF by SIP INFO becomes `Digits`; another INFO body is 415."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        for kind, body in (
            ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"),
            ("application/dtmf", b"#"),
        ):
            info = phone.build("INFO", body=body)
            info.headers.set("Content-Type", kind)
            phone.send(info)
            await phone.response(200, "INFO")
        digits = [(await around.media[0].until(control.Digits)).digits for _ in range(2)]
        assert digits == ["5", "#"]
        info = phone.build("INFO", body=b"x")
        phone.send(info)
        await phone.response(415, "INFO")


async def test_second_call_from_the_same_number_keeps_the_first_in_the_room(tmp_path: Path) -> None:
    """Two calls that would join one room under one identity get two."""
    async with world(tmp_path) as around:
        for _ in range(2):
            await (await around.phone()).call()
        tokens = [spec.room.token for spec in around.media[0].specs.values()]
        names = [jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] for token in tokens]
        assert names[0] == "sip_alice"
        assert names[1].startswith("sip_alice_")


async def test_media_process_with_few_handles_left_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full table of handles: a new process takes the calls, the old one is drained, nothing died."""
    async with world(tmp_path) as around:
        old = around.media[0]
        old.channel.send(control.Load(0, HANDLE_LIMIT, 0.0))
        await old.until(control.Drain)
        await asyncio.wait_for(old.exit, 5)
        await (await around.phone()).call()
        assert around.media[1].specs
        assert not old.specs
        assert "died" not in caplog.text
