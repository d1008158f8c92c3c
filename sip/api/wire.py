"""Trunks and rules as LiveKit's API carries them: model values from and to protobuf messages.

A message may hold more than the model knows (times, regions, an agent's restart policy, fields of newer
servers). `write` therefore changes a message in place and leaves alone what the model does not name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, overload

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from livekit.protocol import agent_dispatch, room
from livekit.protocol import sip as pb

from sip import model
from sip.api import mark
from sip.errors import ConfigurationError
from sip.model import (
    AgentDispatch,
    Encryption,
    HeaderOptions,
    InboundTrunk,
    Media,
    OutboundTrunk,
    Rule,
    RuleKind,
    Transport,
)

Message = pb.SIPInboundTrunkInfo | pb.SIPOutboundTrunkInfo | pb.SIPDispatchRuleInfo
ApiItem = InboundTrunk | OutboundTrunk | Rule
"""What the API knows; registrations are not among it."""
ApiKind = Literal["inbound", "outbound", "rule"]

TRANSPORTS: dict[Transport, int] = {"auto": 0, "udp": 1, "tcp": 2, "tls": 3}
HEADERS: dict[HeaderOptions, int] = {"none": 0, "x": 1, "all": 2}
ENCRYPTIONS: dict[Encryption, int] = {"disable": 0, "allow": 1, "require": 2}
RULES: dict[RuleKind, str] = {
    "direct": "dispatch_rule_direct",
    "individual": "dispatch_rule_individual",
    "callee": "dispatch_rule_callee",
}
_RULE_KINDS: dict[str, RuleKind] = {name: kind for kind, name in RULES.items()}
MESSAGES: dict[ApiKind, type[Message]] = {
    "inbound": pb.SIPInboundTrunkInfo,
    "outbound": pb.SIPOutboundTrunkInfo,
    "rule": pb.SIPDispatchRuleInfo,
}
ASSIGNED = ("sip_trunk_id", "sip_dispatch_rule_id", "created_at", "updated_at")
"""Fields that only the server sets."""

_TEXTS = (
    "name",
    "auth_username",
    "auth_password",
    "auth_realm",
    "address",
    "from_host",
    "destination_country",
)
_LISTS = ("numbers", "allowed_addresses", "allowed_numbers", "inbound_numbers")
_MAPS = ("headers", "headers_to_attributes", "attributes_to_headers")
_TIMES = ("ringing_timeout", "max_call_duration")
_PLAIN = ("krisp_enabled", "hide_phone_number", "room_preset", "ringing_timeout_status")


@overload
def read(message: pb.SIPInboundTrunkInfo) -> InboundTrunk: ...
@overload
def read(message: pb.SIPOutboundTrunkInfo) -> OutboundTrunk: ...
@overload
def read(message: pb.SIPDispatchRuleInfo) -> Rule: ...
@overload
def read(message: Message) -> ApiItem: ...
def read(message: Message) -> ApiItem:
    """The model value of a message; the mark of `managed` is taken out of metadata and attributes."""
    values: dict[str, Any] = {"media": _media(message)}
    known = message.DESCRIPTOR.fields_by_name
    for name in (*_TEXTS, *_PLAIN):
        if name in known:
            values[name] = getattr(message, name)
    for name in _LISTS:
        if name in known:
            values[name] = tuple(getattr(message, name))
    for name in _MAPS:
        if name in known:
            values[name] = dict(getattr(message, name))
    for name in _TIMES:
        if name in known:
            values[name] = seconds(getattr(message, name))
    if isinstance(message, pb.SIPDispatchRuleInfo):
        return Rule(**values, **_rule(message))
    values["include_headers"] = _word(HEADERS, message.include_headers)
    values |= {
        "id": message.sip_trunk_id,
        "metadata": mark.remove(message.metadata),
        "managed": mark.in_metadata(message.metadata),
    }
    if isinstance(message, pb.SIPInboundTrunkInfo):
        return InboundTrunk(**values)
    return OutboundTrunk(**values, transport=_word(TRANSPORTS, message.transport))


def write(message: Message, item: ApiItem, names: Iterable[str] | None = None) -> None:
    """Set a message's fields from a model value: those of `names`, all by default, and never the id.

    Raises `ConfigurationError` for a `room_config` that is none.
    """
    wanted = {field.name for field in dataclasses.fields(item)} if names is None else set(names)
    for name in wanted.intersection((*_TEXTS, *_PLAIN)):
        setattr(message, name, getattr(item, name))
    for name in wanted.intersection(_LISTS):
        _set_list(getattr(message, name), getattr(item, name))
    for name in wanted.intersection(_MAPS):
        _set_map(getattr(message, name), getattr(item, name))
    for name in wanted.intersection(_TIMES):
        _set_time(message, name, getattr(item, name))
    if "media" in wanted:
        _write_media(message, item.media)
    if isinstance(message, pb.SIPDispatchRuleInfo):
        _write_rule(message, cast("Rule", item), wanted)
        return
    trunk = cast("InboundTrunk | OutboundTrunk", item)
    if wanted & {"metadata", "managed"}:
        message.metadata = mark.add(trunk.metadata) if trunk.managed else trunk.metadata
    if "include_headers" in wanted:
        message.include_headers = cast("Any", HEADERS[trunk.include_headers])
    if isinstance(message, pb.SIPOutboundTrunkInfo) and "transport" in wanted:
        message.transport = cast("Any", TRANSPORTS[cast("OutboundTrunk", item).transport])


def kind_of(item: ApiItem) -> ApiKind:
    """`sip.model.kind_of`, where registrations are out of the question."""
    return cast("ApiKind", model.kind_of(item))


def id_of(message: Message) -> str:
    """`ST_…` or `SDR_…`."""
    if isinstance(message, pb.SIPDispatchRuleInfo):
        return message.sip_dispatch_rule_id
    return message.sip_trunk_id


def has_kind(message: Message) -> bool:
    """Whether a rule's message says of which kind it is; the server takes no other."""
    return isinstance(message, pb.SIPDispatchRuleInfo) and message.rule.WhichOneof("rule") is not None


