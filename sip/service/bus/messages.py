"""The protobuf messages on the psrpc bus: psrpc's envelopes, and the SIP part of LiveKit's `rpc` package.

They are declared here by name, number and type (of psrpc v0.7.2 and protocol v1.50.5, livekit-server 1.13.5),
because no Python package holds them; what they nest (`livekit.SIPUri`, …) comes from `livekit.protocol`.
Fields that this service neither sends nor reads are left out: protobuf keeps what it does not know.
`messages.pyi` types them.
"""

from __future__ import annotations

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from livekit.protocol import models, room, sip

_STRING, _MAP = "string", "map"

# Message → field → (number, type). A dotted type is a message, or an enum where `_ENUMS` or `FOREIGN_ENUMS`
# names it; `[]` repeats; `?` has presence; `map` is string to string.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "internal.Msg": {"type_url": (1, _STRING), "value": (2, "bytes"), "channel": (3, _STRING)},
    "internal.Request": {
        "request_id": (1, _STRING),
        "client_id": (2, _STRING),
        "sent_at": (3, "int64"),
        "expiry": (4, "int64"),
        "multi": (5, "bool"),
        "request": (6, "google.protobuf.Any"),
        "metadata": (7, _MAP),
        "raw_request": (8, "bytes"),
    },
    "internal.Response": {
        "request_id": (1, _STRING),
        "server_id": (2, _STRING),
        "sent_at": (3, "int64"),
        "response": (4, "google.protobuf.Any"),
        "error": (5, _STRING),
        "code": (6, _STRING),
        "raw_response": (7, "bytes"),
        "error_details": (8, "google.protobuf.Any[]"),
    },
    "internal.ClaimRequest": {
        "request_id": (1, _STRING),
        "server_id": (2, _STRING),
        "affinity": (3, "float"),
    },
    "internal.ClaimResponse": {"request_id": (1, _STRING), "server_id": (2, _STRING)},
    "rpc.SIPCall": {
        "lk_call_id": (1, _STRING),
        "source_ip": (2, _STRING),
        "address": (3, "livekit.SIPUri"),
        "from": (4, "livekit.SIPUri"),
        "to": (5, "livekit.SIPUri"),
        "via": (6, "livekit.SIPUri[]"),
        "sip_call_id": (7, _STRING),
        "project_id": (8, _STRING),
        "features": (9, _MAP),
    },
    "rpc.GetSIPTrunkAuthenticationRequest": {
        "from": (2, _STRING),
        "to": (3, _STRING),
        "src_address": (4, _STRING),
        "to_host": (5, _STRING),
        "sip_call_id": (6, _STRING),
        "from_host": (7, _STRING),
        "call": (8, "rpc.SIPCall"),
    },
    "rpc.GetSIPTrunkAuthenticationResponse": {
        "username": (1, _STRING),
        "password": (2, _STRING),
        "drop": (3, "bool"),
        "sip_trunk_id": (4, _STRING),
        "project_id": (5, _STRING),
        "provider_info": (6, "livekit.ProviderInfo"),
        "error_code": (7, "rpc.SIPTrunkAuthenticationError"),
        "feature_flags": (8, _MAP),
        "realm": (9, _STRING),
    },
    "rpc.EvaluateSIPDispatchRulesRequest": {
        "sip_participant_id": (1, _STRING),
        "calling_number": (2, _STRING),
        "called_number": (3, _STRING),
        "src_address": (4, _STRING),
        "pin": (5, _STRING),
        "no_pin": (6, "bool"),
        "called_host": (7, _STRING),
        "sip_call_id": (8, _STRING),
        "extra_attributes": (9, _MAP),
        "sip_trunk_id": (10, _STRING),
        "calling_host": (11, _STRING),
        "call": (12, "rpc.SIPCall"),
    },
    "rpc.EvaluateSIPDispatchRulesResponse": {
        "room_name": (1, _STRING),
        "participant_identity": (2, _STRING),
        "request_pin": (3, "bool"),
        "token": (4, _STRING),
        "ws_url": (5, _STRING),
        "result": (6, "rpc.SIPDispatchResult"),
        "participant_name": (7, _STRING),
        "participant_metadata": (8, _STRING),
        "sip_trunk_id": (9, _STRING),
        "sip_dispatch_rule_id": (10, _STRING),
        "participant_attributes": (11, _MAP),
        "project_id": (12, _STRING),
        "headers": (13, _MAP),
        "headers_to_attributes": (14, _MAP),
        "enabled_features": (15, "livekit.SIPFeature[]"),
        "ringing_timeout": (16, "google.protobuf.Duration"),
        "max_call_duration": (17, "google.protobuf.Duration"),
        "attributes_to_headers": (18, _MAP),
        "include_headers": (19, "livekit.SIPHeaderOptions"),
        "room_preset": (20, _STRING),
        "room_config": (21, "livekit.RoomConfiguration"),
        "media_encryption": (22, "livekit.SIPMediaEncryption"),
        "feature_flags": (23, _MAP),
        "media": (24, "livekit.SIPMediaConfig"),
    },
    "rpc.UpdateSIPCallStateRequest": {
        "call_info": (1, "livekit.SIPCallInfo"),
        "transfer_info": (2, "livekit.SIPTransferInfo"),
    },
    "rpc.RecordCallContextRequest": {"call_info": (1, "livekit.SIPCallInfo")},
    "rpc.InternalCreateSIPParticipantRequest": {
        "address": (2, _STRING),
        "number": (3, _STRING),
        "call_to": (4, _STRING),
        "username": (5, _STRING),
        "password": (6, _STRING),
        "room_name": (7, _STRING),
        "participant_identity": (8, _STRING),
        "token": (9, _STRING),
        "ws_url": (10, _STRING),
        "dtmf": (11, _STRING),
        "play_dialtone": (12, "bool"),
        "sip_call_id": (13, _STRING),
        "participant_name": (14, _STRING),
        "participant_metadata": (15, _STRING),
        "transport": (16, "livekit.SIPTransport"),
        "participant_attributes": (17, _MAP),
        "project_id": (18, _STRING),
        "sip_trunk_id": (19, _STRING),
        "hostname": (20, _STRING),
        "headers": (21, _MAP),
        "headers_to_attributes": (22, _MAP),
        "ringing_timeout": (23, "google.protobuf.Duration"),
        "max_call_duration": (24, "google.protobuf.Duration"),
        "enabled_features": (25, "livekit.SIPFeature[]"),
        "attributes_to_headers": (26, _MAP),
        "include_headers": (27, "livekit.SIPHeaderOptions"),
        "media_encryption": (28, "livekit.SIPMediaEncryption"),
        "wait_until_answered": (29, "bool"),
        "destination_country": (30, _STRING),
        "display_name": (31, "string?"),
        "destination": (32, "livekit.Destination"),
        "feature_flags": (33, _MAP),
        "media": (34, "livekit.SIPMediaConfig"),
        "sip_request_uri": (35, "livekit.SIPRequestDest"),
        "sip_from_header": (36, "livekit.SIPNamedDest"),
        "sip_to_header": (37, "livekit.SIPNamedDest"),
    },
    "rpc.InternalCreateSIPParticipantResponse": {
        "participant_id": (1, _STRING),
        "participant_identity": (2, _STRING),
        "sip_call_id": (3, _STRING),
    },
    "rpc.InternalTransferSIPParticipantRequest": {
        "sip_call_id": (1, _STRING),
        "transfer_to": (2, _STRING),
        "play_dialtone": (3, "bool"),
        "headers": (4, _MAP),
        "ringing_timeout": (5, "google.protobuf.Duration"),
        "feature_flags": (6, _MAP),
    },
}

