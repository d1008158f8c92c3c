"""Calls out of rooms and transfers, as the edge makes them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from livekit.protocol import sip as api

from sip.service import control
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import BusError
from sip.service.signalling.messages import Request, Response, respond, uri_of
from tests.stack.edge_kit import ANSWER, SECRET, Phone, World, world


def dial(phone: Phone, **fields: Any) -> rpc.InternalCreateSIPParticipantRequest:
    """What livekit-server asks for when somebody wants this phone called."""
    wanted: dict[str, Any] = {
        "sip_call_id": "SCL_out",
        "sip_trunk_id": "ST_out",
        "address": f"127.0.0.1:{phone.port}",
        "number": "+15550111",
        "call_to": "+15550122",
        "room_name": "room-2",
        "participant_identity": "callee",
        "participant_attributes": {"sip.callID": "SCL_out"},
        "headers": {"X-Campaign": "one"},
        "headers_to_attributes": {"X-Account": "account"},
        "wait_until_answered": True,
        **fields,
    }
    return rpc.InternalCreateSIPParticipantRequest(**wanted)


def final(phone: Phone, invite: Request, code: int, **headers: str) -> Response:
    """A response of a called phone; its To tag is fixed."""
    response = respond(invite, code, tag="b1", headers=headers.items())
    response.headers.set("Contact", f"<sip:bob@127.0.0.1:{phone.port}>")
    if code == 200:
        response.headers.set("Content-Type", "application/sdp")
        response.body = ANSWER
    return response


async def answered(around: World, phone: Phone, **fields: Any) -> tuple[Request, Any]:
    """An outbound call that the phone answers; its INVITE, and what the API returned."""
    create = around.bus.served[("CreateSIPParticipant",)]
    task = asyncio.ensure_future(create(dial(phone, **fields)))
    invite = await phone.request("INVITE")
    phone.send(respond(invite, 180, tag="b1"))
    phone.send(final(phone, invite, 200, **{"X-Account": "77"}))
    await phone.request("ACK")
    around.media[0].channel.send(control.Active(next(iter(around.media[0].specs))))
    return invite, await asyncio.wait_for(task, 5)


def notify(phone: Phone, invite: Request, body: bytes, state: str) -> Request:
    """A called phone's NOTIFY in the dialog of this INVITE."""
    phone.sequence += 1
    request = Request(method="NOTIFY", uri=uri_of(invite.headers["Contact"]), body=body)
    request.headers.add(
        "Via", f"SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bK{os.urandom(6).hex()};rport"
    )
    request.headers.add("From", f"{invite.headers['To']};tag=b1")
    request.headers.add("To", invite.headers["From"])
    request.headers.add("Call-ID", invite.call_id)
    request.headers.add("CSeq", f"{phone.sequence} NOTIFY")
    request.headers.add("Event", "refer")
    request.headers.add("Subscription-State", state)
    request.headers.add("Content-Type", "message/sipfrag")
    return request


async def test_outbound_call_with_challenge(tmp_path: Path) -> None:
    """INVITE, 407, INVITE with credentials, 180, 200: the API returns, the room hears each step."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        create = around.bus.served[("CreateSIPParticipant",)]
        request = dial(phone, username="user", password="pass", display_name="Shop")
        task = asyncio.ensure_future(create(request))
        first = await phone.request("INVITE")
        assert first.uri == f"sip:+15550122@127.0.0.1:{phone.port}"
        assert first.headers["From"].startswith('"Shop" <sip:+15550111@127.0.0.1')
        assert first.headers["X-Campaign"] == "one"
        challenge = 'Digest realm="r, s", nonce="n", qop="auth,auth-int", algorithm=SHA-256'
        phone.send(final(phone, first, 407, **{"Proxy-Authenticate": challenge}))
        await phone.request("ACK")
        second = await phone.request("INVITE")
        assert second.sequence == first.sequence + 1
        assert (second.call_id, second.from_tag) == (first.call_id, first.from_tag)
        assert 'username="user"' in second.headers["Proxy-Authorization"]
        phone.send(respond(second, 180, tag="b1"))
        ringing = await around.media[0].until(control.Attributes)
        assert ringing.values == {"sip.callStatus": "ringing"}
        phone.send(final(phone, second, 200, **{"X-Account": "77"}))
        ack = await phone.request("ACK")
        assert ack.headers.get("Proxy-Authorization")
        told = await around.media[0].until(control.Attributes)
        assert told.values["account"] == "77"
        assert told.values["sip.callTag"] == "b1"
        assert not task.done()
        around.media[0].channel.send(control.Active(next(iter(around.media[0].specs))))
        response: Any = await asyncio.wait_for(task, 5)
        assert (response.participant_id, response.sip_call_id) == ("PA_x", "SCL_out")
        claims = jwt.decode(
            next(iter(around.media[0].specs.values())).room.token, SECRET, algorithms=["HS256"]
        )
        assert claims["attributes"]["sip.callStatus"] == "dialing"
        assert claims["attributes"]["sip.callIDFull"] == first.call_id


async def test_outbound_call_with_the_wrong_password(tmp_path: Path) -> None:
    """A second challenge in the same realm is the end: the far end sees one wrong try, the API the code."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        create = around.bus.served[("CreateSIPParticipant",)]
        task = asyncio.ensure_future(create(dial(phone, username="user", password="wrong")))
        for nonce in ("1", "2"):
            invite = await phone.request("INVITE")
            challenge = {"WWW-Authenticate": f'Digest realm="r", nonce="{nonce}", qop="auth"'}
            phone.send(final(phone, invite, 401, **challenge))
            await phone.request("ACK")
        with pytest.raises(BusError) as raised:
            await asyncio.wait_for(task, 5)
        assert cast(Any, raised.value.details[0]).code == 401
        assert (await around.written(invite.call_id))["code"] == 401
        assert phone.received.empty()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (486, "resource_exhausted"),
        (603, "permission_denied"),
        (404, "not_found"),
        (503, "failed_precondition"),
    ],
)
async def test_outbound_refusals_carry_the_sip_code(tmp_path: Path, code: int, name: str) -> None:
    """Busy, declined, not found, overloaded: psrpc's code, and the SIP code in the detail."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        task = asyncio.ensure_future(around.bus.served[("CreateSIPParticipant",)](dial(phone)))
        invite = await phone.request("INVITE")
        phone.send(final(phone, invite, code))
        with pytest.raises(BusError) as raised:
            await asyncio.wait_for(task, 5)
        assert raised.value.code == name
        assert cast(Any, raised.value.details[0]).code == code
        assert (await around.written(invite.call_id))["code"] == code


@pytest.mark.parametrize("transport", [api.SIP_TRANSPORT_UDP, api.SIP_TRANSPORT_TCP])
async def test_outbound_call_to_a_dead_port(tmp_path: Path, transport: api.SIPTransport.ValueType) -> None:
    """Nobody listens there: 503 at once, not after the 32 s of an unanswered INVITE."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        phone.socket.abort()
        await asyncio.sleep(0.01)  # the event loop closes it after this turn
        task = asyncio.ensure_future(
            around.bus.served[("CreateSIPParticipant",)](dial(phone, transport=transport))
        )
        with pytest.raises(BusError) as raised:
            await asyncio.wait_for(task, 1)
        assert cast(Any, raised.value.details[0]).code == 503
        assert (await around.written(""))["reason"] == "the far end's address cannot be reached"


