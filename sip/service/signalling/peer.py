"""Where a message came from or goes to, and how a URI names it (RFC 3261 18, RFC 3263 without SRV)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import sipmessage

DEFAULT_PORT = 5060


@dataclass(frozen=True)
class Peer:
    """One transport address. `host` is an IP address once it is resolved."""

    transport: str
    """`udp` or `tcp`."""
    host: str
    port: int

    @property
    def reliable(self) -> bool:
        """Whether the transport itself retransmits."""
        return self.transport != "udp"

    def __str__(self) -> str:
        return f"{self.transport}:{host_text(self.host)}:{self.port}"


def next_hop(uri: str, transport: str = "") -> Peer:
    """Where a request for `uri` goes. `transport` wins over the URI's own parameter.

    Raises `ValueError` for a URI that names no host (tel) or needs TLS, which is not served yet.
    """
    parsed = sipmessage.URI.parse(uri)
    wanted = (transport or parsed.parameters.get("transport") or "udp").lower()
    if parsed.scheme == "sips" or wanted == "tls":
        raise ValueError("TLS is not served")
    if parsed.scheme != "sip" or wanted not in ("udp", "tcp"):
        raise ValueError("names no host that SIP over UDP or TCP can reach")
    host = parsed.parameters.get("maddr") or parsed.host
    return Peer(wanted, host.strip("[]"), parsed.port or DEFAULT_PORT)


def reply_to(via: sipmessage.Via, source: Peer) -> Peer:
    """Where the response to a request goes (RFC 3261 18.2.2, RFC 3581)."""
    if source.reliable or "rport" in via.parameters:
        return source
    return Peer(source.transport, source.host, via.port or DEFAULT_PORT)


def host_text(host: str) -> str:
    """An address as it stands in a URI: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_address(host: str) -> bool:
    """Whether `host` is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_private(host: str) -> bool:
    """Whether `host` is an address that only its own network can reach; a name is not."""
    return is_address(host) and ipaddress.ip_address(host).is_private
