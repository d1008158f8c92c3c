"""Types of `messages`. A field named `from` is read with `getattr` and set through `**fields`."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal.containers import (
    RepeatedCompositeFieldContainer,
    RepeatedScalarFieldContainer,
    ScalarMap,
)
from google.protobuf.message import Message
from livekit.protocol import room, sip

FIELDS: dict[str, dict[str, tuple[int, str]]]
FOREIGN_ENUMS: set[str]
LEGACY_ACCEPT_OR_PIN: int
ACCEPT: int
REQUEST_PIN: int
REJECT: int
DROP: int
SIP_TRUNK_AUTH_ERROR_NONE: int
SIP_TRUNK_AUTH_ERROR_QUOTA_EXCEEDED: int
SIP_TRUNK_AUTH_ERROR_NO_TRUNK_FOUND: int

class Msg(Message):
    type_url: str
    value: bytes
    channel: str
    def __init__(self, **fields: Any) -> None: ...

class Request(Message):
    request_id: str
    client_id: str
    sent_at: int
    expiry: int
    multi: bool
    request: AnyMessage
    metadata: ScalarMap[str, str]
    raw_request: bytes
    def __init__(self, **fields: Any) -> None: ...

class Response(Message):
    request_id: str
    server_id: str
    sent_at: int
    response: AnyMessage
    error: str
    code: str
    raw_response: bytes
    error_details: RepeatedCompositeFieldContainer[AnyMessage]
    def __init__(self, **fields: Any) -> None: ...

class ClaimRequest(Message):
    request_id: str
    server_id: str
    affinity: float
    def __init__(self, **fields: Any) -> None: ...

class ClaimResponse(Message):
    request_id: str
    server_id: str
    def __init__(self, **fields: Any) -> None: ...

class SIPCall(Message):
    lk_call_id: str
    source_ip: str
    address: sip.SIPUri
    to: sip.SIPUri
    via: RepeatedCompositeFieldContainer[sip.SIPUri]
    sip_call_id: str
    project_id: str
    features: ScalarMap[str, str]
    def __init__(self, **fields: Any) -> None: ...

class GetSIPTrunkAuthenticationRequest(Message):
    to: str
    src_address: str
    to_host: str
    sip_call_id: str
    from_host: str
    call: SIPCall
    def __init__(self, **fields: Any) -> None: ...

class GetSIPTrunkAuthenticationResponse(Message):
    username: str
    password: str
    drop: bool
    sip_trunk_id: str
    project_id: str
    provider_info: sip.ProviderInfo
    error_code: int
    feature_flags: ScalarMap[str, str]
    realm: str
    def __init__(self, **fields: Any) -> None: ...

class EvaluateSIPDispatchRulesRequest(Message):
    sip_participant_id: str
    calling_number: str
    called_number: str
    src_address: str
    pin: str
    no_pin: bool
    called_host: str
    sip_call_id: str
    extra_attributes: ScalarMap[str, str]
    sip_trunk_id: str
    calling_host: str
    call: SIPCall
    def __init__(self, **fields: Any) -> None: ...

class EvaluateSIPDispatchRulesResponse(Message):
    room_name: str
    participant_identity: str
    request_pin: bool
    token: str
    ws_url: str
    result: int
    participant_name: str
    participant_metadata: str
    sip_trunk_id: str
    sip_dispatch_rule_id: str
    participant_attributes: ScalarMap[str, str]
    project_id: str
    headers: ScalarMap[str, str]
    headers_to_attributes: ScalarMap[str, str]
    enabled_features: RepeatedScalarFieldContainer[int]
    ringing_timeout: Duration
    max_call_duration: Duration
    attributes_to_headers: ScalarMap[str, str]
    include_headers: int
    room_preset: str
    room_config: room.RoomConfiguration
    media_encryption: int
    feature_flags: ScalarMap[str, str]
    media: sip.SIPMediaConfig
    def __init__(self, **fields: Any) -> None: ...

class UpdateSIPCallStateRequest(Message):
    call_info: sip.SIPCallInfo
    transfer_info: sip.SIPTransferInfo
    def __init__(self, **fields: Any) -> None: ...

class RecordCallContextRequest(Message):
    call_info: sip.SIPCallInfo
    def __init__(self, **fields: Any) -> None: ...

class InternalCreateSIPParticipantRequest(Message):
    address: str
    number: str
    call_to: str
    username: str
    password: str
    room_name: str
    participant_identity: str
    token: str
    ws_url: str
    dtmf: str
    play_dialtone: bool
    sip_call_id: str
    participant_name: str
    participant_metadata: str
    transport: int
    participant_attributes: ScalarMap[str, str]
    project_id: str
    sip_trunk_id: str
    hostname: str
    headers: ScalarMap[str, str]
    headers_to_attributes: ScalarMap[str, str]
    ringing_timeout: Duration
    max_call_duration: Duration
    enabled_features: RepeatedScalarFieldContainer[int]
    attributes_to_headers: ScalarMap[str, str]
    include_headers: int
    media_encryption: int
    wait_until_answered: bool
    destination_country: str
    display_name: str
    destination: sip.Destination
    feature_flags: ScalarMap[str, str]
    media: sip.SIPMediaConfig
    sip_request_uri: sip.SIPRequestDest
    sip_from_header: sip.SIPNamedDest
    sip_to_header: sip.SIPNamedDest
    def __init__(self, **fields: Any) -> None: ...

class InternalCreateSIPParticipantResponse(Message):
    participant_id: str
    participant_identity: str
    sip_call_id: str
    def __init__(self, **fields: Any) -> None: ...

class InternalTransferSIPParticipantRequest(Message):
    sip_call_id: str
    transfer_to: str
    play_dialtone: bool
    headers: ScalarMap[str, str]
    ringing_timeout: Duration
    feature_flags: ScalarMap[str, str]
    def __init__(self, **fields: Any) -> None: ...