_ENUMS: dict[str, dict[str, int]] = {
    "rpc.SIPDispatchResult": {
        "LEGACY_ACCEPT_OR_PIN": 0,
        "ACCEPT": 1,
        "REQUEST_PIN": 2,
        "REJECT": 3,
        "DROP": 4,
    },
    "rpc.SIPTrunkAuthenticationError": {
        "SIP_TRUNK_AUTH_ERROR_NONE": 0,
        "SIP_TRUNK_AUTH_ERROR_QUOTA_EXCEEDED": 1,
        "SIP_TRUNK_AUTH_ERROR_NO_TRUNK_FOUND": 2,
    },
}
FOREIGN_ENUMS = {
    "livekit.SIPFeature",
    "livekit.SIPHeaderOptions",
    "livekit.SIPMediaEncryption",
    "livekit.SIPTransport",
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "bool": _Field.TYPE_BOOL,
    "float": _Field.TYPE_FLOAT,
}


def _declare(package: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"sip/service/bus_messages_{package}", package=package, syntax="proto3"
    )
    for module in (any_pb2, duration_pb2, models, room, sip):
        file.dependency.append(module.DESCRIPTOR.name)
    for full_name, values in _ENUMS.items():
        if full_name.startswith(f"{package}."):
            enum = file.enum_type.add(name=full_name.split(".")[1])
            for name, number in values.items():
                enum.value.add(name=name, number=number)
    for full_name, fields in FIELDS.items():
        if full_name.startswith(f"{package}."):
            message = file.message_type.add(name=full_name.split(".")[1])
            for name, (number, kind) in fields.items():
                _add_field(message, full_name, name, number, kind)
    return file


def _add_field(
    message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str
) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind == _MAP:
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f".{owner}.{entry.name}"
        return
    if kind.endswith("[]"):
        kind, field.label = kind.removesuffix("[]"), _Field.LABEL_REPEATED
    if kind.endswith("?"):
        kind, field.proto3_optional, field.oneof_index = kind.removesuffix("?"), True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        is_enum = kind in _ENUMS or kind in FOREIGN_ENUMS
        field.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
        field.type_name = f".{kind}"


def _publish() -> None:
    pool = descriptor_pool.Default()
    for package in ("internal", "rpc"):
        pool.AddSerializedFile(_declare(package).SerializeToString())
    for full_name in FIELDS:
        descriptor = pool.FindMessageTypeByName(full_name)
        globals()[descriptor.name] = message_factory.GetMessageClass(descriptor)
    for values in _ENUMS.values():
        globals().update(values)


_publish()
__all__ = [name.split(".")[1] for name in FIELDS] + [name for values in _ENUMS.values() for name in values]  # pyright: ignore[reportUnsupportedDunderAll] # the names are made above