def copy(message: Message) -> Message:
    """A message of its own."""
    other = type(message)()
    other.CopyFrom(cast("Any", message))
    return other


def assign(message: Message, source: Message | None) -> None:
    """Take the fields that only the server sets from another message; None: leave them empty."""
    for name in ASSIGNED:
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            continue
        message.ClearField(cast("Any", name))
        if source is not None and field.message_type is None:
            setattr(message, name, getattr(source, name))
        elif source is not None and source.HasField(cast("Any", name)):
            getattr(message, name).CopyFrom(getattr(source, name))


def canonical(item: ApiItem) -> ApiItem:
    """The value as a server would give it back: two values that mean the same become equal.

    A kind's default for `randomize` becomes None, times lose what is below a nanosecond, `room_config` gets
    its canonical JSON. Id, mark and trunk names stay.
    """
    message = MESSAGES[kind_of(item)]()
    write(message, item)
    return dataclasses.replace(read(message), id=item.id)


def changed(old: ApiItem, new: ApiItem) -> set[str]:
    """Names of the model's fields in which two values differ; the id is none of them."""
    return {
        field.name
        for field in dataclasses.fields(new)
        if field.name != "id" and getattr(old, field.name) != getattr(new, field.name)
    }


def seconds(duration: Duration) -> float:
    """A duration in seconds; 0 where none is set."""
    return duration.seconds + duration.nanos / 1e9


def room_configuration(value: Mapping[str, Any]) -> room.RoomConfiguration:
    """`Rule.room_config` as a message. Raises `ConfigurationError` naming the field that is wrong."""
    message = room.RoomConfiguration()
    try:
        json_format.ParseDict(dict(value), message)
    except json_format.ParseError as error:
        raise ConfigurationError(
            "room_config cannot be read",
            str(error),
            "Its fields are those of RoomConfiguration in LiveKit's API, such as empty_timeout",
        ) from None
    return message


def _media(message: Message) -> Media:
    media = message.media
    return Media(
        codecs=tuple(f"{codec.name}/{codec.rate}" if codec.rate else codec.name for codec in media.codecs),
        only_listed_codecs=media.only_listed_codecs,
        encryption=_word(ENCRYPTIONS, _encryption(message)),
        media_timeout=seconds(media.media_timeout),
    )


def _encryption(message: Message) -> int:
    """The older field counts where the newer one is not set, as on the server."""
    if message.media.HasField("encryption"):
        return message.media.encryption
    return message.media_encryption


