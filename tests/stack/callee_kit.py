"""A far end for outbound calls: a scripted phone on loopback that rings, answers, refuses, takes a REFER."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal

from sip.service.signalling.messages import Request, Response, parse, respond, uri_of

Manner = Literal["answer", "busy", "ring", "silent"]
Refer = Literal["arrives", "fails", "hangs up"]


class Callee(asyncio.DatagramProtocol):
    """One UDP socket for SIP, one for RTP. `requests` are the methods that it got."""

    def __init__(self, manner: Manner = "answer", refer: Refer = "arrives") -> None:
        self.manner, self.refer = manner, refer
        self.requests: list[str] = []
        self.invite: Request | None = None
        self.invited, self.acked, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.rtp: list[bytes] = []
        self.spoken = asyncio.Event()
        """Audio that is no silence has come."""

    async def __aenter__(self) -> Callee:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.socket: Any = transport
        self.port = self.socket.get_extra_info("sockname")[1]
        self.media, _ = await loop.create_datagram_endpoint(lambda: _Rtp(self), local_addr=("127.0.0.1", 0))
        self.media_port = self.media.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()
        self.media.close()

    @property
    def address(self) -> str:
        """`host:port`, for a trunk."""
        return f"127.0.0.1:{self.port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Behave."""
        message = parse(data)
        if isinstance(message, Response):
            return
        self.requests.append(message.method)
        match message.method:
            case "INVITE":
                self.invite, self.peer = message, addr
                self.invited.set()
                self._invited(message, addr)
            case "ACK":
                self.acked.set()
            case "REFER":
                self._reply(message, 202, addr)
                self._referred(addr)
            case "CANCEL":
                assert self.invite
                self._reply(message, 200, addr)
                self._reply(self.invite, 487, addr)
                self.ended.set()
            case "BYE":
                self._reply(message, 200, addr)
                self.ended.set()
            case _:
                self._reply(message, 200, addr)

    def hang_up(self) -> None:
        """BYE from this side."""
        self._send("BYE", 101)
        self.ended.set()

    def _invited(self, message: Request, addr: tuple[str, int]) -> None:
        if self.manner == "silent":
            return
        if self.manner == "busy":
            self._reply(message, 486, addr)
            return
        self._reply(message, 180, addr)
        if self.manner == "answer":
            asyncio.get_running_loop().call_later(0.4, self.answer)

    def answer(self) -> None:
        """Pick up."""
        assert self.invite
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self.media_port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        self._reply(self.invite, 200, self.peer, body.encode())

    def _referred(self, addr: tuple[str, int]) -> None:
        if self.refer == "hangs up":
            self.hang_up()
            return
        status = "200 OK" if self.refer == "arrives" else "486 Busy Here"
        self._send("NOTIFY", 100, f"SIP/2.0 {status}\r\n".encode())

    def _send(self, method: str, sequence: int, body: bytes = b"") -> None:
        assert self.invite
        invite = self.invite
        request = Request(method=method, uri=uri_of(invite.headers["Contact"]), body=body)
        request.headers.add("Via", f"SIP/2.0/UDP {self.address};branch=z9hG4bK{os.urandom(6).hex()}")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("From", f"{invite.headers['To']};tag=callee")
        request.headers.add("To", invite.headers["From"])
        request.headers.add("Call-ID", invite.call_id)
        request.headers.add("CSeq", f"{sequence} {method}")
        request.headers.add("Contact", f"<sip:callee@{self.address}>")
        if method == "NOTIFY":
            request.headers.add("Event", "refer")
            request.headers.add("Subscription-State", "terminated;reason=noresource")
            request.headers.add("Content-Type", "message/sipfrag")
        self.socket.sendto(request.encode(), self.peer)

    def _reply(self, request: Request, code: int, addr: tuple[str, int], body: bytes = b"") -> None:
        response = respond(request, code, tag="callee", body=body)
        response.headers.add("Contact", f"<sip:callee@{self.address}>")
        if body:
            response.headers.add("Content-Type", "application/sdp")
        self.socket.sendto(response.encode(), addr)


class _Rtp(asyncio.DatagramProtocol):
    def __init__(self, callee: Callee) -> None:
        self._callee = callee

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it; mu-law 0x7f and 0xff are zero, and near them is near silence."""
        self._callee.rtp.append(data)
        if any(byte & 0x7F < 0x50 for byte in data[12:]):
            self._callee.spoken.set()