async def test_outbound_call_that_nobody_answers(tmp_path: Path) -> None:
    """After the ringing timeout the far end gets CANCEL and the API says `canceled`."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        request = dial(phone)
        request.ringing_timeout.FromMilliseconds(200)
        task = asyncio.ensure_future(around.bus.served[("CreateSIPParticipant",)](request))
        invite = await phone.request("INVITE")
        phone.send(respond(invite, 180, tag="b1"))
        cancel = await phone.request("CANCEL")
        assert cancel.via.parameters["branch"] == invite.via.parameters["branch"]
        phone.send(respond(cancel, 200))
        phone.send(final(phone, invite, 487))
        with pytest.raises(BusError) as raised:
            await asyncio.wait_for(task, 5)
        assert raised.value.code == "canceled"


async def test_answer_that_crosses_the_cancel_is_hung_up(tmp_path: Path) -> None:
    """A far end that answers while we give up gets ACK and BYE."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        request = dial(phone)
        request.ringing_timeout.FromMilliseconds(200)
        task = asyncio.ensure_future(around.bus.served[("CreateSIPParticipant",)](request))
        invite = await phone.request("INVITE")
        phone.send(respond(invite, 180, tag="b1"))
        await phone.request("CANCEL")
        phone.send(final(phone, invite, 200))
        await phone.request("ACK")
        await phone.request("BYE")
        with pytest.raises(BusError):
            await asyncio.wait_for(task, 5)


async def test_transfer_succeeds_and_ends_the_call(tmp_path: Path) -> None:
    """REFER with its headers, 202, NOTIFY 180 and 200: the API returns, the call is hung up."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        invite, _ = await answered(around, phone)
        refer = rpc.InternalTransferSIPParticipantRequest(
            sip_call_id="SCL_out", transfer_to="tel:+15550133", headers={"X-Why": "sales"}, play_dialtone=True
        )
        task = asyncio.ensure_future(around.bus.served[("TransferSIPParticipant", "SCL_out")](refer))
        request = await phone.request("REFER")
        assert request.headers["Refer-To"] == "<tel:+15550133>"
        assert request.headers["X-Why"] == "sales"
        assert (await around.media[0].until(control.Transferring)).on
        assert (await around.media[0].until(control.TransferTone)).on
        phone.send(respond(request, 202))
        for body, state in ((b"SIP/2.0 180 Ringing\r\n", "active"), (b"SIP/2.0 200 OK\r\n", "terminated")):
            phone.send(notify(phone, invite, body, state))
            await phone.response(200, "NOTIFY")
        await asyncio.wait_for(task, 5)
        await phone.request("BYE")
        assert (await around.written(invite.call_id))["reason"] == "transferred"


async def test_refused_transfer_leaves_the_call(tmp_path: Path) -> None:
    """A REFER that is refused, and one whose NOTIFY says busy, fail with that code; the call goes on."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        invite, _ = await answered(around, phone)
        refer = rpc.InternalTransferSIPParticipantRequest(
            sip_call_id="SCL_out", transfer_to="sip:x@example.com"
        )
        for refused in (True, False):
            task = asyncio.ensure_future(around.bus.served[("TransferSIPParticipant", "SCL_out")](refer))
            request = await phone.request("REFER")
            phone.send(respond(request, 603 if refused else 202))
            if not refused:
                phone.send(notify(phone, invite, b"SIP/2.0 486 Busy Here\r\n", "terminated"))
                await phone.response(200, "NOTIFY")
            with pytest.raises(BusError) as raised:
                await asyncio.wait_for(task, 5)
            assert cast(Any, raised.value.details[0]).code == (603 if refused else 486)
        assert around.edge.calls
