"""`SIPInternal` on the bus: what livekit-server asks of a SIP service."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from sip import codes
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import BusError
from sip.service.calls.call import Call
from sip.service.calls.destination import destination, own_host
from sip.service.calls.outbound import NO_ANSWER, OutboundCall, sip_status
from sip.service.calls.record import Ending
from sip.service.calls.transfer import transfer
from sip.service.edge import Edge

logger = logging.getLogger(__name__)

SERVICE = "SIPInternal"
_Request = TypeVar("_Request", bound=Message)


class Registration(Protocol):
    """A served method."""

    async def close(self) -> None:
        """Take no more requests."""
        ...


class Server(Protocol):
    """The server half of the bus."""

    async def serve(
        self,
        service: str,
        method: str,
        request_type: type[_Request],
        handler: Callable[[_Request], Awaitable[Message]],
        *,
        topic: tuple[str, ...] = (),
        affinity: Callable[[_Request], float] | None = None,
    ) -> Registration:
        """Answer a method's requests."""
        ...


class Internal:
    """The service's own methods. `TransferSIPParticipant` is served for each call, under its id."""

    def __init__(self, bus: Server, edge: Edge) -> None:
        self._bus, self._edge = bus, edge
        self._creating: Registration | None = None
        self._transfers: dict[str, Registration] = {}
        edge.on_opened, edge.on_closed = self._opened, self._closed

    async def start(self) -> None:
        """Take requests."""
        self._creating = await self._bus.serve(
            SERVICE,
            "CreateSIPParticipant",
            rpc.InternalCreateSIPParticipantRequest,
            self.create,
            affinity=lambda _: -1.0 if self._edge.draining or self._edge.full else 1.0,
        )

    async def close(self) -> None:
        """Take no new calls; transfers of calls that stand are still served."""
        if self._creating:
            await self._creating.close()
            self._creating = None

    async def create(
        self, request: rpc.InternalCreateSIPParticipantRequest
    ) -> rpc.InternalCreateSIPParticipantResponse:
        """Join the room and dial. Returns when the room is joined, or when the far end answered, as asked."""
        edge = self._edge
        if edge.draining or edge.full:
            raise BusError("resource_exhausted" if edge.full else "unavailable", "no more calls are taken")
        if not request.room_name:
            raise BusError("invalid_argument", "room name must be set")
        call_id_full = secrets.token_hex(12)
        try:
            target = destination(request, lambda peer: own_host(edge.far.sent_by(peer)), call_id_full)
        except ValueError as error:
            raise BusError("invalid_argument", str(error)) from error
        call = OutboundCall(edge, request, target, edge.ladder(call_id_full))
        edge.start_call(call, _nothing)
        wanted: asyncio.Future[Any] = call.active if request.wait_until_answered else call.joined
        try:
            await asyncio.wait({wanted, call.over}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.end(Ending("service", "nobody waits for the answer any more", 487))
            raise
        if call.over.done():
            raise failure(call.over.result())
        return rpc.InternalCreateSIPParticipantResponse(
            participant_id=call.participant_id,
            participant_identity=request.participant_identity,
            sip_call_id=request.sip_call_id,
        )

    async def transfer(self, request: rpc.InternalTransferSIPParticipantRequest) -> Empty:
        """Send a call's far end elsewhere; returns when it got there."""
        call = next(
            (call for call in self._edge.calls.values() if call.facts.call_id == request.sip_call_id), None
        )
        if call is None:
            raise BusError("not_found", "no such call")
        headers = {str(name): str(value) for name, value in request.headers.items()}
        timeout = request.ringing_timeout.ToTimedelta().total_seconds()
        await transfer(call, request.transfer_to, headers, timeout, dialtone=request.play_dialtone)
        return Empty()

    def _opened(self, call: Call) -> None:
        self._edge.spawn(self._serve_transfers(call))

    async def _serve_transfers(self, call: Call) -> None:
        call_id = call.facts.call_id
        registration = await self._bus.serve(
            SERVICE,
            "TransferSIPParticipant",
            rpc.InternalTransferSIPParticipantRequest,
            self.transfer,
            topic=(call_id,),
        )
        if call.key in self._edge.calls:
            self._transfers[call_id] = registration
        else:
            await registration.close()

    async def _closed(self, call: Call) -> None:
        registration = self._transfers.pop(call.facts.call_id, None)
        if registration:
            await registration.close()


def failure(ending: Ending) -> BusError:
    """How the API says that a call was not made; `api.SipCallError` reads the SIP code from the detail."""
    code = ending.code or 487
    phrase = ending.phrase or codes.phrase(code)
    name = "canceled" if ending.reason == NO_ANSWER else codes.psrpc_code(code)
    if code >= 500 and ending.by == "service":
        return BusError("unavailable", ending.reason)
    return BusError(name, f"sip status {code}: {phrase}", [sip_status(code, phrase)])


def _nothing() -> None:
    """Nothing to do when the call is over."""
