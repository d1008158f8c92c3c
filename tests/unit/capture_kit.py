"""Captures made from scratch: SIP messages, RTP with planted faults, any link layer, pcap or pcapng."""

from __future__ import annotations

import io
import random
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dpkt
from dpkt.sll2 import SLL2

Address = tuple[str, int]
ALICE: Address = ("198.51.100.7", 5060)
BOB: Address = ("203.0.113.9", 5060)
EPOCH = 1_700_000_000.0


@dataclass
class Recorder:
    """Packets with their times; `save` sorts them."""

    packets: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    """IP packets."""

    def udp(self, t: float, source: Address, target: Address, payload: bytes) -> None:
        """One datagram."""
        udp = dpkt.udp.UDP(sport=source[1], dport=target[1], data=payload, ulen=8 + len(payload))
        self.ip(t, source[0], target[0], 17, udp)

    def tcp(
        self, t: float, source: Address, target: Address, sequence: int, payload: bytes, flags: int = 0x18
    ) -> None:
        """One segment."""
        tcp = dpkt.tcp.TCP(sport=source[1], dport=target[1], seq=sequence, flags=flags, data=payload)
        self.ip(t, source[0], target[0], 6, tcp)

    def ip(self, t: float, source: str, target: str, protocol: int, data: Any) -> None:
        """One IP packet, version 4 or 6."""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        src, dst = socket.inet_pton(family, source), socket.inet_pton(family, target)
        if ":" in source:
            body = bytes(data)
            packet = dpkt.ip6.IP6(src=src, dst=dst, nxt=protocol, plen=len(body), data=data)
            packet.extension_hdrs = {}
            raw = struct.pack(">IHBB16s16s", 6 << 28, len(body), protocol, 64, src, dst) + body
            self.packets.append((t, raw))
            return
        packet = dpkt.ip.IP(src=src, dst=dst, p=protocol, data=data)
        packet.len = len(packet)
        self.packets.append((t, bytes(packet)))

    def fragments(self, t: float, source: Address, target: Address, payload: bytes, size: int = 800) -> None:
        """One datagram in several IP packets, the last one first."""
        udp = bytes(dpkt.udp.UDP(sport=source[1], dport=target[1], data=payload, ulen=8 + len(payload)))
        src, dst = socket.inet_aton(source[0]), socket.inet_aton(target[0])
        for start in reversed(range(0, len(udp), size)):
            piece = udp[start : start + size]
            more = start + size < len(udp)
            raw = struct.pack(
                ">BBHHHBBH4s4s", 0x45, 0, 20 + len(piece), 77, more << 13 | start // 8, 64, 17, 0, src, dst
            )
            self.packets.append((t, raw + piece))

    def rtp(
        self,
        t: float,
        source: Address,
        target: Address,
        *,
        packets: int = 250,
        lost: frozenset[int] = frozenset(),
        jitter: float = 0.0,
        ssrc: int = 0x1234,
        payload: int = 0,
        seed: int = 1,
        sequence: int = 65_500,
    ) -> None:
        """20 ms packets of G.711; numbers in `lost` are missing, each is up to `jitter` seconds late."""
        chance = random.Random(seed)
        for number in range(packets):
            late = chance.uniform(0, jitter)
            if number in lost:
                continue
            head = struct.pack(
                ">BBHII", 0x80, payload, (sequence + number) % 65_536, (160 * number) % 2**32, ssrc
            )
            self.udp(t + 0.02 * number + late, source, target, head + bytes(160))

    def save(self, path: Path, link: str = "ethernet", form: str = "pcap") -> Path:
        """Write the capture."""
        number, wrap = LINKS[link]
        with path.open("wb") as file:
            writer: Any
            if form == "pcap":
                writer = dpkt.pcap.Writer(file, linktype=number)
            else:
                writer = dpkt.pcapng.Writer(file, linktype=number)
            for t, packet in sorted(self.packets, key=lambda each: each[0]):
                writer.writepkt(wrap(packet), ts=EPOCH + t)
        return path

    def bytes(self) -> bytes:
        """The capture as pcap."""
        file = io.BytesIO()
        writer = dpkt.pcap.Writer(file)
        for t, packet in sorted(self.packets, key=lambda each: each[0]):
            writer.writepkt(LINKS["ethernet"][1](packet), ts=EPOCH + t)
        return file.getvalue()


def _ethertype(packet: bytes) -> int:
    return 0x86DD if packet[0] >> 4 == 6 else 0x0800


