"""SIP messages: parsing that trusts nobody, and building. RFC 3261 sections 7, 18.3, 20, 25.

`sipmessage` checks the grammar; what goes over the wire keeps the far end's own spelling (tags, URIs,
parameters), because the far end compares it with what it sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import sipmessage

from sip import codes

Headers = sipmessage.message.Headers
Pairs = Iterable[tuple[str, str]]

MAX_MESSAGE = 65_535
"""Bytes of one message, over either transport."""
MAX_HEADERS = 128
MAX_LINE = 8_192
"""Characters of one header, unfolded."""

_ALWAYS = ("Via", "From", "To", "Call-ID", "CSeq")
_COMPACT = sipmessage.message.COMPACT_FORMS
_TAG = re.compile(r";\s*tag\s*=\s*([^;\s,>]+)", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_FOLD = re.compile(rb"\r\n[ \t]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


class Malformed(ValueError):
    """What arrived is no SIP message. `answer` is the response that its sender can be told, if it can be."""

    def __init__(self, reason: str, answer: Response | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class _TooLarge(ValueError):
    """More than we take."""


@dataclass
class _Message:
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def call_id(self) -> str:
        return self.headers["Call-ID"]

    @property
    def sequence(self) -> int:
        """Number of the CSeq header."""
        return int(self.headers["CSeq"].split()[0])

    @property
    def sequence_method(self) -> str:
        """Method of the CSeq header."""
        return self.headers["CSeq"].split()[1]

    @property
    def from_tag(self) -> str:
        return tag_of(self.headers["From"])

    @property
    def to_tag(self) -> str:
        """Tag of the To header; empty outside a dialog."""
        return tag_of(self.headers["To"])

    @property
    def via(self) -> sipmessage.Via:
        """The topmost Via."""
        return sipmessage.Via.parse(self.top_via)

    @property
    def top_via(self) -> str:
        """The topmost Via, as it stands in the message."""
        return split_list(self.headers["Via"])[0]

    @property
    def content_type(self) -> str:
        """`application/sdp`, lower case and without parameters; empty without a body."""
        return (self.headers.get("Content-Type") or "").split(";")[0].strip().lower()

    def tokens(self, name: str) -> set[str]:
        """The lower-case tokens of a list header such as Supported, over all its lines."""
        values = self.headers.getlist(name)
        return {token.strip().lower() for value in values for token in value.split(",") if token.strip()}

    def items(self, name: str) -> list[str]:
        """The values of a list header such as Record-Route, one item each, in order."""
        return [item for value in self.headers.getlist(name) for item in split_list(value)]


@dataclass
class Request(_Message):
    """A request; `uri` is the request URI as it stands on the wire."""

    method: str = ""
    uri: str = ""

    def encode(self) -> bytes:
        """The message as bytes, with its Content-Length."""
        return _encode(f"{self.method} {self.uri} SIP/2.0", self)


@dataclass
class Response(_Message):
    """A response."""

    code: int = 0
    phrase: str = ""
    received: bool = True
    """False for what our own transaction makes of silence (408) or an unreachable peer (503)."""

    def encode(self) -> bytes:
        """The message as bytes, with its Content-Length."""
        return _encode(f"SIP/2.0 {self.code} {self.phrase}", self)


def parse(data: bytes) -> Request | Response:
    """One whole message. Raises `Malformed`.

    A body longer than Content-Length is cut (RFC 3261 18.3), a shorter one is malformed.
    """
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise Malformed(
            "no empty line after the headers", _salvage(data, 513 if len(data) > MAX_MESSAGE else 400)
        )
    lines = _lines(head, data)
    try:
        parsed = sipmessage.Message.parse("\r\n".join(lines).encode() + b"\r\n\r\n")
        message = _typed(parsed, lines[0], body)
        _check(message)
    except (ValueError, KeyError, IndexError) as error:
        code = 416 if _foreign_scheme(lines[0]) else 513 if isinstance(error, _TooLarge) else 400
        raise Malformed(str(error) or type(error).__name__, _salvage(data, code)) from error
    return message


def respond(
    request: Request, code: int, phrase: str = "", *, tag: str = "", headers: Pairs = (), body: bytes = b""
) -> Response:
    """A response to `request` (RFC 3261 8.2.6); `tag` completes the To header unless it has one."""
    response = Response(code=code, phrase=phrase or codes.phrase(code), body=body)
    for name in ("Via", *(("Record-Route",) if 100 < code < 300 else ()), "From", "To", "Call-ID", "CSeq"):
        for value in request.headers.getlist(name):
            response.headers.add(name, value)
    if tag and not request.to_tag and code > 100:
        response.headers.set("To", f"{request.headers['To']};tag={tag}")
    set_all(response, headers)
    return response


def set_all(message: Request | Response, headers: Pairs) -> None:
    """Add headers; what could break out of its line is made harmless."""
    for name, value in headers:
        if _TOKEN.fullmatch(name):
            message.headers.add(name, " ".join(value.split()))


def mark_source(request: Request, host: str, port: int) -> None:
    """Write `received` and `rport` into the topmost Via (RFC 3261 18.2.1, RFC 3581)."""
    values = request.items("Via")
    top = values[0]
    if request.via.host.strip("[]") != host or _RPORT.search(top):
        top = f"{_RECEIVED.sub('', top)};received={host}"
    values[0] = _RPORT.sub(f";rport={port}", top)
    request.headers.setlist("Via", values)


_RPORT = re.compile(r";\s*rport(?:\s*=\s*\d*)?(?=\s*(?:;|$))", re.IGNORECASE)
_RECEIVED = re.compile(r";\s*received\s*=\s*[^;]+", re.IGNORECASE)


def tag_of(value: str) -> str:
    """The tag of a From or To header; empty when it has none."""
    found = _TAG.search(value[value.rfind(">") + 1 :])
    return found.group(1) if found else ""


def uri_of(value: str) -> str:
    """The URI of a From, To, Contact, Route or Refer-To header, as it is spelt."""
    start = _bracket(value)
    if start >= 0:
        return value[start + 1 : value.index(">", start)].strip()
    return value.split(";")[0].strip()


def address_of(value: str) -> sipmessage.Address:
    """Display name, URI and parameters of a From, To or Contact header. Raises `ValueError`."""
    return sipmessage.Address.parse(value)


def split_list(value: str) -> list[str]:
    """Items of a comma-separated header; commas in quotes and in angle brackets separate nothing."""
    items, start, quoted, angled = list[str](), 0, False, False
    for index, character in enumerate(value):
        if character == '"' and value[index - 1 : index] != "\\":
            quoted = not quoted
        elif not quoted and character in "<>":
            angled = character == "<"
        elif character == "," and not quoted and not angled:
            items.append(value[start:index].strip())
            start = index + 1
    items.append(value[start:].strip())
    return items


def quote_name(name: str) -> str:
    """A display name as a quoted string."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _bracket(value: str) -> int:
    """Where the `<` of a name-addr stands; -1 for an addr-spec. A quoted name may hold one, too."""
    quoted = False
    for index, character in enumerate(value):
        if character == '"' and value[index - 1 : index] != "\\":
            quoted = not quoted
        elif character == "<" and not quoted:
            return index
    return -1


