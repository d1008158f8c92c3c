"""What is wrong with single values of trunks and rules (address, number, header, codec), and the mend."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from sip.checks.problem import Problem
from sip.model import Media

KNOWN_CODECS = ("PCMU", "PCMA", "G722", "AMR-WB", "telephone-event")
"""What livekit-sip 1.11 can carry (AMR-WB only where it is listed)."""
MAX_MEDIA_TIMEOUT = 600.0
"""Seconds; livekit-server refuses more."""
OWN_HEADERS = frozenset(
    [
        "accept", "accept-encoding", "accept-language", "allow", "allow-events", "call-id", "contact",
        "content-encoding", "content-length", "content-type", "cseq", "event", "expires", "from",
        "max-forwards", "record-route", "refer-to", "reply-to", "to", "via",
        "k", "l", "m", "o", "r", "t", "u", "v",
    ]
)  # fmt: skip
"""Headers that SIP itself needs, short forms included: a trunk cannot set them (livekit-server's list, and
`To` and `Via`, which it takes and which break the message)."""

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_PHONE = re.compile(r"\+?[\d\- ().]+")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?")


def host_and_port(field: str, address: str, *, required: bool = False) -> Iterator[Problem]:
    """Problems of `HOST[:PORT]`: the address of a trunk or registrar, without scheme and parameters."""
    if not address.strip():
        if required:
            yield Problem(field, "it is missing", "Give HOST or HOST:PORT, such as sip.carrier.example")
        return
    bare = re.sub(r"^sips?:(//)?", "", address.strip(), flags=re.IGNORECASE)
    bare = bare.rpartition("@")[2].partition(";")[0].partition("?")[0].rstrip("/")
    transport = re.search(r"transport=(\w+)", address, re.IGNORECASE)
    if transport:
        yield Problem(
            field,
            "it holds a transport parameter, which the server refuses",
            f"Write {bare}, and set transport to {transport[1].lower()}",
        )
    elif bare != address:
        yield Problem(field, f"{address!r} is no HOST or HOST:PORT", f"Write {bare}")
    else:
        yield from _host(field, address)


def _host(field: str, address: str) -> Iterator[Problem]:
    host, port = address, ""
    if match := re.fullmatch(r"(\[[^\]]*\])(?::(.*))?", address):
        host, port = match[1][1:-1], match[2] or ""
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            yield Problem(field, f"{address!r} is no address", "Write HOST or HOST:PORT")
    elif re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            yield Problem(
                field, f"{host} is no IP address", "Give four numbers from 0 to 255, or a host name"
            )
    elif not _HOST.fullmatch(host):
        yield Problem(field, f"{address!r} is no host name", "Write HOST or HOST:PORT")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        yield Problem(field, f"{port!r} is no port", "Use one from 1 to 65535; 5060 is the usual one")


def allowed_address(address: str) -> Iterator[Problem]:
    """One entry of a trunk's `allowed_addresses`."""
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError:
        reason = f"{address!r} is no IP address and no CIDR network"
        if re.search(r"[()+*;, \t\r\n]|://", address):
            reason += "; the server drops it without a word, and lets everybody in when none is left"
        yield Problem("allowed_addresses", reason, _address_mend(address))
        return
    if is_everybody(address):
        yield Problem(
            "allowed_addresses", f"{address} is every address", "Name your carrier's addresses", "warning"
        )


def is_everybody(address: str) -> bool:
    """Whether it is the network of all addresses."""
    try:
        return ipaddress.ip_network(address, strict=False).prefixlen == 0
    except ValueError:
        return False


