"""Packets of a capture file: pcap and pcapng, gzipped or not, one at a time whatever the size of the file.

`dpkt` reads records and blocks. What it does not do is done here: several interfaces in one pcapng file, and
files that end in the middle or are damaged.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import dpkt
from dpkt import pcapng

from sip.errors import SipError

LONGEST = 4 << 20
"""Bytes of one record at most; a longer one is damage (tcpdump's largest snapshot is 262,144)."""
_GZIP, _PCAPNG = b"\x1f\x8b", b"\x0a\x0d\x0d\x0a"
_PCAP = {
    bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1")
}  # microseconds, nanoseconds, Kuznetzov's; both byte orders
_IDB, _PB, _SPB, _EPB, _SHB = 1, 2, 3, 6, 0x0A0D0D0A


class CaptureError(SipError):
    """A file that is no capture, or one that cannot be read."""


@dataclass(frozen=True)
class Packet:
    """One packet: unix seconds, bytes from the link layer on, and the link type (tcpdump.org/linktypes)."""

    t: float
    data: bytes
    link: int


class Capture:
    """The packets of a file, once. `damage` says afterwards why reading ended early; empty: it did not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""
        self.count = 0

    def __iter__(self) -> Iterator[Packet]:
        """Raises `CaptureError` for a file that cannot be opened or is no capture at all."""
        try:
            with self.path.open("rb") as file:
                start = file.read(4)
                file.seek(0)
                if start[:2] == _GZIP:
                    with gzip.open(file) as unpacked:
                        yield from self._packets(cast(IO[bytes], unpacked))
                else:
                    yield from self._packets(file)
        except OSError as error:
            if self.count == 0:
                raise CaptureError(f"{self.path} cannot be read", error.strerror or str(error)) from error
            self.damage = str(error)
        except EOFError:
            self.damage = "the gzipped file ends in the middle"

    def _packets(self, file: IO[bytes]) -> Iterator[Packet]:
        guarded = _Guarded(file)
        start = guarded.peek4()
        if start == _PCAPNG:
            packets = _blocks(guarded)
        elif start in _PCAP:
            packets = _records(guarded)
        else:
            raise CaptureError(
                f"{self.path} is no capture",
                "it is empty" if not start else "it begins neither as pcap nor as pcapng",
                "Capture with `tcpdump -i any -s 0 -w FILE.pcap 'udp or port 5060'`",
            )
        try:
            for packet in packets:
                self.count += 1
                yield packet
        except (_Damaged, dpkt.Error, struct.error, ValueError) as error:
            self.damage = f"after packet {self.count}: {error or 'unreadable'}"


class _Damaged(Exception):
    """The file cannot be followed any further."""


class _Guarded:
    """A file that gives all bytes asked for, none at its end, and never more than `LONGEST`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._held = file, b""

    def peek4(self) -> bytes:
        self._held = self._file.read(4)
        return self._held

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST:
            raise _Damaged(f"a record claims {size} bytes")
        data, self._held = self._held, b""
        data += self._file.read(size - len(data))
        if 0 < len(data) < size:
            raise _Damaged("the file ends in the middle of a record")
        if not data and size:
            return b""
        return data


def _records(file: Any) -> Iterator[Packet]:
    reader = dpkt.pcap.Reader(file)
    link = reader.datalink()
    for moment, data in reader:
        yield Packet(float(moment), data, link & 0xFFFF)


@dataclass
class _Interface:
    link: int
    per_second: float
    offset: int


def _blocks(file: _Guarded) -> Iterator[Packet]:
    """pcapng (draft-ietf-opsawg-pcapng): sections with interfaces of their own, each with its link type."""
    little = True
    interfaces: list[_Interface] = []
    while head := file.read(8):
        kind = struct.unpack("<I", head[:4])[0] if little else struct.unpack(">I", head[:4])[0]
        if head[:4] == _PCAPNG:
            order = file.read(4)
            little = order == b"\x4d\x3c\x2b\x1a"
            if not little and order != b"\x1a\x2b\x3c\x4d":
                raise _Damaged("a section without a byte order")
            length = struct.unpack("<I" if little else ">I", head[4:])[0]
            file.read(_size(length) - 12)
            interfaces = []
            continue
        length = struct.unpack("<I" if little else ">I", head[4:])[0]
        block = head + file.read(_size(length) - 8)
        if len(block) < length:
            raise _Damaged("the file ends in the middle of a block")
        if kind == _IDB:
            made = pcapng.InterfaceDescriptionBlockLE if little else pcapng.InterfaceDescriptionBlock
            interfaces.append(_interface(made(block), little))
        elif kind in (_EPB, _PB):
            yield _packet(block, kind, little, interfaces)


def _size(length: int) -> int:
    if length < 12 or length % 4:
        raise _Damaged(f"a block of {length} bytes")
    return length


def _interface(block: Any, little: bool) -> _Interface:
    per_second, offset = 1e6, 0
    for option in block.opts:
        if option.code == pcapng.PCAPNG_OPT_IF_TSRESOL and option.data:
            power = option.data[0]
            per_second = float(2 ** (power & 0x7F)) if power & 0x80 else 10.0**power
        elif option.code == pcapng.PCAPNG_OPT_IF_TSOFFSET and len(option.data) == 8:
            offset = struct.unpack("<q" if little else ">q", option.data)[0]
    return _Interface(block.linktype, per_second, offset)


def _packet(block: bytes, kind: int, little: bool, interfaces: list[_Interface]) -> Packet:
    made: Any
    if kind == _EPB:
        made = (pcapng.EnhancedPacketBlockLE if little else pcapng.EnhancedPacketBlock)(block)
        number = made.iface_id
    else:
        made = (pcapng.PacketBlockLE if little else pcapng.PacketBlock)(block)
        number = made.iface_id
    if number >= len(interfaces):
        raise _Damaged(f"a packet of interface {number}, which the file does not describe")
    interface = interfaces[number]
    ticks = (made.ts_high << 32) | made.ts_low
    return Packet(interface.offset + ticks / interface.per_second, made.pkt_data, interface.link)