def _write_media(message: Message, media: Media) -> None:
    if media == _media(message):
        return
    target = message.media
    target.only_listed_codecs = media.only_listed_codecs
    del target.codecs[:]
    for text in media.codecs:
        name, _, rate = text.partition("/")
        target.codecs.add(name=name, rate=int(rate) if rate else 0)
    if ENCRYPTIONS[media.encryption] != _encryption(message):
        target.encryption = cast("Any", ENCRYPTIONS[media.encryption])
        message.media_encryption = cast("Any", ENCRYPTIONS[media.encryption])
    _set_time(target, "media_timeout", media.media_timeout)


def _rule(message: pb.SIPDispatchRuleInfo) -> dict[str, Any]:
    which = message.rule.WhichOneof("rule")
    kind = _RULE_KINDS.get(which or "", "individual")
    chosen = getattr(message.rule, RULES[kind])
    randomize: bool | None = None
    if kind == "individual" and chosen.no_randomness:
        randomize = False
    elif kind == "callee" and chosen.randomize:
        randomize = True
    return {
        "id": message.sip_dispatch_rule_id,
        "kind": kind,
        "room": chosen.room_name if kind == "direct" else chosen.room_prefix,
        "pin": chosen.pin,
        "randomize": randomize,
        "trunks": tuple(message.trunk_ids),
        "agents": tuple(AgentDispatch(each.agent_name, each.metadata) for each in message.room_config.agents),
        "attributes": mark.with_attribute(message.attributes, managed=False),
        "room_config": _room_config(message),
        "metadata": message.metadata,
        "managed": mark.in_attributes(message.attributes),
    }


def _room_config(message: pb.SIPDispatchRuleInfo) -> dict[str, Any]:
    config = json_format.MessageToDict(message.room_config, preserving_proto_field_name=True)
    config.pop("agents", None)
    return config


def _write_rule(message: pb.SIPDispatchRuleInfo, rule: Rule, wanted: set[str]) -> None:
    if wanted & {"kind", "room", "pin", "randomize"}:
        which = RULES[rule.kind]
        if message.rule.WhichOneof("rule") != which:
            getattr(message.rule, which).SetInParent()
        chosen = getattr(message.rule, which)
        setattr(chosen, "room_name" if rule.kind == "direct" else "room_prefix", rule.room)
        chosen.pin = rule.pin
        if rule.kind == "individual":
            chosen.no_randomness = rule.randomize is False
        elif rule.kind == "callee":
            chosen.randomize = rule.randomize is True
    if "trunks" in wanted:
        _set_list(message.trunk_ids, rule.trunks)
    if "metadata" in wanted:
        message.metadata = rule.metadata
    if wanted & {"attributes", "managed"}:
        _set_map(message.attributes, mark.with_attribute(rule.attributes, managed=rule.managed))
    if "room_config" in wanted and dict(rule.room_config) != _room_config(message):
        agents = list(message.room_config.agents)
        message.room_config.CopyFrom(room_configuration(rule.room_config))
        del message.room_config.agents[:]
        message.room_config.agents.extend(agents)
    if "agents" in wanted:
        _write_agents(message, rule.agents)


def _write_agents(message: pb.SIPDispatchRuleInfo, agents: tuple[AgentDispatch, ...]) -> None:
    """An agent keeps what the model does not know of it (restart policy, deployment) as long as its name."""
    if not agents and not message.room_config.agents:
        return
    before = {each.agent_name: each for each in message.room_config.agents}
    after: list[agent_dispatch.RoomAgentDispatch] = []
    for agent in agents:
        each = agent_dispatch.RoomAgentDispatch()
        if agent.name in before:
            each.CopyFrom(before[agent.name])
        each.agent_name, each.metadata = agent.name, agent.metadata
        after.append(each)
    del message.room_config.agents[:]
    message.room_config.agents.extend(after)


def _word(words: Mapping[Any, int], number: int) -> Any:
    """The name of an enumeration's value; the first for one that a newer server has."""
    return next((word for word, value in words.items() if value == number), next(iter(words)))


def _set_list(target: Any, values: Iterable[str]) -> None:
    del target[:]
    target.extend(values)


def _set_map(target: Any, values: Mapping[str, str]) -> None:
    target.clear()
    target.update(values)


def _set_time(message: Any, name: str, value: float) -> None:
    if value:
        getattr(message, name).FromNanoseconds(round(value * 1e9))
    else:
        message.ClearField(name)
