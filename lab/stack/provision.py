"""The inbound trunk and the dispatch rule of a local stack, set through LiveKit's own API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from livekit import api

from sip.errors import ServiceError

MARK = "livekit-phone-agent"
"""Name of everything that is set up here; only what carries it is ever replaced."""

ROOM_PREFIX = "call-"


@dataclass(frozen=True)
class Provisioned:
    """Ids that livekit-server gave."""

    inbound_trunk_id: str
    dispatch_rule_id: str


async def provision(
    url: str, api_key: str, api_secret: str, *, numbers: Sequence[str], agent_name: str, stack: str
) -> Provisioned:
    """Let `numbers` reach `agent_name`, each call in a room of its own; only this machine may call.

    An earlier set-up under our mark is replaced: a store that outlives the stack keeps one trunk and one
    rule. Raises `ServiceError` when livekit-server refuses.
    """
    mark = json.dumps({"managed_by": MARK, "stack": stack})
    try:
        async with api.LiveKitAPI(url.replace("ws", "http", 1), api_key, api_secret) as server:
            await _forget(server)
            trunk = await server.sip.create_inbound_trunk(
                api.CreateSIPInboundTrunkRequest(
                    trunk=api.SIPInboundTrunkInfo(
                        name=MARK,
                        metadata=mark,
                        numbers=list(numbers),
                        allowed_addresses=["127.0.0.1/32"],
                    )
                )
            )
            rule = await server.sip.create_dispatch_rule(
                api.CreateSIPDispatchRuleRequest(
                    dispatch_rule=api.SIPDispatchRuleInfo(
                        name=MARK,
                        metadata=mark,
                        trunk_ids=[trunk.sip_trunk_id],
                        rule=api.SIPDispatchRule(
                            dispatch_rule_individual=api.SIPDispatchRuleIndividual(room_prefix=ROOM_PREFIX)
                        ),
                        room_config=api.RoomConfiguration(
                            agents=[api.RoomAgentDispatch(agent_name=agent_name)]
                        ),
                    )
                )
            )
    except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
        raise ServiceError("trunk and dispatch rule could not be set up", str(error)) from error
    return Provisioned(trunk.sip_trunk_id, rule.sip_dispatch_rule_id)


async def _forget(server: api.LiveKitAPI) -> None:
    rules = await server.sip.list_dispatch_rule(api.ListSIPDispatchRuleRequest())
    for rule in rules.items:
        if rule.name == MARK:
            await server.sip.delete_dispatch_rule(
                api.DeleteSIPDispatchRuleRequest(sip_dispatch_rule_id=rule.sip_dispatch_rule_id)
            )
    trunks = await server.sip.list_inbound_trunk(api.ListSIPInboundTrunkRequest())
    for trunk in trunks.items:
        if trunk.name == MARK:
            await server.sip.delete_trunk(api.DeleteSIPTrunkRequest(sip_trunk_id=trunk.sip_trunk_id))
