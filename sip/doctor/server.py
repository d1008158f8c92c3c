"""The LiveKit server: does it answer, does it take the key, do the clocks agree, are certificates valid."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from sip.doctor.context import CannotRun, Context
from sip.errors import ApiError
from sip.finding import Finding

SKEW_WARNING, SKEW_ERROR = 10.0, 60.0
"""Seconds: a token made by a clock that is a minute off is refused (leeway of the server's JWT library)."""
EXPIRES = 14
"""Days before the end of a certificate from which it is worth a word."""


async def api(context: Context) -> Sequence[Finding]:
    """The API answers, takes the key, and lets it manage SIP."""
    try:
        await context.live.fetch()
    except ApiError as error:
        status = getattr(error.__cause__, "status", 0)  # of the HTTP answer
        name = "livekit-unreachable" if error.code == "unreachable" else "livekit-refuses"
        if status in (401, 403):
            name = "livekit-key-refused"
        what = f"{error.what}: {error.why}" if error.why else error.what
        return [Finding(name, "error", f"{what}. No call and no command works without it.", error.mend)]
    return []


async def clock(context: Context) -> Sequence[Finding]:
    """This machine's clock against the server's Date header (a second exact)."""
    url = (
        context.target.url.replace("ws", "http", 1)
        if context.target.url.startswith("ws")
        else context.target.url
    )
    before = time.time()
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            date = answer.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise CannotRun("the server does not answer") from None
    after = time.time()
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise CannotRun("the server sends no Date") from None
    # The header is cut to whole seconds: it was written between `theirs` and a second later.
    skew = max(before - (theirs + 1), theirs - after, 0.0)
    if skew < SKEW_WARNING:
        return []
    way = "ahead" if before > theirs else "behind"
    severity = "error" if skew >= SKEW_ERROR else "warning"
    return [
        Finding(
            "clock-skew",
            severity,
            f"This machine's clock is {skew:.0f} s {way} of the server's: tokens made here are refused as"
            " not yet valid or expired.",
            "timedatectl set-ntp true",
        )
    ]


async def certificates(context: Context) -> Sequence[Finding]:
    """The certificate of the server, and those of trunks that are reached over TLS."""
    places: list[tuple[str, str, int]] = []
    parts = urlsplit(context.target.url)
    if parts.scheme in ("wss", "https"):
        places.append(("LIVEKIT_URL", parts.hostname or "", parts.port or 443))
    try:
        outbound = (await context.state()).outbound
    except CannotRun:
        outbound = ()
    for trunk in outbound:
        if trunk.transport == "tls" and trunk.address:
            host, _, port = trunk.address.partition(":")
            places.append((f"trunk {trunk.name or trunk.id}", host, int(port or 5061)))
    if not places:
        raise CannotRun("nothing here is reached over TLS")
    found = await asyncio.gather(*(_certificate(*place) for place in places))
    return [finding for finding in found if finding]


async def _certificate(where: str, host: str, port: int) -> Finding | None:
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "tls-certificate-invalid",
            "error",
            f"The certificate of {host}:{port} ({where}) is not accepted: {error.verify_message}.",
            "Install a certificate for this host name with its whole chain, or use the name that it is for",
            where,
        )
    except ssl.SSLError as error:
        return Finding(
            "tls-failed", "error", f"{host}:{port} ({where}) does not speak TLS: {error.reason}.",
            "Check the port, or use a transport without TLS", where,
        )  # fmt: skip
    except socket.gaierror:
        return Finding("unknown-host", "error", f"{host} ({where}) has no address.", "Check the name", where)
    except (OSError, TimeoutError):
        return Finding(
            "tls-unreachable", "warning", f"{host}:{port} ({where}) cannot be reached from here.", "", where
        )
    try:
        raw = writer.get_extra_info("peercert") or {}
    finally:
        writer.close()
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(raw["notAfter"])), UTC)
    days = (end - datetime.now(UTC)).days
    if days >= EXPIRES:
        return None
    return Finding(
        "tls-certificate-expires",
        "warning",
        f"The certificate of {host}:{port} ({where}) ends in {days} days, on {end:%Y-%m-%d}.",
        "Renew it (certbot renew), and reload the server",
        where,
    )
