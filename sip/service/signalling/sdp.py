"""The little of SDP (RFC 4566, 3264) that signalling needs: audio, its codecs, direction, address."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

CODECS = {"PCMU": 8000, "PCMA": 8000, "G722": 8000}
"""Codecs that the media process speaks, with their RTP clock (RFC 3551: G.722 has 8000, too)."""
_STATIC = {0: "PCMU", 8: "PCMA", 9: "G722"}
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_IPV6 = re.compile(rb"^c=IN IP6 [^\r\n]*", re.MULTILINE)
_RTPMAP = re.compile(r"a=rtpmap:(\d+)\s+([^/\s]+)/(\d+)")


class NoAudio(ValueError):
    """A session description without an audio stream."""


@dataclass(frozen=True)
class Audio:
    """The first audio stream of a session description."""

    address: str
    """Connection address; `0.0.0.0` is the old way of holding."""
    port: int
    """0: the stream is refused or closed."""
    profile: str
    """`RTP/AVP`, `RTP/SAVP` …"""
    codecs: tuple[str, ...]
    """Names in order of preference, upper case; payload numbers that have no name are left out."""
    direction: str

    @property
    def on_hold(self) -> bool:
        """Whether its sender does not want to hear us (RFC 3264 8.4)."""
        return self.direction in ("sendonly", "inactive") or self.address == "0.0.0.0"

    @property
    def usable(self) -> bool:
        """Whether a call can stand on it: plain RTP over IPv4, open, with a codec that we speak."""
        return (
            self.port > 0
            and ":" not in self.address
            and self.profile in ("RTP/AVP", "RTP/AVPF")
            and any(codec in CODECS for codec in self.codecs)
        )


def audio(body: bytes) -> Audio:
    """The first audio stream. Raises `NoAudio`, or `ValueError` when the body is none."""
    try:
        lines = [line.strip() for line in body.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError("SDP is not UTF-8") from error
    if not lines or not lines[0].startswith("v=0"):
        raise ValueError("SDP does not start with v=0")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    for number, start in enumerate(starts):
        if not lines[start].startswith("m=audio "):
            continue
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        return _audio(lines[: starts[0]], lines[start:end])
    raise NoAudio("SDP offers no audio")


def on_this_host(body: bytes, source: str) -> bytes:
    """The same SDP, with the IPv6 address of a phone on this very machine replaced by its IPv4 one.

    Softphones name their public IPv6 address even when they call over loopback. They listen on all addresses;
    `source`, where the message came from, is one of them.
    """
    if b"IN IP6" not in body or ":" in source or not ipaddress.ip_address(source).is_loopback:
        return body
    return _IPV6.sub(b"c=IN IP4 " + source.encode(), body)


def readdress(body: bytes, address: str, port: int) -> bytes:
    """The same session with its audio at another address; what is held or refused stays so.

    Raises `ValueError` when the body is no session description with audio.
    """
    held = audio(body).address == "0.0.0.0"
    where = f"IN {'IP6' if ':' in address else 'IP4'} {address}"
    lines: list[str] = []
    for line in body.decode().splitlines():
        if line.startswith("a=rtcp:"):
            continue  # RTCP is on the next port
        if line.startswith("c=") and not held:
            line = f"c={where}"
        elif line.startswith("o="):
            line = f"{line.rsplit(' IN ', 1)[0]} {where}"
        elif line.startswith("m=audio ") and not line.startswith("m=audio 0 "):
            line = f"m=audio {port} {line.split(' ', 2)[2]}"
        lines.append(line)
    return "".join(f"{line}\r\n" for line in lines).encode()


def same_media(before: bytes, after: bytes) -> bool:
    """Whether `after` leaves the audio stream where it was: address, port and direction.

    A longer list of codecs alone changes nothing: the one in use still stands.
    """
    if before == after:
        return True
    try:
        old, new = audio(before), audio(after)
    except ValueError:
        return False
    kept = not old.codecs or not new.codecs or old.codecs[0] in new.codecs
    return kept and (old.address, old.port, old.direction) == (new.address, new.port, new.direction)


def _audio(session: list[str], media: list[str]) -> Audio:
    parts = media[0][2:].split()
    if len(parts) < 4 or not parts[1].split("/")[0].isdecimal():
        raise ValueError("SDP has a broken m= line")
    names = {str(number): name for number, name in _STATIC.items()}
    for line in media:
        if found := _RTPMAP.match(line):
            number, name, clock = found.groups()
            name = name.upper()
            if name not in CODECS or CODECS[name] == int(clock):
                names[number] = name
    return Audio(
        address=_last(media, "c=") or _last(session, "c="),
        port=int(parts[1].split("/")[0]),
        profile=parts[2],
        codecs=tuple(names[number] for number in parts[3:] if number in names),
        direction=_direction(media) or _direction(session) or "sendrecv",
    )


def _last(lines: list[str], prefix: str) -> str:
    found = [line for line in lines if line.startswith(prefix)]
    parts = found[-1].split() if found else []
    return parts[2].split("/")[0] if len(parts) > 2 else ""


def _direction(lines: list[str]) -> str:
    found = [line[2:] for line in lines if line.startswith("a=") and line[2:] in _DIRECTIONS]
    return found[-1] if found else ""
