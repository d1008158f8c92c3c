"""Extensions of a PBX: does the service of this machine register them, and does the PBX take them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sip import registered
from sip.doctor.context import CannotRun, Context
from sip.errors import ConfigurationError
from sip.finding import Finding
from sip.model import Registration, State
from sip.registered import Registered
from sip.wanted import desired


async def registrations(context: Context) -> Sequence[Finding]:
    """Registrations of the file that the service reads (else of `trunks.yaml`), and what it tells of them."""
    file = context.directory / (context.settings.get("SIP_REGISTRATIONS") or "trunks.yaml")
    wanted = _wanted(file, context) if file.exists() else []
    address = (context.stack.sip_address if context.stack else "") or context.serves
    states = registered.load(address) if address else None
    if states is None and wanted is None:
        raise CannotRun(f"{file.name} cannot be read: `sip plan` says why")
    if states is None and not wanted:
        raise CannotRun("no extension of a PBX is to be registered")
    names = [each.name for each in wanted or ()]
    if not address:
        where = "LiveKit Cloud registers nowhere" if context.target.cloud else "livekit-sip registers nowhere"
        text = f"{file.name} wants to register {', '.join(names)}, and {where}; `sip serve` does."
        return [Finding("registration-not-served", "warning", text, "Let the PBX send its calls to a trunk")]
    found = list(find(names, states, file.name, time.time()))
    with contextlib.suppress(CannotRun):  # another check says that the API does not answer
        found += find_trunkless(wanted or (), await context.state())
    return found


def find_trunkless(wanted: Sequence[Registration], state: State) -> Iterator[Finding]:
    """Extensions whose calls come and are refused, since no inbound trunk takes them."""
    numbers = {number.removeprefix("+") for trunk in state.inbound for number in trunk.numbers}
    if any(not trunk.numbers for trunk in state.inbound):
        return
    for each in wanted:
        if each.username.removeprefix("+") not in numbers:
            text = "No inbound trunk takes calls for the extension: what the PBX sends is refused."
            mend = f"sip trunk inbound create --number {each.username} --allowed-address ADDRESS_OF_THE_PBX"
            yield Finding("registration-without-trunk", "warning", text, mend, each.name)


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


def _wanted(file: Path, context: Context) -> Sequence[Registration] | None:
    try:
        return desired.read(file, context.settings, invalid=True).state.registrations
    except ConfigurationError:
        return None
