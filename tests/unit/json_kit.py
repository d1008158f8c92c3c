"""JSON of trunks and rules as people have it: LiveKit's documentation, `lk`'s output, the API, our own."""

from __future__ import annotations

from typing import Any

from sip.api.wire import ApiItem, ApiKind
from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Rule

TRUNK = InboundTrunk(name="My trunk", numbers=("+15105550100",))
OUTBOUND = OutboundTrunk(
    name="My outbound trunk",
    address="sip.carrier.example",
    numbers=("+15105550100",),
    auth_username="user",
    auth_password="word",
)
CALLER = Rule(name="My dispatch rule", room="call-")
AGENT = Rule(
    name="My dispatch rule", room="call-", agents=(AgentDispatch("inbound-agent", "job dispatch metadata"),)
)
AGENT_JSON = {"agents": [{"agentName": "inbound-agent", "metadata": "job dispatch metadata"}]}

SHAPES: dict[str, tuple[ApiKind, Any, ApiItem]] = {
    # docs.livekit.io/telephony: inbound trunk
    "inbound, wrapped": (
        "inbound",
        {"trunk": {"name": "My trunk", "numbers": ["+15105550100"], "krispEnabled": True}},
        InboundTrunk(name="My trunk", numbers=("+15105550100",), krisp_enabled=True),
    ),
    "inbound, who may call": (
        "inbound",
        {"trunk": {"name": "My trunk", "numbers": ["+15105550100"], "allowedNumbers": ["+13105550100"]}},
        InboundTrunk(name="My trunk", numbers=("+15105550100",), allowed_numbers=("+13105550100",)),
    ),
    "inbound, password (Twilio voice)": (
        "inbound",
        {"trunk": {"name": "My trunk", "numbers": ["+1"], "authUsername": "u", "authPassword": "p"}},
        InboundTrunk(name="My trunk", numbers=("+1",), auth_username="u", auth_password="p"),
    ),
    "inbound, snake_case": (
        "inbound",
        {
            "trunk": {
                "name": "My trunk",
                "auth_username": "u",
                "auth_password": "p",
                "allowed_addresses": ["192.0.2.0/24"],
            }
        },
        InboundTrunk(
            name="My trunk", auth_username="u", auth_password="p", allowed_addresses=("192.0.2.0/24",)
        ),
    ),
    "inbound, flat (as for update, and for curl)": (
        "inbound",
        {"name": "My trunk", "numbers": ["+15105550100"]},
        TRUNK,
    ),
    "inbound, headers and times": (
        "inbound",
        {
            "trunk": {
                "name": "My trunk",
                "headers": {"X-Fixed": "1"},
                "headersToAttributes": {"X-Account": "account"},
                "attributesToHeaders": {"mood": "X-Mood"},
                "includeHeaders": "SIP_ALL_HEADERS",
                "ringingTimeout": "30s",
                "maxCallDuration": "3600s",
                "mediaEncryption": "SIP_MEDIA_ENCRYPT_ALLOW",
            }
        },
        InboundTrunk(
            name="My trunk",
            headers={"X-Fixed": "1"},
            headers_to_attributes={"X-Account": "account"},
            attributes_to_headers={"mood": "X-Mood"},
            include_headers="all",
            ringing_timeout=30,
            max_call_duration=3600,
            media=Media(encryption="allow"),
        ),
    ),
    "inbound, numbers for enumerations and times": (
        "inbound",
        {"name": "My trunk", "include_headers": 1, "ringing_timeout": 12.5, "media": {"encryption": 2}},
        InboundTrunk(
            name="My trunk", include_headers="x", ringing_timeout=12.5, media=Media(encryption="require")
        ),
    ),
    "inbound, as Go prints it": (
        "inbound",
        [
            {
                "sip_trunk_id": "ST_abc",
                "name": "My trunk",
                "numbers": ["+15105550100"],
                "include_headers": 2,
                "ringing_timeout": {"seconds": 30, "nanos": 500000000},
                "created_at": {"seconds": 1753000000},
                "media": {"encryption": 1, "codecs": [{"name": "PCMU", "rate": 8000}]},
            }
        ],
        InboundTrunk(
            name="My trunk",
            id="ST_abc",
            numbers=("+15105550100",),
            include_headers="all",
            ringing_timeout=30.5,
            media=Media(codecs=("PCMU/8000",), encryption="allow"),
        ),
    ),
    "inbound, a list answer": (
        "inbound",
        {"items": [{"sipTrunkId": "ST_abc", "name": "My trunk", "createdAt": "2026-01-01T00:00:00Z"}]},
        InboundTrunk(name="My trunk", id="ST_abc"),
    ),
    "inbound, an update request with replace": (
        "inbound",
        {"sipTrunkId": "ST_abc", "replace": {"name": "My trunk", "numbers": ["+15105550100"]}},
        InboundTrunk(name="My trunk", id="ST_abc", numbers=("+15105550100",)),
    ),
    "inbound, an update request with lists": (
        "inbound",
        {"sip_trunk_id": "ST_abc", "update": {"name": "My trunk", "numbers": {"add": ["+15105550100"]}}},
        InboundTrunk(name="My trunk", id="ST_abc", numbers=("+15105550100",)),
    ),
    # docs.livekit.io/telephony: outbound trunk
    "outbound, wrapped": (
        "outbound",
        {
            "trunk": {
                "name": "My outbound trunk",
                "address": "sip.carrier.example",
                "numbers": ["+15105550100"],
                "authUsername": "user",
                "authPassword": "word",
            }
        },
        OUTBOUND,
    ),
    "outbound, country, transport, from host": (
        "outbound",
        {
            "trunk": {
                "name": "o",
                "address": "x.example",
                "numbers": ["*"],
                "destinationCountry": "US",
                "transport": "SIP_TRANSPORT_TCP",
                "from_host": "me.example",
            }
        },
        OutboundTrunk(
            name="o",
            address="x.example",
            numbers=("*",),
            destination_country="US",
            transport="tcp",
            from_host="me.example",
        ),
    ),
    "outbound, short words": (
        "outbound",
        {"name": "o", "transport": "tls", "include_headers": "none", "media_encryption": "require"},
        OutboundTrunk(name="o", transport="tls", media=Media(encryption="require")),
    ),
    # docs.livekit.io/telephony: dispatch rule
    "rule, wrapped": (
        "rule",
        {
            "dispatch_rule": {
                "name": "My dispatch rule",
                "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
                "roomConfig": AGENT_JSON,
            }
        },
        AGENT,
    ),
    "rule, wrapped in camelCase": (
        "rule",
        {
            "dispatchRule": {
                "name": "My dispatch rule",
                "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
            }
        },
        CALLER,
    ),
    "rule, flat, which lk refuses with `missing rule`": (
        "rule",
        {
            "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
            "name": "My dispatch rule",
            "roomConfig": AGENT_JSON,
        },
        AGENT,
    ),
    "rule, flat, snake_case": (
        "rule",
        {
            "name": "My dispatch rule",
            "rule": {"dispatch_rule_individual": {"room_prefix": "call-"}},
            "room_config": {"agents": [{"agent_name": "inbound-agent", "metadata": "job dispatch metadata"}]},
        },
        AGENT,
    ),
    "rule, without the inner rule": (
        "rule",
        {"name": "My dispatch rule", "dispatchRuleIndividual": {"roomPrefix": "call-"}},
        CALLER,
    ),
    "rule, direct, older page": (
        "rule",
        {
            "trunk_ids": [],
            "hide_phone_number": False,
            "rule": {"dispatchRuleDirect": {"roomName": "open-room", "pin": ""}},
        },
        Rule(kind="direct", room="open-room"),
    ),
    "rule, direct with a PIN": (
        "rule",
        {
            "dispatch_rule": {
                "rule": {"dispatchRuleDirect": {"roomName": "safe-room", "pin": "12345"}},
                "name": "safe",
            }
        },
        Rule(name="safe", kind="direct", room="safe-room", pin="12345"),
    ),
    "rule, callee": (
        "rule",
        {
            "dispatch_rule": {
                "rule": {"dispatchRuleCallee": {"roomPrefix": "number-", "randomize": True}},
                "name": "c",
            }
        },
        Rule(name="c", kind="callee", room="number-", randomize=True),
    ),
    "rule, trunks, numbers, metadata, attributes": (
        "rule",
        {
            "dispatch_rule": {
                "trunkIds": ["ST_one", "ST_two"],
                "inboundNumbers": ["+13105550100"],
                "numbers": ["+15105550100"],
                "hidePhoneNumber": True,
                "metadata": '{"is_internal": true}',
                "attributes": {"<key>": "<value>"},
                "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
            }
        },
        Rule(
            trunks=("ST_one", "ST_two"),
            inbound_numbers=("+13105550100",),
            numbers=("+15105550100",),
            hide_phone_number=True,
            metadata='{"is_internal": true}',
            attributes={"<key>": "<value>"},
            room="call-",
        ),
    ),
    "rule, as lk lists it": (
        "rule",
        {
            "sipDispatchRuleId": "SDR_abc",
            "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
            "trunkIds": ["ST_one"],
            "name": "My dispatch rule",
            "roomConfig": AGENT_JSON,
            "media": {},
        },
        Rule(name="My dispatch rule", id="SDR_abc", room="call-", trunks=("ST_one",), agents=AGENT.agents),
    ),
    "rule, as Go prints it": (
        "rule",
        {
            "sip_dispatch_rule_id": "SDR_abc",
            "rule": {"Rule": {"DispatchRuleDirect": {"room_name": "lobby"}}},
            "room_config": {"agents": [{"agent_name": "a"}], "empty_timeout": 60},
        },
        Rule(
            id="SDR_abc",
            kind="direct",
            room="lobby",
            agents=(AgentDispatch("a"),),
            room_config={"empty_timeout": 60},
        ),
    ),
    "rule, an update request": (
        "rule",
        {
            "sip_dispatch_rule_id": "SDR_abc",
            "replace": {"rule": {"dispatchRuleCallee": {"roomPrefix": "to-"}}},
        },
        Rule(id="SDR_abc", kind="callee", room="to-"),
    ),
    "ours, with nulls and a mark": (
        "inbound",
        {"sip_trunk_id": "ST_abc", "name": "My trunk", "metadata": None, "managed": True},
        InboundTrunk(name="My trunk", id="ST_abc"),
    ),
}