LINKS: dict[str, tuple[int, Any]] = {
    "ethernet": (1, lambda p: b"\0" * 12 + struct.pack(">H", _ethertype(p)) + p),
    "vlan": (1, lambda p: b"\0" * 12 + struct.pack(">HHH", 0x8100, 42, _ethertype(p)) + p),
    "qinq": (1, lambda p: b"\0" * 12 + struct.pack(">HHHHH", 0x88A8, 7, 0x8100, 42, _ethertype(p)) + p),
    "raw": (101, lambda p: p),
    "loopback": (0, lambda p: struct.pack("<I", 30 if p[0] >> 4 == 6 else 2) + p),
    "cooked": (113, lambda p: bytes(dpkt.sll.SLL(ethtype=_ethertype(p), data=p))),
    "cooked2": (276, lambda p: bytes(SLL2(ethtype=_ethertype(p), data=p))),
}


def sdp(address: Address, codecs: str = "0 101", direction: str = "sendrecv") -> bytes:
    """A session description."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address[0]}\r\ns=-\r\nc=IN IP4 {address[0]}\r\nt=0 0\r\n"
        f"m=audio {address[1]} RTP/AVP {codecs}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    ).encode()


@dataclass
class Dialogue:
    """A call between two addresses, written message by message."""

    recorder: Recorder
    caller: Address = ALICE
    callee: Address = BOB
    call_id: str = "one@example"
    sequence: int = 1
    tcp: bool = False
    _next: dict[Address, int] = field(default_factory=dict[Address, int])

    def request(
        self, t: float, method: str, body: bytes = b"", *, back: bool = False, **headers: str
    ) -> None:
        """A request of the caller; of the callee with `back`."""
        source, target = (self.callee, self.caller) if back else (self.caller, self.callee)
        known = method not in ("INVITE", "CANCEL") or bool(headers.pop("dialog", ""))
        ours, theirs = ("<sip:+15550100@b.example>;tag=b", "<sip:+15550199@a.example>;tag=a")
        if not back:
            ours, theirs = theirs, ours if known else "<sip:+15550100@b.example>"
        self._send(
            t,
            source,
            target,
            f"{method} sip:+15550100@{target[0]} SIP/2.0",
            method,
            ours,
            theirs,
            body,
            headers,
        )

    def response(
        self, t: float, code: int, phrase: str, method: str = "INVITE", body: bytes = b"", *,
        back: bool = False, **headers: str,
    ) -> None:  # fmt: skip
        """A response of the callee; of the caller with `back`."""
        source, target = (self.caller, self.callee) if back else (self.callee, self.caller)
        ours, theirs = "<sip:+15550199@a.example>;tag=a", "<sip:+15550100@b.example>;tag=b"
        if back:
            ours, theirs = theirs, ours
        self._send(t, source, target, f"SIP/2.0 {code} {phrase}", method, ours, theirs, body, headers)

    def _send(
        self, t: float, source: Address, target: Address, first: str, method: str, from_: str, to: str,
        body: bytes, headers: dict[str, str],
    ) -> None:  # fmt: skip
        lines = [
            first,
            f"Via: SIP/2.0/UDP {self.caller[0]};branch=z9hG4bK{method}{self.sequence}",
            f"From: {from_}",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.sequence} {method}",
            f"Contact: <sip:x@{source[0]}>",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
            *(("Content-Type: application/sdp",) if body else ()),
            f"Content-Length: {len(body)}",
        ]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        if self.tcp:
            if source not in self._next:
                self.recorder.tcp(t - 0.001, source, target, 999, b"", flags=2)
            at = self._next.get(source, 1000)
            self._next[source] = at + len(data)
            half = len(data) // 2  # in two segments, the second one first
            self.recorder.tcp(t + 0.0001, source, target, at, data[:half])
            self.recorder.tcp(t, source, target, at + half, data[half:])
        else:
            self.recorder.udp(t, source, target, data)


MEDIA_A: Address = ("198.51.100.7", 40_000)
MEDIA_B: Address = ("203.0.113.9", 50_000)


def answered(
    recorder: Recorder, *, offer: Address = MEDIA_A, answer: Address = MEDIA_B, **given: Any
) -> Dialogue:
    """INVITE, 180, 200, ACK at 0 to 1 s, BYE by the caller at 6 s."""
    call = Dialogue(recorder, **given)
    call.request(0, "INVITE", sdp(offer))
    call.response(0.05, 100, "Trying")
    call.response(0.2, 180, "Ringing")
    call.response(1.0, 200, "OK", body=sdp(answer))
    call.request(1.01, "ACK")
    call.sequence += 1
    call.request(6.01, "BYE")
    call.response(6.05, 200, "OK", "BYE")
    return call
