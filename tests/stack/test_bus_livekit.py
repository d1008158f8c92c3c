"""The bus against a real livekit-server: it asks us, and we ask it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from livekit import api
from livekit.protocol.sip import SIPStatus

from lab.stack import Options, background
from sip.local import LocalStack
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import Bus, BusError

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def server(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A livekit-server and its store, without any service of ours."""
    options = Options(
        name="bus", directory=tmp_path_factory.mktemp("bus"), service=False, agent=False, speech=False
    )
    with background(options) as local:
        yield local


@pytest_asyncio.fixture
async def bus(server: LocalStack) -> AsyncGenerator[Bus]:
    """A connection to the bus that livekit-server is on."""
    bus = await Bus.connect(server.redis_url)
    yield bus
    await bus.close()


def _api(server: LocalStack) -> api.LiveKitAPI:
    return api.LiveKitAPI(server.livekit_url.replace("ws", "http", 1), server.api_key, server.api_secret)


async def _dial(server: LocalStack) -> api.SIPParticipantInfo:
    async with _api(server) as livekit:
        return await livekit.sip.create_sip_participant(
            api.CreateSIPParticipantRequest(
                trunk=api.SIPOutboundConfig(hostname="127.0.0.1:5999"),
                sip_call_to="+15550123",
                sip_number="+15550100",
                room_name="bus",
                participant_identity="callee",
                headers={"X-Order": "7"},
                wait_until_answered=True,
            )
        )


async def test_public_api_reaches_our_handler(server: LocalStack, bus: Bus) -> None:
    """`create_sip_participant` arrives with its fields, and returns what the handler says."""
    requests: list[rpc.InternalCreateSIPParticipantRequest] = []

    async def create(
        request: rpc.InternalCreateSIPParticipantRequest,
    ) -> rpc.InternalCreateSIPParticipantResponse:
        requests.append(request)
        return rpc.InternalCreateSIPParticipantResponse(
            participant_id="PA_1", participant_identity=request.participant_identity
        )

    registration = await bus.serve(
        "SIPInternal", "CreateSIPParticipant", rpc.InternalCreateSIPParticipantRequest, create
    )
    info = await _dial(server)
    await registration.close()
    assert (info.participant_id, info.participant_identity) == ("PA_1", "callee")
    request = requests[0]
    assert (request.call_to, request.address) == ("+15550123", "127.0.0.1:5999")
    assert dict(request.headers) == {"X-Order": "7"}
    assert request.wait_until_answered and info.sip_call_id == request.sip_call_id


@pytest.mark.parametrize(
    ("code", "phrase", "error"),
    [
        (486, "Busy Here", "resource_exhausted"),
        (404, "Not Found", "not_found"),
        (603, "Decline", "permission_denied"),
    ],
)
async def test_sip_status_reaches_the_user(
    server: LocalStack, bus: Bus, code: int, phrase: str, error: str
) -> None:
    """What a handler raises with a SIP status is a `SipCallError` with that code for the user of the API."""

    async def refuse(
        request: rpc.InternalCreateSIPParticipantRequest,
    ) -> rpc.InternalCreateSIPParticipantResponse:
        raise BusError(error, phrase, [SIPStatus(code=cast(Any, code), status=phrase)])

    registration = await bus.serve(
        "SIPInternal", "CreateSIPParticipant", rpc.InternalCreateSIPParticipantRequest, refuse
    )
    with pytest.raises(api.SipCallError) as raised:
        await _dial(server)
    await registration.close()
    assert (raised.value.sip_status_code, raised.value.sip_status) == (code, phrase)
    assert raised.value.code == error


async def test_livekit_server_answers_us(server: LocalStack, bus: Bus) -> None:
    """Look-up and evaluation by `IOInfo` give the trunk, the rule and the room that were set up."""
    async with _api(server) as livekit:
        trunk = await livekit.sip.create_inbound_trunk(
            api.CreateSIPInboundTrunkRequest(
                trunk=api.SIPInboundTrunkInfo(
                    name="bus", numbers=["+15550177"], auth_username="u", auth_password="p"
                )
            )
        )
        rule = await livekit.sip.create_dispatch_rule(
            api.CreateSIPDispatchRuleRequest(
                dispatch_rule=api.SIPDispatchRuleInfo(
                    name="bus",
                    trunk_ids=[trunk.sip_trunk_id],
                    rule=api.SIPDispatchRule(
                        dispatch_rule_direct=api.SIPDispatchRuleDirect(room_name="bus-room")
                    ),
                )
            )
        )
    call = rpc.SIPCall(
        lk_call_id="SCL_1",
        source_ip="127.0.0.1",
        to={"user": "+15550177"},
        address={"user": "+15550177"},
        **{"from": {"user": "+15550199"}},
    )
    found = await bus.call(
        "IOInfo",
        "GetSIPTrunkAuthentication",
        rpc.GetSIPTrunkAuthenticationRequest(call=call),
        rpc.GetSIPTrunkAuthenticationResponse,
    )
    assert (found.sip_trunk_id, found.username, found.password) == (trunk.sip_trunk_id, "u", "p")
    chosen = await bus.call(
        "IOInfo",
        "EvaluateSIPDispatchRules",
        rpc.EvaluateSIPDispatchRulesRequest(call=call, sip_trunk_id=found.sip_trunk_id),
        rpc.EvaluateSIPDispatchRulesResponse,
    )
    assert (chosen.result, chosen.room_name) == (rpc.ACCEPT, "bus-room")
    assert chosen.sip_dispatch_rule_id == rule.sip_dispatch_rule_id
    assert chosen.participant_attributes["sip.phoneNumber"] == "+15550199"
    for method, request in (
        ("UpdateSIPCallState", rpc.UpdateSIPCallStateRequest()),
        ("RecordCallContext", rpc.RecordCallContextRequest()),
    ):
        await bus.call("IOInfo", method, request, Empty)  # nothing comes back, but it is taken
