"""From packets to what programs sent: UDP payloads, and TCP segments. Link layers, VLANs, fragments."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dpkt
from dpkt.sll2 import SLL2

from sip.trace.capture import Packet

FRAGMENTS = 256
"""Datagrams under reassembly at once; the oldest is given up."""
LONGEST = 65_535

_ETHERNET = {1}
_RAW = {12, 14, 101, 228, 229}
_LOOPBACK = {0, 108}
_COOKED, _COOKED_2 = {113}, {276}
_IP4, _IP6, _VLANS = 0x0800, 0x86DD, {0x8100, 0x88A8, 0x9100}


class Endpoint(NamedTuple):
    """An address and a port; a name and 0 where the address is not known."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else self.host


@dataclass(frozen=True)
class Datagram:
    """A UDP payload."""

    t: float
    source: Endpoint
    target: Endpoint
    payload: bytes


@dataclass(frozen=True)
class Segment:
    """A TCP segment."""

    t: float
    source: Endpoint
    target: Endpoint
    sequence: int
    syn: bool
    ended: bool
    """FIN or RST."""
    payload: bytes


@dataclass
class _Pieces:
    parts: dict[int, bytes] = field(default_factory=dict[int, bytes])
    length: int = 0
    """0 while the last fragment is missing."""

    def whole(self) -> bytes | None:
        if not self.length:
            return None
        data, at = bytearray(), 0
        while at < self.length:
            piece = self.parts.get(at)
            if not piece:
                return None
            data += piece
            at += len(piece)
        return bytes(data[: self.length])


class Network:
    """Takes packets apart. `strange` counts, by link type, packets of layers that are not understood."""

    def __init__(self) -> None:
        self.strange: dict[int, int] = {}
        self._pieces: OrderedDict[tuple[Any, ...], _Pieces] = OrderedDict()

    def read(self, packet: Packet) -> Iterator[Datagram | Segment]:
        """What the packet carries: nothing, one datagram or segment."""
        try:
            layer = self._ip(packet)
            if layer is None:
                return
            found = self._ip4(layer) if layer.v == 4 else self._ip6(layer)
            if found is None:
                return
            protocol, data = found
            yield from _transport(packet.t, layer, protocol, data)
        except (dpkt.Error, IndexError, ValueError, AttributeError):
            # A packet cut short by the snapshot length, or damaged: the others still count.
            self.strange[packet.link] = self.strange.get(packet.link, 0) + 1

    def _ip(self, packet: Packet) -> Any:
        data, link = packet.data, packet.link
        if link in _ETHERNET:
            layer = dpkt.ethernet.Ethernet(data).data
        elif link in _RAW:
            layer = dpkt.ip6.IP6(data) if data[0] >> 4 == 6 else dpkt.ip.IP(data)
        elif link in _COOKED:
            layer = _behind_vlan(dpkt.sll.SLL(data))
        elif link in _COOKED_2:
            layer = _behind_vlan(SLL2(data))
        elif link in _LOOPBACK:
            layer = dpkt.ip6.IP6(data[4:]) if data[4] >> 4 == 6 else dpkt.ip.IP(data[4:])
        else:
            self.strange[link] = self.strange.get(link, 0) + 1
            return None
        return layer if isinstance(layer, (dpkt.ip.IP, dpkt.ip6.IP6)) else None

    def _ip4(self, layer: Any) -> tuple[int, Any] | None:
        if not layer.mf and not layer.offset:
            return layer.p, layer.data
        key = (layer.src, layer.dst, layer.p, layer.id)
        whole = self._piece(key, layer.offset * 8, bytes(layer.data), last=not layer.mf)
        return (layer.p, whole) if whole is not None else None

    def _ip6(self, layer: Any) -> tuple[int, Any] | None:
        fragment = layer.extension_hdrs.get(dpkt.ip.IP_PROTO_FRAGMENT)
        if fragment is None or not (fragment.frag_off or fragment.m_flag):
            return getattr(layer, "p", layer.nxt), layer.data
        key = (layer.src, layer.dst, fragment.nxt, fragment.id)
        data = bytes(layer.data)
        whole = self._piece(key, fragment.frag_off * 8, data, last=not fragment.m_flag)
        return (fragment.nxt, whole) if whole is not None else None

    def _piece(self, key: tuple[Any, ...], offset: int, data: bytes, *, last: bool) -> bytes | None:
        if offset + len(data) > LONGEST:
            return None
        pieces = self._pieces.setdefault(key, _Pieces())
        self._pieces.move_to_end(key)
        pieces.parts[offset] = data
        if last:
            pieces.length = offset + len(data)
        whole = pieces.whole()
        if whole is not None:
            del self._pieces[key]
        elif len(self._pieces) > FRAGMENTS:
            self._pieces.popitem(last=False)
        return whole


def _behind_vlan(cooked: Any) -> Any:
    kind, data = cooked.ethtype, cooked.data
    while kind in _VLANS and isinstance(data, bytes) and len(data) > 4:
        kind, data = int.from_bytes(data[2:4]), data[4:]
    if isinstance(data, bytes):
        return dpkt.ip.IP(data) if kind == _IP4 else dpkt.ip6.IP6(data) if kind == _IP6 else None
    return data


def _transport(t: float, layer: Any, protocol: int, data: Any) -> Iterator[Datagram | Segment]:
    if protocol == dpkt.ip.IP_PROTO_UDP:
        udp: Any = data if isinstance(data, dpkt.udp.UDP) else dpkt.udp.UDP(bytes(data))
        size = udp.ulen - 8
        payload = bytes(udp.data)
        if 0 < size < len(payload):
            payload = payload[:size]
        source, target = Endpoint(_host(layer.src), udp.sport), Endpoint(_host(layer.dst), udp.dport)
        yield Datagram(t, source, target, payload)
    elif protocol == dpkt.ip.IP_PROTO_TCP:
        tcp: Any = data if isinstance(data, dpkt.tcp.TCP) else dpkt.tcp.TCP(bytes(data))
        source, target = Endpoint(_host(layer.src), tcp.sport), Endpoint(_host(layer.dst), tcp.dport)
        ended = bool(tcp.flags & (dpkt.tcp.TH_FIN | dpkt.tcp.TH_RST))
        syn = bool(tcp.flags & dpkt.tcp.TH_SYN)
        yield Segment(t, source, target, tcp.seq, syn, ended, bytes(tcp.data))


_hosts: dict[bytes, str] = {}


def _host(address: bytes) -> str:
    found = _hosts.get(address)
    if found is None:
        if len(_hosts) > 100_000:
            _hosts.clear()
        found = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
        _hosts[address] = found
    return found
