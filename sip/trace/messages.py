"""One SIP message as a trace keeps it: what the ladder and its explanation need, and no more."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sip.service.signalling.messages import Malformed, Request, parse, uri_of
from sip.trace.network import Endpoint

_STATIC = {
    0: ("PCMU", 8000), 3: ("GSM", 8000), 4: ("G723", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000),
    13: ("CN", 8000), 15: ("G728", 8000), 18: ("G729", 8000),
}  # fmt: skip
"""Payload types that need no rtpmap (RFC 3551)."""
NOT_SPEECH = ("TELEPHONE-EVENT", "CN", "RED")
_RTPMAP = re.compile(r"a=rtpmap:(\d+)\s+([^/\s]+)/(\d+)")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_CAUSE = re.compile(r"\bQ\.850\b.*?\bcause\s*=\s*(\d+)", re.IGNORECASE)
_CALL_ID = re.compile(r"^(?:call-id|i)[ \t]*:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_HOST = re.compile(r"sips?:(?:[^@>;]*@)?(\[[^\]]+\]|[^:;>\s]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Sdp:
    """The first audio stream of a session description."""

    media: Endpoint
    """Where its sender wants RTP; port 0: refused or closed."""
    codecs: tuple[str, ...]
    """Names in order of preference, upper case, without what is not speech."""
    payloads: Mapping[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    """Payload type → name and clock rate."""
    direction: str = "sendrecv"
    profile: str = "RTP/AVP"

    @property
    def receives(self) -> bool:
        """Whether its sender wants to hear the other side."""
        return self.media.port > 0 and self.direction in ("sendrecv", "recvonly") and not self.held

    @property
    def held(self) -> bool:
        """Whether the address is the old sign for hold."""
        return self.media.host in ("0.0.0.0", "::")


@dataclass(frozen=True)
class Message:
    """One message. `code` is 0 for a request; `method` is that of CSeq."""

    t: float
    source: Endpoint
    target: Endpoint
    transport: str
    first: str
    call_id: str
    method: str = ""
    code: int = 0
    sequence: int = 0
    branch: str = ""
    from_tag: str = ""
    to_tag: str = ""
    caller: str = ""
    """User of From."""
    called: str = ""
    """User of To."""
    contact: str = ""
    """Host of Contact."""
    sdp: Sdp | None = None
    cause: int = 0
    """Q.850 cause of the Reason header."""
    reason: str = ""
    """Text of the Reason or Warning header."""
    authorized: bool = False
    """Whether it brings credentials."""
    size: int = 0
    digest: bytes = b""
    """Tells whether two messages are the same, byte for byte."""
    malformed: str = ""
    """Why it is no SIP message, though it looks like one."""

    @property
    def request(self) -> bool:
        """Whether it is a request."""
        return self.code == 0


def read(t: float, source: Endpoint, target: Endpoint, transport: str, data: bytes) -> Message | None:
    """The message, or what can be told of a malformed one; None when it has no Call-ID to sort it by."""
    first = data.lstrip(b"\r\n").split(b"\r\n", 1)[0].decode(errors="replace")
    digest = hashlib.blake2b(data, digest_size=12).digest()
    try:
        parsed = parse(data.lstrip(b"\r\n"))
    except Malformed as error:
        found = _CALL_ID.search(data.decode(errors="replace"))
        if not found:
            return None
        code = int(first[8:11]) if first.startswith("SIP/2.0 ") and first[8:11].isdecimal() else 0
        method = "" if code else first.partition(" ")[0]
        return Message(
            t, source, target, transport, first, found[1], method, code,
            size=len(data), digest=digest, malformed=str(error),
        )  # fmt: skip
    headers = parsed.headers
    reason = " ".join(headers.getlist("Reason"))
    cause = _CAUSE.search(reason)
    return Message(
        t,
        source,
        target,
        transport,
        first,
        parsed.call_id,
        parsed.sequence_method,
        0 if isinstance(parsed, Request) else parsed.code,
        parsed.sequence,
        parsed.via.parameters.get("branch") or "",
        parsed.from_tag,
        parsed.to_tag,
        _user(headers["From"]),
        _user(headers["To"]),
        _host(headers.get("Contact") or ""),
        sdp_of(parsed.body) if parsed.content_type == "application/sdp" else None,
        int(cause[1]) if cause else 0,
        (reason or " ".join(headers.getlist("Warning")))[:200],
        bool(headers.get("Authorization") or headers.get("Proxy-Authorization")),
        len(data),
        digest,
    )


def sdp_of(body: bytes) -> Sdp | None:
    """The first audio stream of a body; None when there is none, or the body is no SDP."""
    lines = [line.strip() for line in body.decode(errors="replace").splitlines()]
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    for number, start in enumerate(starts):
        words = lines[start][2:].split()
        if len(words) < 4 or words[0] != "audio" or not words[1].split("/")[0].isdecimal():
            continue
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        return _audio(lines[: starts[0]], lines[start:end], words)
    return None


def _audio(session: list[str], media: list[str], words: list[str]) -> Sdp:
    payloads = {
        int(word): _STATIC[int(word)] for word in words[3:] if word.isdecimal() and int(word) in _STATIC
    }
    for line in media:
        if (found := _RTPMAP.match(line)) and found[1] in words[3:]:
            payloads[int(found[1])] = (found[2].upper(), int(found[3]) or 8000)
    order = [payloads[int(word)][0] for word in words[3:] if word.isdecimal() and int(word) in payloads]
    directions = [
        line[2:] for line in [*session, *media] if line.startswith("a=") and line[2:] in _DIRECTIONS
    ]
    addresses = [
        line.split()[2] for line in [*session, *media] if line.startswith("c=") and line.count(" ") > 1
    ]
    return Sdp(
        Endpoint(addresses[-1].split("/")[0] if addresses else "", int(words[1].split("/")[0])),
        tuple(dict.fromkeys(name for name in order if name not in NOT_SPEECH)),
        payloads,
        directions[-1] if directions else "sendrecv",
        words[2],
    )


def _user(value: str) -> str:
    uri = uri_of(value)
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":
        return rest.split(";")[0]
    return rest.partition("@")[0].split(";")[0] if "@" in rest else ""


def _host(value: str) -> str:
    found = _HOST.search(value)
    return found[1].strip("[]") if found else ""
