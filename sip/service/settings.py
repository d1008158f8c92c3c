"""Settings of the SIP service: one frozen value, all problems of one reading in one error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sip.errors import ConfigurationError


@dataclass(frozen=True)
class Settings:
    """What `sip serve` needs to know. Times are seconds."""

    livekit_url: str
    api_key: str
    api_secret: str
    redis_url: str
    host: str = "127.0.0.1"
    port: int = 5060
    """UDP and TCP; 0: any free port."""
    advertise: str = ""
    """Address that carriers reach us under, where it is not `host` (behind a NAT); in SIP and in SDP."""
    rtp_ports: tuple[int, int] = (10_000, 20_000)
    """First and last UDP port for audio on `host`; unused while that is 127.0.0.1."""
    media_processes: int = 1
    max_calls: int = 100
    """More inbound calls get 503, more outbound ones `resource_exhausted`."""
    records: Path | None = None
    """Directory of call records; None: none are written."""
    drain_timeout: float = 30.0
    """Time for calls to end by themselves when the service stops; then they are hung up."""
    invite_rate: float = 50.0
    """INVITEs a second from one source address, with bursts of twice as many; 0: no limit."""
    alone_timeout: float = 10.0
    """Time until a caller who is alone in the room after the answer is hung up; 0: never."""
    registrations: Path | None = None
    """File whose `registrations:` section names the extensions to register; None: none."""

    def __repr__(self) -> str:
        return f"Settings(livekit_url={self.livekit_url!r}, host={self.host!r}, port={self.port})"


NAMES = {
    "livekit_url": "LIVEKIT_URL",
    "api_key": "LIVEKIT_API_KEY",
    "api_secret": "LIVEKIT_API_SECRET",
    "redis_url": "REDIS_URL",
    "host": "SIP_HOST",
    "port": "SIP_PORT",
    "advertise": "SIP_ADVERTISE",
    "rtp_ports": "SIP_RTP_PORTS",
    "media_processes": "SIP_MEDIA_PROCESSES",
    "max_calls": "SIP_MAX_CALLS",
    "records": "CALL_RECORDS_DIR",
    "drain_timeout": "SIP_DRAIN_TIMEOUT",
    "invite_rate": "SIP_INVITE_RATE",
    "alone_timeout": "SIP_ALONE_TIMEOUT",
    "registrations": "SIP_REGISTRATIONS",
}
"""Setting → environment variable."""

_REQUIRED = {
    "livekit_url": "the address of livekit-server, such as ws://127.0.0.1:7880",
    "api_key": "a key of livekit-server",
    "api_secret": "the secret of that key",
    "redis_url": "the store that livekit-server uses, such as redis://127.0.0.1:6379",
}
_SCHEMES = {"livekit_url": ("ws", "wss", "http", "https"), "redis_url": ("redis", "rediss", "unix")}
_WHOLE = {"port": (0, 65_535), "media_processes": (1, 64), "max_calls": (1, 100_000)}
_TIMES = ("drain_timeout", "invite_rate", "alone_timeout")
_ADDRESS = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


def read(environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Settings from flags (None: not given), the environment, then defaults. Raises `ConfigurationError`."""
    values: dict[str, object] = {}
    for name, variable in NAMES.items():
        value = flags.get(name)
        if value is None and environment.get(variable, "").strip():
            value = environment[variable].strip()
        if value is not None:
            values[name] = value
    problems = [*_missing(values), *_malformed(values)]
    if problems:
        raise ConfigurationError("the SIP service cannot start", "; ".join(problems), "See .env.example.")
    if "livekit_url" in values:
        values["livekit_url"] = str(values["livekit_url"])
    return Settings(**values)  # type: ignore[arg-type]  # checked and converted above


def _missing(values: dict[str, object]) -> list[str]:
    return [
        f"{NAMES[name]} is not set ({meaning})" for name, meaning in _REQUIRED.items() if not values.get(name)
    ]


def _malformed(values: dict[str, object]) -> list[str]:
    """Problems; converts what is well-formed in place."""
    problems: list[str] = []
    for name, schemes in _SCHEMES.items():
        if (value := values.get(name)) and urlsplit(str(value)).scheme not in schemes:
            problems.append(f"{NAMES[name]} must start with one of {', '.join(f'{s}://' for s in schemes)}")
    for name, (low, high) in _WHOLE.items():
        if name in values:
            text = str(values[name])
            if text.isdecimal() and low <= int(text) <= high:
                values[name] = int(text)
            else:
                problems.append(f"{NAMES[name]} must be a whole number from {low} to {high}, not {text!r}")
    for name in _TIMES:
        if name in values:
            try:
                values[name] = _not_negative(str(values[name]))
            except ValueError:
                problems.append(f"{NAMES[name]} must be a number of at least 0, not {str(values[name])!r}")
    if "rtp_ports" in values:
        text = str(values["rtp_ports"])
        low, _, high = text.partition("-")
        if low.isdecimal() and high.isdecimal() and int(low) >= 1024 and int(low) + 3 <= int(high) <= 65_535:
            values["rtp_ports"] = (int(low), int(high))
        else:
            what = "must be a range of UDP ports such as 10000-20000, two for each call"
            problems.append(f"{NAMES['rtp_ports']} {what}, not {text!r}")
    if (advertised := values.get("advertise")) and not _ADDRESS.fullmatch(str(advertised)):
        problems.append(f"{NAMES['advertise']} must be an IP address or a host name, not {str(advertised)!r}")
    if "registrations" in values:
        values["registrations"] = Path(str(values["registrations"])).expanduser()
    if "records" in values:
        path = Path(str(values["records"])).expanduser()
        values["records"] = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(f"{NAMES['records']} cannot be made: {error.strerror}")
    return problems


def _not_negative(text: str) -> float:
    """Raises `ValueError` for anything but a number of at least 0 that is not infinite."""
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value
