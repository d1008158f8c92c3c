"""Addresses: whom the SIP service can be reached by, and what its SDP says."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from sip.address import private
from sip.doctor import options
from sip.doctor.context import CannotRun, Context
from sip.doctor.service import split
from sip.errors import SipError
from sip.finding import Finding
from sip.model import State

RECORDS = 20
"""Calls of which the records are looked at, newest first."""


async def addresses(context: Context) -> Sequence[Finding]:
    """The service's address against whom the trunks expect; the SDP of calls that were."""
    state = await context.state()
    found: list[Finding] = []
    ours = context.sip_address or (context.stack.sip_address if context.stack else "") or context.serves
    outside = list(_outside(state))
    if ours:
        host, port = split(ours)
        try:
            resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            host = str(resolved[0][4][0])
        except socket.gaierror:
            raise CannotRun(f"{host} has no address") from None
        found += find_mismatch(host, outside, advertised=context.settings.get("SIP_ADVERTISE", ""))
        answer = await options.ask(host, port)
        if answer and private(answer.contact) and not private(host):
            found.append(
                Finding(
                    "private-contact",
                    "error",
                    f"The service answers at {host} and calls itself {answer.contact}, a private address:"
                    " what is sent there (ACK, BYE, audio) is lost.",
                    "use_external_ip: true or nat_1_to_1_ip for livekit-sip; SIP_ADVERTISE for sip serve",
                    host,
                )
            )
    records = _records(context)
    if records is not None:
        found += await asyncio.to_thread(lambda: list(recorded(records)))
    if not ours and not found:
        raise CannotRun("where the SIP service listens is not known: give --sip HOST[:PORT]")
    return found


def find_mismatch(host: str, outside: list[str], *, advertised: str = "") -> Iterator[Finding]:
    """A service that only its own network reaches, with trunks to the world outside it."""
    if not outside or not private(host) or (advertised and not private(advertised)):
        return
    listed = ", ".join(dict.fromkeys(outside))
    if ipaddress.ip_address(host).is_loopback:
        yield Finding(
            "loopback-only",
            "warning",
            f"The SIP service listens on {host}, which only this machine reaches, and its SDP says the same."
            f" Trunks with far ends outside ({listed}) carry no calls through it.",
            "livekit-sip or LiveKit Cloud carries calls of the outside world; sip serve is for this machine",
            host,
        )
    else:
        yield Finding(
            "private-address",
            "warning",
            f"The SIP service is at {host}, a private address, and there are far ends outside ({listed}):"
            " its SDP must say the public one, and the router must forward SIP and RTP ports.",
            "use_external_ip: true or nat_1_to_1_ip for livekit-sip; SIP_ADVERTISE for sip serve",
            host,
        )


def recorded(records: Path) -> Iterator[Finding]:
    """Private addresses in the SDP of the last calls with far ends outside, by the service's own records."""
    from sip.trace import read

    ladders = sorted(records.glob("*.ladder.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    told: set[str] = set()
    for path in ladders[:RECORDS]:
        try:
            trace = read(path)
        except SipError:
            continue
        for findings in trace.findings.values():
            for each in findings:
                if each.name == "private-address-in-sdp" and each.subject not in told:
                    told.add(each.subject)
                    yield Finding(
                        each.name, "error", f"In the last calls: {each.what}", each.mend, each.subject
                    )


def _outside(state: State) -> Iterator[str]:
    """Trunks whose far end is no private address."""
    for trunk in state.outbound:
        host = trunk.address.rpartition(":")[0] or trunk.address
        if host and not private(host.strip("[]")) and host != "localhost":
            yield trunk.name or trunk.id
    for trunk in state.inbound:
        for address in trunk.allowed_addresses:
            if not private(address.partition("/")[0]) and not address.startswith("0.0.0.0"):
                yield trunk.name or trunk.id


def _records(context: Context) -> Path | None:
    given = context.settings.get("CALL_RECORDS_DIR", "")
    path = Path(context.stack.directory) / "records" if context.stack else Path(given) if given else None
    return path if path is not None and path.is_dir() else None
