"""What `sip plan` and `sip apply` do with a server: read it, plan against it, write to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sip.api import connect, live
from sip.api.live import Live
from sip.cli import output
from sip.errors import ApiError, SipError
from sip.model import State
from sip.plan.apply import Done, apply
from sip.plan.checked import checked_plan
from sip.plan.occupied import calls_by_trunk
from sip.plan.plan import Plan, strangers
from sip.plan.steps import Step
from sip.wanted import desired
from sip.wanted.desired import Desired
from sip.wanted.document import FileError


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    file: Path
    target: tuple[str, str, str, str]
    """URL, key, secret and stack; empty where not given."""
    prune: bool = False
    allow: tuple[str, ...] = ()
    write_secrets: bool = False


@dataclass(frozen=True)
class Planned:
    """A plan with what belongs to it."""

    desired: Desired
    plan: Plan | None
    origin: str
    """The server, for people."""
    left: tuple[str, ...] = ()
    """Live objects that are neither wanted nor ours."""
    hidden: bool = False
    """Whether the server shows no passwords."""


async def make(request: Request) -> Planned:
    """Read the file and the server, and plan. Raises `FileError` for all that is wrong with the file."""
    wanted = desired.read(request.file, invalid=True)
    try:
        found = connect.find(*request.target)
        async with live.Live(found) as server:
            state = await server.fetch()
            made = await _plan(request, wanted, state, server)
    except FileError:
        raise
    except SipError:
        if wanted.invalid:  # there is something to mend before the server matters
            faults = [*wanted.warnings, *(fault for _, fault in wanted.invalid)]
            raise FileError(str(request.file), faults) from None
        raise
    left = tuple(f"{item.name} ({item.id})" for item in strangers(wanted.state, state))
    return Planned(wanted, made, f"{found.url} ({found.origin})", left, _hidden(state, found))


async def carry_out(request: Request, shown: Planned, progress: Callable[[Step], None]) -> tuple[Done, ...]:
    """Apply a plan that was shown. Raises `SipError` when it is not the plan any more, or fails half-way."""
    async with live.Live(connect.find(*request.target)) as server:
        # Somebody may have thought about the question for long.
        now = await _plan(request, shown.desired, await server.fetch(), server)
        if now is None or shown.plan is None or now.steps != shown.plan.steps or now.refused:
            reason = "the live system changed since the plan was shown"
            raise SipError("nothing was written", reason, "Look at the new plan")
        return await apply(now, server, progress)


async def fetch(target: tuple[str, str, str, str]) -> tuple[State, str]:
    """The live state, and the server's name for people."""
    found = connect.find(*target)
    async with live.Live(found) as server:
        return await server.fetch(), f"{found.url} ({found.origin})"


async def _plan(request: Request, wanted: Desired, state: State, server: Live) -> Plan | None:
    hidden = _hidden(state, server.target) and not request.write_secrets
    made = checked_plan(wanted, state, prune=request.prune, allow=request.allow, hidden=hidden)
    if made is None or not any(map(_loses, made.steps)):
        return made
    try:
        busy = await calls_by_trunk(server)
    except ApiError as error:
        if error.code == "unreachable":
            raise
        output.warn(f"whether calls are on these trunks is not known: {error}")
        return made
    return checked_plan(wanted, state, prune=request.prune, allow=request.allow, busy=busy, hidden=hidden)


def _hidden(state: State, target: connect.Target) -> bool:
    """Whether the server seems to show no passwords: livekit-server does; LiveKit Cloud may not, some day."""
    trunks = [trunk for trunk in (*state.inbound, *state.outbound) if trunk.auth_username]
    return target.cloud and bool(trunks) and not any(trunk.auth_password for trunk in trunks)


def _loses(step: Step) -> bool:
    """Whether a step takes something from a trunk that calls may be on."""
    old, new = step.old, step.new
    numbers: Sequence[str] = getattr(old, "numbers", ())
    lost = set(numbers) - set(getattr(new, "numbers", ()))
    return step.kind != "rule" and (step.action == "delete" or bool(lost))
