"""The caller's telephone: a SIP user agent of its own (RFC 3261) that places one call over UDP or TCP.

It shares no code with the service that it calls, so that a mistake made on both sides is still seen.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from sipmessage import URI, Address, CSeq, Message, Parameters, Request, Response, Via

from sip.errors import ConfigurationError, SipError

from . import sdp
from .codec import Codec
from .wire import Wire, open_wire

T1, T2 = 0.5, 4.0
"""Seconds: first and longest interval between retransmissions (RFC 3261 17)."""
GIVE_UP = 64 * T1
"""A request without any answer has failed after this (timers B and F)."""
_URI = re.compile(r"sip:[^@;?\s]+@[^;?\s]+$")


class CallerError(SipError):
    """The caller could not place the call at all."""


@dataclass(frozen=True)
class SipMessage:
    """A SIP message on the caller's wire."""

    t: float
    """Unix time."""
    sent: bool
    """By the caller; received otherwise."""
    method: str
    """Its own method, or for a response that of the request (from CSeq)."""
    code: int
    """Of a response; 0 for a request."""
    reason: str

    def __str__(self) -> str:
        return f"{self.code} {self.reason} ({self.method})" if self.code else self.method


@dataclass(frozen=True)
class Ending:
    """Who ended the call ("agent", "caller", "" while it stands), and the final response to BYE or INVITE."""

    by: str
    code: int
    reason: str


