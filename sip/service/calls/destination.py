"""Where an outbound call goes and whom it names, from what `CreateSIPParticipant` asks for. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livekit.protocol import sip

from sip.service.bus import messages as rpc
from sip.service.signalling.dialog import Dialog
from sip.service.signalling.digest import Credentials
from sip.service.signalling.messages import quote_name
from sip.service.signalling.peer import Peer, host_text, next_hop

_TRANSPORTS: dict[int, str] = {
    sip.SIP_TRANSPORT_UDP: "udp",
    sip.SIP_TRANSPORT_TCP: "tcp",
    sip.SIP_TRANSPORT_TLS: "tls",
}
_HOST = re.compile(r"[A-Za-z0-9.\-_]+|\[[0-9A-Fa-f:]+\]")
_USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True)
class Destination:
    """An outbound call's request URI, From and To, and its first hop (its name not looked up yet)."""

    uri: str
    caller: str
    """From value, without tag."""
    called: str
    """To value."""
    peer: Peer
    credentials: Credentials | None
    call_id: str

    def dialog(self, contact: str) -> Dialog:
        """The dialog that an INVITE to it opens."""
        return Dialog.calling(self.uri, self.caller, self.called, contact, self.call_id)


def destination(
    request: rpc.InternalCreateSIPParticipantRequest, own_host: Callable[[Peer], str], call_id: str
) -> Destination:
    """Raises `ValueError` for a request that names no place that can be called."""
    transport = _TRANSPORTS.get(request.transport, "")
    if transport == "tls":
        raise ValueError("TLS is not served: use a trunk with UDP or TCP")
    uri = _uri(request, "sip_request_uri", request.call_to, request.address, transport)
    peer = next_hop(uri, transport)
    called = _uri(request, "sip_to_header", request.call_to, request.address, "")
    caller = _uri(request, "sip_from_header", request.number, request.hostname or own_host(peer), "")
    name = _display_name(request)
    credentials = None
    if request.username and request.password:
        credentials = Credentials(request.username, request.password)
    return Destination(
        uri,
        f"{quote_name(name)} <{caller}>" if name else f"<{caller}>",
        _named(request, called),
        peer,
        credentials,
        call_id,
    )


def _uri(
    request: rpc.InternalCreateSIPParticipantRequest, field: str, user: str, address: str, transport: str
) -> str:
    """An explicit URI of the request, or one made of a number and an address `host[:port]`."""
    suffix = f";transport={transport}" if transport == "tcp" else ""
    if request.HasField(field):  # pyright: ignore[reportArgumentType]  # the name is a field of this message
        wanted: Any = getattr(request, field)
        if wanted.WhichOneof("uri") == "raw":
            raw = wanted.raw.strip().removeprefix("<").removesuffix(">")
            return raw if "transport=" in raw else raw + suffix
        values: sip.SIPUri = wanted.values
        address = f"{values.host or values.ip}:{values.port}" if values.port else values.host or values.ip
        user = values.user
        wanted_transport = _TRANSPORTS.get(values.transport, "")
        suffix = f";transport={wanted_transport}" if wanted_transport == "tcp" else suffix
    if not _USER.fullmatch(user):
        raise ValueError("a number must be set, as digits or as a SIP user" if not user else "no SIP user")
    return f"sip:{user}@{_checked(address)}{suffix}"


def _checked(address: str) -> str:
    """`host[:port]`, checked."""
    found = _HOST.match(address)
    rest = address[found.end() :] if found else ""
    port = rest.removeprefix(":")
    if found is None or (rest and not (rest.startswith(":") and port.isdecimal() and 0 < int(port) < 65_536)):
        raise ValueError("the trunk's address must be host[:port], without sip: and parameters")
    return address


def _display_name(request: rpc.InternalCreateSIPParticipantRequest) -> str:
    """Not given: the number. Given: that, and empty means none."""
    if request.HasField("sip_from_header"):
        return request.sip_from_header.display_name
    return request.display_name if request.HasField("display_name") else request.number


def _named(request: rpc.InternalCreateSIPParticipantRequest, uri: str) -> str:
    name = request.sip_to_header.display_name if request.HasField("sip_to_header") else ""
    return f"{quote_name(name)} <{uri}>" if name else f"<{uri}>"


def own_host(sent_by: str) -> str:
    """The host of a `host:port`."""
    return host_text(sent_by.rpartition(":")[0].strip("[]"))
