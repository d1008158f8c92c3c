"""The edge over real sockets: a scripted phone on one side, a scripted media process on the other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from google.protobuf.message import Message as Proto

from sip.match import RuleFilter, TrunkFilter
from sip.service import bus_messages as rpc
from sip.service import control
from sip.service.bus import BusError
from sip.service.digest import Credentials, answer
from sip.service.edge import Edge
from sip.service.internal import Internal
from sip.service.messages import Request, Response, parse, respond, uri_of
from sip.service.routing import Routing
from sip.service.settings import Settings

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = OFFER.replace(b"40000", b"50000")
SECRET = "s" * 32
TRUNK, RULE, NUMBER = "ST_one", "SDR_one", "+15550100"


class FakeBus:
    """livekit-server, as far as routing asks it; what the service serves is kept in `served`."""

    def __init__(self) -> None:
        self.auth = rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id=TRUNK)
        self.dispatch = rpc.EvaluateSIPDispatchRulesResponse(
            result=rpc.ACCEPT,
            room_name="room-1",
            participant_identity="sip_alice",
            sip_trunk_id=TRUNK,
            sip_dispatch_rule_id=RULE,
            participant_attributes={"sip.phoneNumber": "alice", "sip.trunkID": TRUNK},
            headers={"X-Fixed": "fixed"},
            attributes_to_headers={"agent.mood": "X-Mood"},
            headers_to_attributes={"X-Account": "account"},
        )
        self.asked: list[Proto] = []
        self.served: dict[tuple[str, ...], Callable[[Any], Awaitable[Proto]]] = {}
        self.down = False

    async def call(self, service: str, method: str, request: Any, response_type: Any, **_: Any) -> Any:
        """Answer from the canned values."""
        assert service == "IOInfo"
        self.asked.append(request)
        if self.down:
            raise BusError("unavailable", "no response from servers")
        return self.auth if method == "GetSIPTrunkAuthentication" else self.dispatch

    async def serve(
        self,
        service: str,
        method: str,
        request_type: Any,
        handler: Any,
        *,
        topic: Any = (),
        affinity: Any = None,
    ) -> FakeBus:
        """Keep the handler."""
        self.served[(method, *topic)] = handler
        return self

    async def close(self) -> None:
        """A registration closes."""


class FakeDirectory:
    """What the API lists."""

    def __init__(self) -> None:
        self.trunks = [TrunkFilter(TRUNK, "carrier", (NUMBER,))]
        self.rules = [RuleFilter(RULE, "to the agent", (TRUNK,))]

    async def filters(self) -> tuple[list[TrunkFilter], list[RuleFilter]]:
        """Both lists."""
        return self.trunks, self.rules


class FakeMedia(asyncio.DatagramProtocol):
    """A media process in this process: speaks the control channel and the near leg, carries no audio."""

    def __init__(self) -> None:
        self.pid = 0
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.heard: asyncio.Queue[control.Message] = asyncio.Queue()
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.responses: asyncio.Queue[Response] = asyncio.Queue()
        self.specs: dict[str, control.CallSpec] = {}
        self.answer_at_once = True
        self.invites: dict[str, Request] = {}

    async def launch(self, end: socket.socket) -> FakeMedia:
        """Take our end of the pair and get ready."""
        ours = socket.socket(fileno=os.dup(end.fileno()))
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        self.channel = control.Channel(reader, writer, self.hear)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.near = cast(asyncio.DatagramTransport, transport)
        self.port = self.near.get_extra_info("sockname")[1]
        self.reading = asyncio.create_task(self.channel.run())
        self.channel.send(control.Ready(0, self.port))
        return self

    async def wait(self) -> int:
        """Exit code, as of a process."""
        return await self.exit

    def send_signal(self, signal: int) -> None:
        """Die."""
        self.die()

    def die(self) -> None:
        """The process is gone."""
        self.channel.close()
        self.near.close()
        if not self.exit.done():
            self.exit.set_result(0)

    def hear(self, message: control.Message, answer: Callable[[str], None]) -> None:
        """What the edge says."""
        self.heard.put_nowait(message)
        if isinstance(message, control.Expect):
            self.specs[message.spec.key] = message.spec
            answer("")
        elif isinstance(message, control.Dial):
            self.specs[message.spec.key] = message.spec
            self.channel.send(control.Joined(message.spec.key, "PA_x"))
            answer("")
            self.call_out(message.spec)
        elif isinstance(message, control.End):
            self.ended(message.key, message.reason)
        elif isinstance(message, control.Drain):
            self.die()

    def ended(self, key: str, reason: str) -> None:
        """The last word, with something measured."""
        self.channel.send(control.Ended(key, reason, {"mos": 4.2}))

    def call_out(self, spec: control.CallSpec) -> None:
        """INVITE to the edge's near leg."""
        request = self.request("INVITE", f"sip:{spec.key}@{spec.edge}", f"<sip:{spec.key}@{spec.edge}>", 1)
        request.headers.set("Content-Type", "application/sdp")
        request.body = OFFER
        self.near.sendto(request.encode(), _address(spec.edge))

    def request(self, method: str, uri: str, to: str, sequence: int) -> Request:
        """A near request of ours."""
        request = Request(method=method, uri=uri)
        request.headers.add(
            "Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{os.urandom(6).hex()};rport"
        )
        request.headers.add("From", f"<sip:media@127.0.0.1:{self.port}>;tag=media")
        request.headers.add("To", to)
        request.headers.add("Call-ID", "near-out")
        request.headers.add("CSeq", f"{sequence} {method}")
        request.headers.add("Contact", f"<sip:media@127.0.0.1:{self.port}>")
        return request

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """The near leg: rings and answers as baresip does."""
        message = parse(data)
        if isinstance(message, Response):
            self.responses.put_nowait(message)
            if message.code >= 200 and message.sequence_method == "INVITE":
                ack = self.request(
                    "ACK",
                    uri_of(message.headers.get("Contact") or "<sip:x@127.0.0.1>"),
                    message.headers["To"],
                    message.sequence,
                )
                self.near.sendto(ack.encode(), addr)
            return
        self.requests.put_nowait(message)
        key = message.uri.partition(":")[2].partition("@")[0]
        if message.method == "INVITE" and not message.to_tag:
            self.invites[key] = message
            self.reply(message, 180, addr)
            if self.answer_at_once:
                asyncio.get_running_loop().create_task(self.answer(key, addr))
        elif message.method == "INVITE":
            self.reply(message, 200, addr, ANSWER.replace(b"a=rtpmap:101", b"a=recvonly\r\na=rtpmap:101"))
        elif message.method == "CANCEL":
            self.reply(message, 200, addr)
            self.reply(self.invites[key], 487, addr)
        elif message.method != "ACK":
            self.reply(message, 200, addr)

    async def answer(self, key: str, addr: tuple[str, int]) -> None:
        """The agent is there."""
        await self.channel.request(control.Answering(key, {"agent.mood": "merry"}))
        invite = self.invites[key]
        self.reply(invite, 200, addr, ANSWER if invite.body else OFFER)
        self.channel.send(control.Active(key))

    def reply(self, request: Request, code: int, addr: tuple[str, int], body: bytes = b"") -> None:
        """A near response."""
        response = respond(request, code, tag="neartag", body=body)
        response.headers.add("Contact", f"<sip:media@127.0.0.1:{self.port}>")
        if body:
            response.headers.add("Content-Type", "application/sdp")
        self.near.sendto(response.encode(), addr)

    async def until(self, kind: type[control.Message]) -> Any:
        """The next message of a kind from the edge."""
        async with asyncio.timeout(5):
            while not isinstance(message := await self.heard.get(), kind):
                pass
        return message


