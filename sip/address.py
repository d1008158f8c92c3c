"""Which IP addresses mean nothing outside their own network."""

from __future__ import annotations

import ipaddress

_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "169.254.0.0/16", "fe80::/10",  # link-local
        "127.0.0.0/8", "::1/128",
        "fc00::/7",  # RFC 4193
    )
)  # fmt: skip


def private(host: str) -> bool:
    """Whether it is a private, loopback or link-local IP address; False for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _PRIVATE)
