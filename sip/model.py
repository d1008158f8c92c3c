"""Trunks, dispatch rules and the state that they make up: frozen values, no I/O.

Field names are those of LiveKit's API (`livekit_sip.proto`) and of `trunks.yaml`. Durations are seconds, 0
means the server's default; enumerations are their short lower-case names; an empty value means "not set".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Transport = Literal["auto", "udp", "tcp", "tls"]
HeaderOptions = Literal["none", "x", "all"]
"""Which SIP headers become participant attributes: none, those that begin with `X-`, all."""
Encryption = Literal["disable", "allow", "require"]
"""SDES-SRTP on the media of the SIP leg."""
RuleKind = Literal["direct", "individual", "callee"]
Kind = Literal["inbound", "outbound", "rule", "registration"]


@dataclass(frozen=True)
class Media:
    """`SIPMediaConfig`."""

    codecs: tuple[str, ...] = ()
    """`NAME` or `NAME/RATE` as in SDP: `PCMU`, `G722/8000`."""
    only_listed_codecs: bool = False
    encryption: Encryption = "disable"
    media_timeout: float = 0
    """Seconds without RTP until the call ends."""


@dataclass(frozen=True)
class InboundTrunk:
    """Who may call in: `SIPInboundTrunkInfo`."""

    name: str = ""
    id: str = ""
    """`ST_…`; empty until the server has made it. In `trunks.yaml` it ties an entry to a live trunk."""
    numbers: tuple[str, ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    """IP addresses and CIDR networks of the far end."""
    allowed_numbers: tuple[str, ...] = ()
    auth_username: str = ""
    auth_password: str = field(default="", repr=False)
    auth_realm: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of the 200 OK."""
    headers_to_attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes_to_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    include_headers: HeaderOptions = "none"
    ringing_timeout: float = 0
    ringing_timeout_status: int = 0
    """SIP code of the refusal after `ringing_timeout`."""
    max_call_duration: float = 0
    krisp_enabled: bool = False
    media: Media = Media()
    metadata: str = ""
    """The user's own; the mark of `managed` is not in it."""
    managed: bool = False
    """Whether `sip apply` made or adopted it: nothing else is ever pruned. Never part of a comparison."""


@dataclass(frozen=True)
class OutboundTrunk:
    """The way out to a carrier or PBX: `SIPOutboundTrunkInfo`."""

    name: str = ""
    id: str = ""
    address: str = ""
    """Host or IP address, with an optional `:port`; no scheme, no parameters."""
    transport: Transport = "auto"
    numbers: tuple[str, ...] = ()
    """Caller numbers; `*` allows any."""
    auth_username: str = ""
    auth_password: str = field(default="", repr=False)
    from_host: str = ""
    destination_country: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of the INVITE."""
    headers_to_attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes_to_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    include_headers: HeaderOptions = "none"
    media: Media = Media()
    metadata: str = ""
    managed: bool = False


@dataclass(frozen=True)
class AgentDispatch:
    """An agent that is called into the room by its name: `RoomAgentDispatch`."""

    name: str
    metadata: str = ""


@dataclass(frozen=True)
class Rule:
    """Which room, and which agent, a call gets: `SIPDispatchRuleInfo`."""

    name: str = ""
    id: str = ""
    """`SDR_…`."""
    kind: RuleKind = "individual"
    room: str = ""
    """Name of the room (direct), or the prefix of its name (individual, callee)."""
    pin: str = field(default="", repr=False)
    randomize: bool | None = None
    """Whether the room's name ends in something random; None: the kind's default (yes for individual)."""
    trunks: tuple[str, ...] = ()
    """Inbound trunks that it takes calls from: ids in a live state, names or ids in a wanted one. Empty: any
    call, also one that no trunk let in."""
    numbers: tuple[str, ...] = ()
    """Numbers called."""
    inbound_numbers: tuple[str, ...] = ()
    """Numbers of callers."""
    agents: tuple[AgentDispatch, ...] = ()
    hide_phone_number: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Attributes of the caller's participant; the mark of `managed` is not in it."""
    room_preset: str = ""
    room_config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The rest of `RoomConfiguration` (without `agents`), as protobuf JSON with snake_case names."""
    krisp_enabled: bool = False
    media: Media = Media()
    metadata: str = ""
    managed: bool = False


@dataclass(frozen=True)
class Registration:
    """An extension of a PBX that `sip serve` registers (RFC 3261 section 10).

    LiveKit's API knows none: `sip serve --registrations` reads them from the file. The PBX's calls then come
    to the service, and need an inbound trunk for the extension like all others.
    """

    name: str
    registrar: str = ""
    """Host or IP address of the PBX, with an optional `:port`."""
    username: str = ""
    """User of the address of record: the extension."""
    auth_username: str = ""
    """User of the digest; empty: the same as `username`."""
    auth_password: str = field(default="", repr=False)
    transport: Transport = "udp"
    expires: float = 300
    """Seconds to ask for; the registrar may want more, or grant less."""
    domain: str = ""
    """Host of the address of record where the registrar is a proxy before it; empty: the registrar's."""


Item = InboundTrunk | OutboundTrunk | Rule | Registration


@dataclass(frozen=True)
class State:
    """All trunks, rules and registrations of one project, in no order that means anything."""

    inbound: tuple[InboundTrunk, ...] = ()
    outbound: tuple[OutboundTrunk, ...] = ()
    rules: tuple[Rule, ...] = ()
    registrations: tuple[Registration, ...] = ()

    def __iter__(self) -> Iterator[Item]:
        yield from self.inbound
        yield from self.outbound
        yield from self.rules
        yield from self.registrations


def kind_of(item: Item) -> Kind:
    """What an object is, in the word that commands and plans use."""
    kinds: dict[type, Kind] = {InboundTrunk: "inbound", OutboundTrunk: "outbound", Rule: "rule"}
    return kinds.get(type(item), "registration")


_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def record_stem(call_id_full: str) -> str:
    """File name stem of a call's records, from its SIP Call-ID (`sip.callIDFull`).

    Readable, at most 80 characters, safe on every file system, and different for different Call-IDs: what had
    to be changed is told apart by a short hash.
    """
    safe = _UNSAFE.sub("_", call_id_full).lstrip(".")[:64]
    if safe == call_id_full:
        return safe
    digest = hashlib.sha256(call_id_full.encode()).hexdigest()[:10]
    return f"{safe}-{digest}"
