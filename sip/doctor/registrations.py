"""Extensions of a PBX: does the service of this machine register them, and does the PBX take them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sip import registered
from sip.doctor.context import CannotRun, Context
from sip.errors import ConfigurationError
from sip.finding import Finding
from sip.registered import Registered
from sip.wanted import desired


async def registrations(context: Context) -> Sequence[Finding]:
    """Registrations of the file that the service reads (else of `trunks.yaml`), and what it tells of them."""
    named = context.settings.get("SIP_REGISTRATIONS")
    file = context.directory / (named or "trunks.yaml")
    names = _wanted(file, context) if file.exists() else []
    address = (context.stack.sip_address if context.stack else "") or context.serves
    states = registered.load(address) if address else None
    if states is None and names is None:
        raise CannotRun(f"{file.name} cannot be read: `sip plan` says why")
    if states is None and not names:
        raise CannotRun("no extension of a PBX is to be registered")
    if not address and names:
        where = "LiveKit Cloud registers nowhere" if context.target.cloud else "livekit-sip registers nowhere"
        text = f"{file.name} wants to register {', '.join(names)}, and {where}; `sip serve` does."
        return [Finding("registration-not-served", "warning", text, "Let the PBX send its calls to a trunk")]
    return list(find(names or (), states, file.name, time.time()))


def find(
    names: Sequence[str], states: Sequence[Registered] | None, file: str, now: float
) -> Iterator[Finding]:
    """What is wrong with each of them; `states` None: the service tells of none."""
    told = {state.name: state for state in states or ()}
    if missing := [name for name in names if name not in told]:
        text = f"{file} wants to register {', '.join(missing)}, and the SIP service here does not."
        mend = (
            "Restart `sip serve`: it reads the file when it starts"
            if told
            else f"sip serve --registrations {file} (the local stack: sip stack up --registrations {file})"
        )
        yield Finding("registration-not-served", "warning", text, mend)
    for state in told.values():
        code = f" ({state.code})" if state.code else ""
        if state.status == "refused":
            text = f"The extension is not registered: {state.reason}{code}. The PBX sends it no calls."
            yield Finding("registration-refused", "error", text, state.mend, state.name)
        elif state.status == "lost" and state.until > now:
            text = (
                f"The last refresh failed: {state.reason}{code}. The PBX forgets the extension in"
                f" {state.until - now:.0f} s."
            )
            yield Finding("registration-failing", "warning", text, state.mend, state.name)
        elif state.status == "lost":
            text = f"The extension is not registered: {state.reason}{code}. The PBX sends it no calls."
            yield Finding("registration-lost", "error", text, state.mend, state.name)
        elif state.status == "trying":
            text = "The registrar has not answered yet."
            yield Finding("registration-trying", "info", text, "", state.name)
        elif state.behind_nat:
            text = "The registrar sees the service at another address than it names: calls may not find it."
            mend = "Set SIP_ADVERTISE to the address that the registrar sees"
            yield Finding("registration-nat", "warning", text, mend, state.name)


def _wanted(file: Path, context: Context) -> list[str] | None:
    try:
        state = desired.read(file, context.settings, invalid=True).state
    except ConfigurationError:
        return None
    return [registration.name for registration in state.registrations]