class Phone(asyncio.DatagramProtocol):
    """A scripted user agent over UDP."""

    def __init__(self, edge: tuple[str, int]) -> None:
        self.edge = edge
        self.received: asyncio.Queue[Request | Response] = asyncio.Queue()
        self.call_id = f"{os.urandom(6).hex()}@phone"
        self.remote = f"<sip:{NUMBER}@edge.example>"
        self.sequence = 0
        self.raw: list[bytes] = []

    async def open(self) -> Phone:
        """Bind."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.socket = cast(asyncio.DatagramTransport, transport)
        self.port = self.socket.get_extra_info("sockname")[1]
        return self

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it."""
        self.raw.append(data)
        self.received.put_nowait(parse(data))

    def build(
        self,
        method: str,
        *,
        body: bytes = b"",
        sequence: int = 0,
        headers: dict[str, str] | None = None,
        branch: str = "",
    ) -> Request:
        """A request."""
        if not sequence:
            self.sequence += 1
        request = Request(method=method, uri=f"sip:{NUMBER}@127.0.0.1:{self.edge[1]}")
        branch = branch or f"z9hG4bK{os.urandom(6).hex()}"
        request.headers.add("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("From", '"Alice" <sip:alice@phone.example>;tag=a1')
        request.headers.add("To", self.remote)
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{sequence or self.sequence} {method}")
        request.headers.add("Contact", f"<sip:alice@127.0.0.1:{self.port}>")
        for name, value in (headers or {}).items():
            request.headers.set(name, value)
        if body:
            request.headers.set("Content-Type", "application/sdp")
            request.body = body
        return request

    def send(self, message: Request | Response | bytes) -> None:
        """Send."""
        data = message if isinstance(message, bytes) else message.encode()
        self.socket.sendto(data, self.edge)

    async def response(self, code: int, method: str = "INVITE") -> Response:
        """The response with this code, skipping provisional ones; anything else fails."""
        async with asyncio.timeout(5):
            while True:
                message = await self.received.get()
                if isinstance(message, Request) or message.sequence_method != method:
                    continue
                if message.code == code:
                    return message
                assert message.code < 200, f"{message.code} {message.phrase}"

    async def request(self, method: str) -> Request:
        """The next request of this method."""
        async with asyncio.timeout(5):
            while True:
                message = await self.received.get()
                if isinstance(message, Request) and message.method == method:
                    return message

    async def call(self, body: bytes = OFFER, **headers: str) -> Response:
        """INVITE up to its 200, and ACK."""
        self.send(self.build("INVITE", body=body, headers=headers))
        ok = await self.response(200)
        self.remote = ok.headers["To"]
        self.send(self.build("ACK", sequence=ok.sequence, body=b"" if body else ANSWER))
        return ok

    async def refused(self, code: int, request: Request | None = None) -> Response:
        """INVITE, refused; the refusal is acknowledged, and there was no 180."""
        request = request or self.build("INVITE", body=OFFER)
        self.send(request)
        response = await self.response(code)
        ack = self.build("ACK", sequence=request.sequence, branch=request.via.parameters["branch"] or "")
        ack.headers.set("To", response.headers["To"])
        self.send(ack)
        assert not any(b"SIP/2.0 180" in data for data in self.raw)
        return response


@dataclass
class World:
    """Everything around one edge."""

    edge: Edge
    bus: FakeBus
    directory: FakeDirectory
    media: list[FakeMedia]
    records: Path
    phones: list[Phone] = field(default_factory=list[Phone])

    @property
    def address(self) -> tuple[str, int]:
        """Where the edge listens."""
        return "127.0.0.1", self.edge.far.transport.port

    async def phone(self) -> Phone:
        """A new phone."""
        phone = await Phone(self.address).open()
        self.phones.append(phone)
        return phone

    async def summary(self, phone: Phone) -> dict[str, Any]:
        """The call's summary, once it is written."""
        return await self.written(phone.call_id)

    async def written(self, call_id: str) -> dict[str, Any]:
        """The summary of a call."""
        stem = re.sub(r"@", "_", call_id)
        async with asyncio.timeout(8):
            while True:
                for path in self.records.glob(f"{stem}*.signal.json"):
                    return json.loads(path.read_text())
                await asyncio.sleep(0.01)

    def ladder(self) -> list[dict[str, Any]]:
        """All lines of all ladders."""
        files = sorted(self.records.glob("*.ladder.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@asynccontextmanager
async def world(tmp_path: Path, **overrides: Any) -> AsyncIterator[World]:
    """An edge with its surroundings, stopped at the end."""
    media: list[FakeMedia] = []

    async def launch(end: socket.socket) -> FakeMedia:
        media.append(FakeMedia())
        return await media[-1].launch(end)

    settings = Settings(
        livekit_url="ws://127.0.0.1:1",
        api_key="key",
        api_secret=SECRET,
        redis_url="redis://127.0.0.1:1",
        port=0,
        records=tmp_path,
        **overrides,
    )
    bus, directory = FakeBus(), FakeDirectory()
    edge = Edge(settings, Routing(bus, directory), launch)
    internal = Internal(bus, edge)
    await edge.start()
    await internal.start()
    around = World(edge, bus, directory, media, tmp_path)
    try:
        yield around
    finally:
        await edge.stop()
        for each in media:
            each.die()
        for phone in around.phones:
            phone.socket.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def test_inbound_call_from_invite_to_record(tmp_path: Path) -> None:
    """A call rings, is answered with the mapped headers, is hung up by the caller, and leaves its record."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        ok = await phone.call(**{"X-Account": "42"})
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
    """The refusal tells the truth to the caller, and names the trunk and its field in the log, not the number."""
    async with world(tmp_path) as around:
        around.bus.auth = rpc.GetSIPTrunkAuthenticationResponse()
        around.bus.dispatch = rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP)
        around.directory.trunks = [TrunkFilter(TRUNK, "carrier", (NUMBER,), ("198.51.100.0/24",))]
        await (await around.phone()).refused(403)
        assert "carrier (ST_one): allowed_addresses" in caplog.text
        around.directory.trunks = [TrunkFilter(TRUNK, "carrier", ("+15559999",))]
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
        around.directory.trunks = [TrunkFilter(TRUNK, "carrier", (NUMBER,), ("198.51.100.7",))]
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
        first.send(respond(bye, 200))
        await draining
        assert not around.edge.calls


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
        phone.send(respond(bye, 200))
        around.media[0].ended(key, "end_call_rpc")
        summary = await around.summary(phone)
        assert (summary["ended_by"], summary["reason"]) == ("room", "end_call_rpc")


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


async def test_dead_media_process_is_replaced_and_its_calls_end(tmp_path: Path) -> None:
    """Calls of a process that dies get BYE; the next call goes to its replacement."""
    async with world(tmp_path) as around:
        phone = await around.phone()
        await phone.call()
        around.media[0].die()
        bye = await phone.request("BYE")
        phone.send(respond(bye, 200))
        async with asyncio.timeout(5):
            while len(around.media) < 2 or not around.edge.pool.pick():
                await asyncio.sleep(0.01)
        await (await around.phone()).call()
        assert around.media[1].specs


async def test_refresh_is_answered_here_and_hold_goes_to_the_media_process(tmp_path: Path) -> None:
    """The same SDP again changes nothing; sendonly is offered to the near leg and told to the media process."""
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
    """baresip's re-INVITE after the answer is answered by the edge; one that moves the media reaches the caller."""
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
    """From INVITE to the media process, on a busy machine: the median of 20 calls."""
    async with world(tmp_path) as around:
        costs: list[float] = []
        for _ in range(20):
            phone = await around.phone()
            started = time.perf_counter()
            phone.send(phone.build("INVITE", body=OFFER))
            await around.media[0].until(control.Expect)
            costs.append(time.perf_counter() - started)
        assert sorted(costs)[10] < 0.010


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
        response = await asyncio.wait_for(task, 5)
        assert (response.participant_id, response.sip_call_id) == ("PA_x", "SCL_out")
        claims = jwt.decode(
            next(iter(around.media[0].specs.values())).room.token, SECRET, algorithms=["HS256"]
        )
        assert claims["attributes"]["sip.callStatus"] == "dialing"
        assert claims["attributes"]["sip.callIDFull"] == first.call_id


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
        bye = await phone.request("BYE")
        phone.send(respond(bye, 200))
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
        assert (await around.media[0].until(control.TransferTone)).on
        phone.send(respond(request, 202))
        for body, state in ((b"SIP/2.0 180 Ringing\r\n", "active"), (b"SIP/2.0 200 OK\r\n", "terminated")):
            phone.send(notify(phone, invite, body, state))
            await phone.response(200, "NOTIFY")
        await asyncio.wait_for(task, 5)
        bye = await phone.request("BYE")
        phone.send(respond(bye, 200))
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


async def test_second_call_from_the_same_number_keeps_the_first_in_the_room(tmp_path: Path) -> None:
    """Two calls that would join one room under one identity get two."""
    async with world(tmp_path) as around:
        for _ in range(2):
            await (await around.phone()).call()
        tokens = [spec.room.token for spec in around.media[0].specs.values()]
        names = [jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] for token in tokens]
        assert names[0] == "sip_alice"
        assert names[1].startswith("sip_alice_")
