"""A kit for testing the edge over real sockets: a scripted phone, and a scripted media process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message as Proto

from sip.model import InboundTrunk, Rule, State
from sip.service import control
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import BusError
from sip.service.edge import Edge
from sip.service.internal import Internal
from sip.service.routing import Routing
from sip.service.settings import Settings
from sip.service.signalling.messages import Request, Response, parse, respond, uri_of

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
        self.pins: dict[str, rpc.EvaluateSIPDispatchRulesResponse] = {}
        """What a PIN opens; empty: a room without one."""
        self.asked: list[Proto] = []
        self.served: dict[tuple[str, ...], Callable[[Any], Awaitable[Proto]]] = {}
        self.down = False

    async def call(self, service: str, method: str, request: Any, response_type: Any, **_: Any) -> Any:
        """Answer from the canned values."""
        assert service == "IOInfo"
        self.asked.append(request)
        if self.down:
            raise BusError("unavailable", "no response from servers")
        if method == "GetSIPTrunkAuthentication":
            return self.auth
        if request.pin or request.no_pin:
            return self.pins.get(request.pin, rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP))
        return self.dispatch

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
        self.trunks = [InboundTrunk("carrier", TRUNK, (NUMBER,))]
        self.rules = [Rule("to the agent", RULE, trunks=(TRUNK,))]

    async def state(self) -> State:
        """Both lists."""
        return State(inbound=tuple(self.trunks), rules=tuple(self.rules))


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
        self.near = transport
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
        elif isinstance(message, control.Play):
            answer("")
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
        self.socket = transport
        self.port = self.socket.get_extra_info("sockname")[1]
        return self

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it; a BYE is answered at once."""
        self.raw.append(data)
        message = parse(data)
        self.received.put_nowait(message)
        if isinstance(message, Request) and message.method == "BYE":
            self.send(respond(message, 200))

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

    async def call(self, body: bytes = OFFER, headers: dict[str, str] | None = None) -> Response:
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
async def world(tmp_path: Path, **overrides: Any) -> AsyncGenerator[World]:
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
