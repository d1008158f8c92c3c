"""One call through the whole path. The caller is another package's: it registers under `sip.doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from sip import advice, codes
from sip.doctor.context import CannotRun, Context
from sip.finding import Finding, sentence

GROUP, NAME = "sip.doctor", "caller"


@dataclass(frozen=True)
class Placed:
    """What the caller saw and heard. Times are seconds."""

    code: int
    """Final SIP code of the INVITE; 0: nobody answered it at all."""
    reason: str
    answered: float | None
    """From the INVITE to the 200."""
    spoke: float | None
    """From the 200 to the first word of the agent; None: it said nothing."""


Caller = Callable[[str, str], Awaitable[Placed]]
"""`await caller(number, "host:port")` calls, waits for the agent's voice, and hangs up."""


async def place(context: Context) -> Sequence[Finding]:
    """Call a number at the SIP service, and wait for the agent to speak."""
    address = context.sip_address or (context.stack.sip_address if context.stack else "")
    if not address:
        raise CannotRun("where the SIP service listens is not known: give --sip HOST[:PORT]")
    number = context.number or (context.stack.numbers[0] if context.stack else "")
    if not number:
        trunks = (await context.state()).inbound
        number = next((each for trunk in trunks for each in trunk.numbers), "")
    if not number:
        raise CannotRun("no number is known that could be called: give --to NUMBER")
    found = list(entry_points(group=GROUP, name=NAME))
    if not found:
        raise CannotRun("no caller is installed (extra `lab`)")
    caller: Caller = found[0].load()
    return judge(await caller(number, address), address)


def judge(call: Placed, address: str) -> list[Finding]:
    """What a call that was placed says about the system."""
    if call.answered is None:
        if not call.code:
            text = f"Nobody answered the INVITE at {address}."
            return [Finding("test-call-silent", "error", text, f"sip doctor --sip {address}", address)]
        if call.code == 408:
            text = "The test call rang, and nobody answered: no agent came, or it published no audio."
            return [Finding("test-call-rang", "error", text, "sip stack logs agent; see `agents` above")]
        text = (
            f"The test call was refused with {call.code} {call.reason or codes.phrase(call.code)}:"
            f" {codes.meaning(call.code)}."
        )
        told = advice.explain(call.code)
        mend = f"{sentence(told.advice.mend if told else '')} More: sip code {call.code}".strip()
        return [Finding("test-call-refused", "error", text, mend)]
    if call.spoke is None:
        text = f"The test call was answered after {call.answered:.1f} s, and the agent said nothing."
        return [Finding("test-call-mute", "error", text, "sip stack logs agent; see `providers` above")]
    text = f"Answered after {call.answered:.2f} s; the agent spoke {call.spoke:.2f} s later."
    return [Finding("test-call-times", "info", text)]
