"""What `trunks.yaml` may hold: sections, the fields of each kind of object, and what people write instead."""

from __future__ import annotations

import re
from typing import Literal, get_args

from sip.model import Encryption, HeaderOptions, Kind, RuleKind, Transport

Field = (
    Literal["text", "texts", "pairs", "flag", "seconds", "code", "agents", "media", "room"] | tuple[str, ...]
)
"""What a field holds; a tuple is the words that it may be."""

SECTIONS: dict[str, Kind] = {
    "inbound": "inbound",
    "outbound": "outbound",
    "rules": "rule",
    "registrations": "registration",
}

_SECRETS = frozenset({"auth_password", "pin"})
_SECRET_HEADER = re.compile(r"token|secret|passw|authori[sz]ation|api[-_]?key", re.IGNORECASE)


def is_secret(path: str) -> bool:
    """Whether a field's value is never shown; `headers.X-Token` is the path of a header."""
    top, _, name = path.partition(".")
    return top in _SECRETS or (top == "headers" and bool(_SECRET_HEADER.search(name)))


_HEADERS: dict[str, Field] = {
    "headers": "pairs",
    "headers_to_attributes": "pairs",
    "attributes_to_headers": "pairs",
    "include_headers": get_args(HeaderOptions),
}

FIELDS: dict[Kind, dict[str, Field]] = {
    "inbound": {
        "name": "text",
        "id": "text",
        "numbers": "texts",
        "allowed_addresses": "texts",
        "allowed_numbers": "texts",
        "auth_username": "text",
        "auth_password": "text",
        "auth_realm": "text",
        **_HEADERS,
        "ringing_timeout": "seconds",
        "ringing_timeout_status": "code",
        "max_call_duration": "seconds",
        "krisp_enabled": "flag",
        "media": "media",
        "metadata": "text",
    },
    "outbound": {
        "name": "text",
        "id": "text",
        "address": "text",
        "transport": get_args(Transport),
        "numbers": "texts",
        "auth_username": "text",
        "auth_password": "text",
        "from_host": "text",
        "destination_country": "text",
        **_HEADERS,
        "media": "media",
        "metadata": "text",
    },
    "rule": {
        "name": "text",
        "id": "text",
        "kind": get_args(RuleKind),
        "room": "text",
        "trunks": "texts",
        "agent": "text",
        "agents": "agents",
        "numbers": "texts",
        "inbound_numbers": "texts",
        "pin": "text",
        "randomize": "flag",
        "hide_phone_number": "flag",
        "attributes": "pairs",
        "room_preset": "text",
        "room_config": "room",
        "krisp_enabled": "flag",
        "media": "media",
        "metadata": "text",
    },
    "registration": {
        "name": "text",
        "id": "text",
        "registrar": "text",
        "username": "text",
        "auth_username": "text",
        "auth_password": "text",
        "transport": get_args(Transport),
        "expires": "seconds",
        "domain": "text",
    },
}

MEDIA: dict[str, Field] = {
    "codecs": "texts",
    "only_listed_codecs": "flag",
    "encryption": get_args(Encryption),
    "media_timeout": "seconds",
}

_AUTH = {
    "username": "auth_username",
    "user": "auth_username",
    "auth_user": "auth_username",
    "password": "auth_password",
    "auth_pass": "auth_password",
    "realm": "auth_realm",
    "sip_trunk_id": "id",
    "trunk_id": "id",
}
_CALLS = {
    "codecs": "media.codecs",
    "only_listed_codecs": "media.only_listed_codecs",
    "encryption": "media.encryption",
    "media_encryption": "media.encryption",
    "media_timeout": "media.media_timeout",
    "number": "numbers",
}

HINTS: dict[str, dict[str, str]] = {
    "file": {
        "trunks": "inbound and outbound",
        "trunk": "inbound and outbound",
        "inbound_trunks": "inbound",
        "outbound_trunks": "outbound",
        "dispatch": "rules",
        "dispatch_rules": "rules",
        "dispatch_rule": "rules",
        "sip_dispatch_rules": "rules",
    },
    "inbound": _AUTH
    | _CALLS
    | {
        "address": "allowed_addresses",
        "addresses": "allowed_addresses",
        "allowed_ips": "allowed_addresses",
        "agent": "a rule with agent",
        "agent_name": "a rule with agent",
        "krisp": "krisp_enabled",
        "max_duration": "max_call_duration",
    },
    "outbound": _AUTH
    | _CALLS
    | {
        "host": "address",
        "hostname": "address",
        "domain": "address",
        "proxy": "address",
        "caller_id": "numbers",
        "allowed_addresses": "an inbound trunk with allowed_addresses",
        "country": "destination_country",
    },
    "rule": _CALLS
    | {
        "trunk": "trunks",
        "trunk_id": "trunks",
        "trunk_ids": "trunks",
        "room_name": "room",
        "room_prefix": "room",
        "prefix": "room",
        "agent_name": "agent",
        "agent_names": "agents",
        "type": "kind",
        "sip_dispatch_rule_id": "id",
        "no_randomness": "randomize",
        "allowed_numbers": "inbound_numbers",
        "caller_numbers": "inbound_numbers",
        "dispatch_rule_direct": "kind: direct and room",
        "dispatch_rule_individual": "kind: individual and room",
        "dispatch_rule_callee": "kind: callee and room",
    },
    "registration": _AUTH
    | {
        "host": "registrar",
        "server": "registrar",
        "address": "registrar",
        "user": "username",
        "extension": "username",
        "expiry": "expires",
        "realm": "domain",
    },
    "media": {"codec": "codecs", "srtp": "encryption", "timeout": "media_timeout"},
}
"""`{kind: {what people write: the field that they mean}}`."""
