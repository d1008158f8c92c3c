"""The caller's SDP: one codec and telephone-events offered, one answer read (RFC 3264, RFC 8866)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .codec import Codec

EVENTS = 101
"""Payload type of telephone-events in our offer."""


@dataclass(frozen=True)
class Media:
    """Where the far end wants RTP, and what it takes."""

    host: str
    port: int
    """0: the stream was refused."""
    payload_types: tuple[int, ...]
    events: int
    """Payload type of telephone-events; 0 when it takes none."""
    receives: bool
    """False while it holds the call (`sendonly`, `inactive`)."""


def offer(host: str, port: int, codec: Codec, version: int = 1) -> bytes:
    """Our side of the session, as an offer and as the answer to a re-INVITE."""
    lines = (
        "v=0",
        f"o=caller {port} {version} IN IP4 {host}",
        "s=call",
        f"c=IN IP4 {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {codec.payload_type} {EVENTS}",
        f"a=rtpmap:{codec.payload_type} {codec.name}/8000",
        f"a=rtpmap:{EVENTS} telephone-event/8000",
        f"a=fmtp:{EVENTS} 0-15",
        "a=ptime:20",
        "a=sendrecv",
        "",
    )
    return "\r\n".join(lines).encode()


def read(body: bytes) -> Media | None:
    """The first audio stream of a session description; None when there is none."""
    head, _, rest = body.decode(errors="replace").replace("\r\n", "\n").partition("\nm=audio ")
    if not rest:
        return None
    section = rest.split("\nm=")[0]
    port, _, *types = section.split("\n")[0].split()
    address = re.search(r"^c=IN IP\d (\S+)", section, re.M) or re.search(r"^c=IN IP\d (\S+)", head, re.M)
    events = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", section, re.M | re.I)
    direction = re.search(r"^a=(sendonly|inactive)\s*$", section, re.M)
    return Media(
        host=address[1] if address else "",
        port=int(port.split("/")[0]),
        payload_types=tuple(int(each) for each in types if each.isdigit()),
        events=int(events[1]) if events else 0,
        receives=direction is None,
    )