class Phone:
    """`dial`, then wait for `answered` or `ended`; `on_media` is called with every session description."""

    def __init__(
        self,
        user: str,
        codec: Codec,
        rtp_port: int,
        on_media: Callable[[sdp.Media], None],
        transport: str = "udp",
    ) -> None:
        if transport not in ("udp", "tcp"):
            raise ConfigurationError(f"there is no transport {transport}", "", "udp and tcp are possible.")
        self._user, self._codec, self._transport = user, codec, transport
        self._media_port, self._on_media = rtp_port, on_media
        self.messages: list[SipMessage] = []
        self.call_id = ""
        self.ringing, self.answered, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ending = Ending("", 0, "")
        self._wire: Wire | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[tuple[str, str], asyncio.Future[Response]] = {}
        self._answers: dict[tuple[str, str], bytes] = {}
        self._sequence = 0
        self._sdp_version = 1

    async def dial(self, uri: str) -> None:
        """Send the INVITE to `sip:number@host:port`. Raises `ConfigurationError`, `CallerError`."""
        self._target = URI.parse(uri)
        try:
            self._wire = await open_wire(self._transport, *address(uri), self._received)
        except OSError as error:
            raise CallerError(
                "the caller cannot reach the far end", str(error), "Does it listen there?"
            ) from None
        self._host, self._port = self._wire.local
        self.call_id = f"{random.getrandbits(64):016x}@caller"
        caller = URI("sip", self._host, self._user)
        self._from = Address(caller, parameters=Parameters(tag=_token()))
        self._to = Address(self._target)
        self._route: list[Address] = []
        self._remote = self._target
        self._invite = self._request("INVITE", sdp.offer(self._host, self._media_port, self._codec))
        self._start(self._inviting())

    async def hang_up(self) -> None:
        """BYE, or CANCEL before the answer; nothing once the call is over. Returns when it is over."""
        if self.ended.is_set():
            return
        if self.answered.is_set():
            response = await self._exchange(self._request("BYE"))
            self._end(
                "caller", response.code if response else 0, response.phrase if response else "no answer"
            )
            return
        cancel = self._request("CANCEL", branch=self._invite.via[0].parameters["branch"])
        self._by_caller = True
        await self._exchange(cancel)
        try:
            await asyncio.wait_for(self.ended.wait(), 5)
        except TimeoutError:
            self._end("caller", 0, "no answer to CANCEL")

    async def close(self) -> None:
        """Close the socket; closing twice is safe."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._wire is not None:
            self._wire.close()

    # Requests of ours.

    _by_caller = False

    async def _inviting(self) -> None:
        response = await self._exchange(self._invite)
        if response is None:
            self._end("", 408, "no answer at all")
        elif response.code >= 300:
            self._send(self._ack(response, self._invite.via[0].parameters["branch"]))
            self._end("caller" if self._by_caller else "agent", response.code, response.phrase)

    async def _exchange(self, request: Request) -> Response | None:
        """Send until a final response comes (UDP repeats it); None when none comes at all."""
        via = request.via[0].parameters["branch"] or ""
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[via, request.cseq.method] = answered
        self._provisional = False
        interval, deadline = T1, time.monotonic() + GIVE_UP
        self._send(request)
        invite = request.method == "INVITE"
        try:
            while True:
                patience = interval if self._transport == "udp" else GIVE_UP
                try:
                    return await asyncio.wait_for(asyncio.shield(answered), patience)
                except TimeoutError:
                    if invite and self.ringing.is_set():
                        return await answered
                    if time.monotonic() > deadline or self._transport == "tcp":
                        return None
                    interval = min(2 * interval, GIVE_UP if invite else T2)
                    self._send(request)
        finally:
            self._waiting.pop((via, request.cseq.method), None)

    def _request(self, method: str, body: bytes = b"", branch: str | None = None) -> Request:
        request = Request(method, self._remote, body)
        if method not in ("ACK", "CANCEL"):
            self._sequence += 1
        tag = Parameters(branch=branch or f"z9hG4bK{_token()}", rport=None)
        request.via = [Via(self._transport.upper(), self._host, self._port, tag)]
        request.max_forwards = 70
        request.from_address, request.to_address = self._from, self._to
        request.call_id, request.cseq = self.call_id, CSeq(self._sequence, method)
        contact = URI("sip", self._host, self._user, port=self._port)
        if self._transport == "tcp":
            contact = URI("sip", self._host, self._user, None, self._port, Parameters(transport="tcp"))
        request.contact = [Address(contact)]
        request.route = self._route
        request.user_agent = "scripted caller"
        request.content_length = len(body)
        if body:
            request.headers.set("Content-Type", "application/sdp")
        return request

    def _ack(self, response: Response, branch: str | None = None) -> Request:
        """ACK: in the INVITE's transaction for a refusal, in one of its own for 200 (RFC 3261 13.2.2.4)."""
        ack = self._request("ACK", branch=branch)
        ack.cseq = CSeq(response.cseq.sequence, "ACK")
        ack.to_address = response.to_address
        return ack

    # What comes in.

    def _received(self, data: bytes | None) -> None:
        """One message, or None when the connection is gone."""
        if data is None:
            self._end("", 0, "the connection was closed")
            return
        try:
            message = Message.parse(data)
        except ValueError:
            return
        self._note(message, sent=False)
        if isinstance(message, Response):
            self._response(message)
        else:
            self._answer(message)

    def _response(self, response: Response) -> None:
        method = response.cseq.method
        if method == "INVITE":
            if 100 < response.code < 200:
                self.ringing.set()
            if 200 <= response.code < 300:
                self._established(response)
        waiting = self._waiting.get((response.via[0].parameters.get("branch") or "", method))
        if waiting is not None and response.code >= 200 and not waiting.done():
            waiting.set_result(response)

    def _established(self, response: Response) -> None:
        """200 to INVITE, perhaps again because our ACK was lost."""
        if not self.answered.is_set():
            self._to = response.to_address
            self._route = list(reversed(response.record_route))
            if response.contact:
                self._remote = response.contact[0].uri
            self._take_media(response.body)
            self.answered.set()
        self._send(self._ack(response))

    def _take_media(self, body: bytes) -> None:
        media = sdp.read(body)
        if media is not None:
            self._on_media(media)

    def _answer(self, request: Request) -> None:
        """Answer a request of the far end; the same again for a repeated one."""
        if request.method == "ACK":
            return
        key = (request.via[0].parameters.get("branch") or "", request.method)
        if key in self._answers:
            self._transmit(self._answers[key])
            return
        code, phrase, body = self._decide(request)
        response = Response(code, phrase, body)
        response.via, response.cseq, response.call_id = request.via, request.cseq, request.call_id
        response.from_address, response.to_address = request.from_address, request.to_address
        response.content_length = len(body)
        if body:
            response.contact = [Address(URI("sip", self._host, self._user, port=self._port))]
            response.headers.set("Content-Type", "application/sdp")
        self._answers[key] = bytes(response)
        self._note(response, sent=True)
        self._transmit(self._answers[key])
        if request.method == "BYE" and code == 200:
            self._end("agent", code, phrase)

    def _decide(self, request: Request) -> tuple[int, str, bytes]:
        if request.call_id != self.call_id:
            return 481, "Call Does Not Exist", b""
        if request.method == "INVITE":
            if request.body:
                self._take_media(request.body)
            self._sdp_version += 1
            return 200, "OK", sdp.offer(self._host, self._media_port, self._codec, self._sdp_version)
        if request.method in ("BYE", "OPTIONS", "INFO", "NOTIFY", "UPDATE", "CANCEL"):
            return 200, "OK", b""
        return 405, "Method Not Allowed", b""

    # Small things.

    def _send(self, request: Request) -> None:
        self._note(request, sent=True)
        self._transmit(bytes(request))

    def _transmit(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.send(data)

    def _note(self, message: Message, *, sent: bool) -> None:
        code, reason = (message.code, message.phrase) if isinstance(message, Response) else (0, "")
        self.messages.append(SipMessage(time.time(), sent, message.cseq.method, code, reason))

    def _end(self, by: str, code: int, reason: str) -> None:
        if not self.ended.is_set():
            self.ending = Ending(by, code, reason)
            self.ended.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def address(uri: str) -> tuple[str, int]:
    """Host and port that `sip:number@host:port` names. Raises `ConfigurationError`."""
    try:
        if not _URI.match(uri):
            raise ValueError
        parsed = URI.parse(uri)
    except ValueError:
        raise ConfigurationError(f"{uri} cannot be dialled", "", "Write sip:number@host:port.") from None
    return parsed.host, parsed.port or 5060


def local_address(host: str, port: int) -> str:
    """The address of this machine from which `host` is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return str(probe.getsockname()[0])


def _token() -> str:
    return f"{random.getrandbits(48):012x}"