def _encode(first: str, message: Request | Response) -> bytes:
    message.headers.set("Content-Length", str(len(message.body)))
    return f"{first}\r\n{message.headers}".encode() + message.body


def _lines(head: bytes, data: bytes) -> list[str]:
    """First line and headers, unfolded, names in their long form."""
    try:
        lines = _FOLD.sub(b" ", head.lstrip(b"\r\n")).decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise Malformed("headers are not UTF-8", _salvage(data)) from error
    if len(lines) > MAX_HEADERS + 1 or max(map(len, lines)) > MAX_LINE:
        raise Malformed("too many or too long headers", _salvage(data, 513))
    return [lines[0], *(_named(line) for line in lines[1:])]


def _named(line: str) -> str:
    name, colon, value = line.partition(":")
    name = name.rstrip()
    return f"{_COMPACT.get(name.lower(), name)}{colon}{value}"


def _typed(
    parsed: sipmessage.Request | sipmessage.Response, first_line: str, body: bytes
) -> Request | Response:
    length = parsed.headers.get("Content-Length")
    if length is not None:
        if length.isdecimal() and int(length[:12]) > MAX_MESSAGE - len(first_line):
            raise _TooLarge("the body is too large")
        if not length.isdecimal() or int(length) > len(body):
            raise ValueError("Content-Length is not the length of the body")
        body = body[: int(length)]
    if isinstance(parsed, sipmessage.Request):
        return Request(parsed.headers, body, parsed.method, first_line.split(" ")[1])
    return Response(parsed.headers, body, parsed.code, parsed.phrase)


def _check(message: Request | Response) -> None:
    for name in _ALWAYS:
        values = message.headers.getlist(name)
        if not values or (name != "Via" and len(values) > 1):
            raise ValueError(f"needs exactly one {name}" if name != "Via" else "needs a Via")
    sequence = sipmessage.CSeq.parse(message.headers["CSeq"])
    if sequence.sequence >= 2**31:
        raise ValueError("CSeq is out of range")
    if isinstance(message, Request) and sequence.method != message.method:
        raise ValueError("CSeq names another method")
    if isinstance(message, Response) and not 100 <= message.code < 700:
        raise ValueError("no such status code")
    address_of(message.headers["From"])
    address_of(message.headers["To"])
    _ = message.via
    forwards = message.headers.get("Max-Forwards")
    if forwards is not None and not (forwards.isdecimal() and int(forwards) <= 255):
        raise ValueError("Max-Forwards is not a number")


def _foreign_scheme(first_line: str) -> bool:
    parts = first_line.split(" ")
    return (
        len(parts) == 3
        and bool(_SCHEME.match(parts[1]))
        and not parts[1].lower().startswith(("sip:", "sips:", "tel:"))
    )


def _salvage(data: bytes, code: int = 400) -> Response | None:
    """The answer to a request too broken to parse, if what an answer needs can still be read."""
    lines = _FOLD.sub(b" ", data[:MAX_MESSAGE]).split(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")
    start = lines[0].split(" ")
    if (
        len(start) < 2
        or not lines[0].endswith(" SIP/2.0")
        or not _TOKEN.fullmatch(start[0])
        or start[0] == "ACK"
    ):
        return None
    response = Response(code=code, phrase=codes.phrase(code))
    for line in lines[1 : MAX_HEADERS + 1]:
        name, colon, value = _named(line).partition(":")
        known = next((known for known in _ALWAYS if colon and known.lower() == name.lower()), None)
        if known and (known == "Via" or response.headers.get(known) is None):
            response.headers.add(known, value.strip()[:MAX_LINE])
    if any(response.headers.get(name) is None for name in _ALWAYS):
        return None
    try:
        _ = response.via
    except ValueError:
        return None
    if not response.to_tag:
        response.headers.set("To", f"{response.headers['To']};tag=malformed")
    return response