def _address_mend(address: str) -> str:
    """What was probably meant."""
    text = address.strip().strip("[]")
    pieces = [piece for piece in re.split(r"[,;\s]+", text) if piece]
    if len(pieces) > 1 and all(map(_is_network, pieces)):
        return f"Give each its own entry: {', '.join(pieces)}"
    bare = re.sub(r"^\w+:(//)?", "", text)
    bare = bare.rpartition("@")[2].partition(";")[0]
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    if bare != address and _is_network(bare):
        return f"Write {bare}: addresses stand without scheme and port"
    if match := re.fullmatch(r"([\d.]+)\s*-\s*([\d.]+)", text):
        try:
            first, last = map(ipaddress.IPv4Address, match.groups())
            networks = [str(network) for network in ipaddress.summarize_address_range(first, last)]
        except (ValueError, TypeError):
            networks = []
        if networks and len(networks) <= 16:
            return f"Write the range as networks: {', '.join(networks)}"
    if match := re.fullmatch(r"(\d+(?:\.\d+){0,2})(?:\.\*)+", text):
        numbers = match[1].split(".")
        network = ".".join(numbers + ["0"] * (4 - len(numbers))) + f"/{8 * len(numbers)}"
        if _is_network(network):
            return f"Write {network}"
    if re.search(r"[A-Za-z]", text) and _HOST.fullmatch(bare):
        return "A host name is compared with what the caller writes into From; give its IP addresses"
    return "Write 203.0.113.7 or 203.0.113.0/24"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def number(field: str, text: str, *, exact: bool = False) -> Iterator[Problem]:
    """A phone number or extension. Rules compare it `exact`ly, trunks forgive blanks, dashes and no `+`."""
    stripped = text.strip()
    if not stripped:
        yield Problem(field, "an entry is empty", "Remove it, or write a number such as +15550100")
        return
    if re.search(r"^(sips?|tel):|[@<>;]", stripped, re.IGNORECASE):
        user = re.sub(r"^<?(sips?|tel):", "", stripped, flags=re.IGNORECASE).partition("@")[0]
        yield Problem(field, f"{text!r} is an address, not a number", f"Write {user.strip('<>;')}")
        return
    if "," in stripped:
        yield Problem(field, f"{text!r} holds several numbers", "Give each its own entry")
        return
    if not _PHONE.fullmatch(stripped):
        if re.search(r"\s", stripped):
            yield Problem(field, f"{text!r} holds a blank", "No number or SIP user has one")
        return
    digits = re.sub(r"\D", "", stripped)
    e164 = stripped.startswith("+")
    if exact and (digits if not e164 else f"+{digits}") != text:
        yield Problem(
            field,
            f"{text!r} never matches: rules compare numbers letter for letter",
            f"Write {'+' if e164 else ''}{digits}",
        )
    elif not e164 and len(digits) > 6:
        whole = digits.removeprefix("00") if digits.startswith("00") else digits
        example = (
            f"+{whole}"
            if digits.startswith("00") or len(digits) > 10
            else f"+<country code>{digits.lstrip('0')}"
        )
        yield Problem(
            field,
            f"{text!r} does not begin with `+`, and most carriers send and want numbers that do",
            f"If it is a public number, write {example}",
            "warning",
        )
    elif e164 and len(digits) > 15:
        yield Problem(
            field, f"{text!r} is longer than the 15 digits of a phone number", "Check it", "warning"
        )


def twice(field: str, values: tuple[str, ...]) -> Iterator[Problem]:
    """Entries that a list holds twice."""
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield Problem(field, f"{value!r} stands there twice", "Remove one", "warning")


def header_name(field: str, name: str) -> Iterator[Problem]:
    """The name of a SIP header: a token of RFC 3261 section 25.1."""
    if not name:
        yield Problem(field, "a header has no name", "Give one such as X-Account")
    elif len(name) > 255:
        yield Problem(field, f"the name {name[:20]}… is longer than 255 characters", "Shorten it")
    elif not _TOKEN.fullmatch(name):
        mend = re.sub(r"[^A-Za-z0-9\-.!%*_+`'~]+", "-", name.strip().rstrip(":")).strip("-") or "X-Account"
        yield Problem(field, f"{name!r} is no header name", f"Write {mend}")


def media_values(media: Media) -> Iterator[Problem]:
    """Codecs and times of `media`."""
    for codec in media.codecs:
        name, slash, rate = codec.partition("/")
        if not name or re.search(r"\s", codec) or (slash and not (rate.isascii() and rate.isdigit())):
            yield Problem(
                "media.codecs", f"{codec!r} is no codec", "Write NAME or NAME/RATE, such as PCMU/8000"
            )
        elif name.upper() not in (known.upper() for known in KNOWN_CODECS):
            yield Problem(
                "media.codecs",
                f"the SIP service does not know {name}",
                f"It carries {', '.join(KNOWN_CODECS[:-1])}",
                "warning",
            )
    if media.only_listed_codecs and not media.codecs:
        yield Problem("media.codecs", "only listed codecs are allowed, and none is listed", "List one")
    yield from not_negative("media.media_timeout", media.media_timeout)
    if media.media_timeout > MAX_MEDIA_TIMEOUT:
        yield Problem(
            "media.media_timeout", "the server refuses more than ten minutes", "Use at most 600 seconds"
        )


def not_negative(field: str, value: float) -> Iterator[Problem]:
    """A time in seconds."""
    if not 0 <= value < 1e9:
        yield Problem(field, f"{value:g} s is no time", "Use seconds from 0; 0 is the server's default")
