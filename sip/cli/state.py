"""`sip plan`, `sip apply` and `sip import`: the trunks and rules that `trunks.yaml` wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url, Yes

if TYPE_CHECKING:
    from sip.desired import Desired
    from sip.live import Live
    from sip.model import State
    from sip.plan import Plan

FILE = Path("trunks.yaml")
File = Annotated[Path, typer.Argument(metavar="[FILE]", help="The wanted state; - is standard input.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete what `sip apply` once made and the file no longer has.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="NAME", help="Let an unsafe change pass; the plan names it.", show_default=False
    ),
]


def plan(
    file: File = FILE,
    prune: Prune = False,
    allow: Allow = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when something would change.")] = False,
    as_json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
) -> None:
    """Show what has to change so that the live trunks and rules become those of the file. Writes nothing.

    Exit code 0: a plan was made, also an empty one; 1: it would be refused, or with --check there are
    changes; 2: the file has errors.
    """
    from sip.cli import output

    _check_names(allow)
    target = (url, api_key, api_secret, stack)
    desired, made, left, origin = _run(as_json, _planned(file, prune, allow or (), target))
    _warn(desired, left if prune else ())
    if as_json:
        output.as_json(_as_json(desired, made) | {"left_alone": left})
    elif made is None:
        print(_nothing(desired))
    else:
        output.say(f"{file} -> {origin}")
        _show(desired, made)
    if made is not None and (check or made.refused):
        raise typer.Exit(1)


def apply(
    file: File = FILE,
    prune: Prune = False,
    allow: Allow = None,
    yes: Yes = False,
    as_json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
) -> None:
    """Make the live trunks and rules those of the file: show the plan, ask, and carry it out.

    What it makes carries a mark; only that is ever deleted, and only with --prune. A second apply of the
    same file writes nothing. When a step fails, what was done stays, and the next apply goes on from there.
    """
    from sip.cli import output
    from sip.errors import SipError

    _check_names(allow)
    target = (url, api_key, api_secret, stack)
    desired, made, left, origin = _run(as_json, _planned(file, prune, allow or (), target))
    _warn(desired, left if prune else ())
    if made is None:
        if as_json:
            output.as_json(_as_json(desired, None) | {"done": [], "not_done": []})
        else:
            print(_nothing(desired))
        return
    if not as_json:
        output.say(f"{file} -> {origin}")
        _show(desired, made)
    if made.refused:
        if as_json:
            output.as_json(
                _as_json(desired, made) | {"done": [], "not_done": [str(step) for step in made.steps]}
            )
        raise SipError("nothing was written", "the plan is refused", "Mend what is refused, or allow it")
    question = f"Apply this plan to {origin}?"
    if not output.confirm(question, yes=yes):
        raise SipError("nothing was written", "you said no")
    _run(as_json, _apply(desired, made, prune, allow or (), target, as_json))


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="File to write; - is standard output.")
    ] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file",
            metavar="FILE",
            help="Add the secrets to this file, such as .env.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
) -> None:
    """Write the live trunks and rules into a file, as `sip plan` and `sip apply` read it.

    Secrets are not written: the file refers to variables, and lists them. As long as they are not set,
    `sip plan` takes the secrets of the server for unchanged.
    """
    from sip import written
    from sip.cli import output, save
    from sip.references import environment

    to_file = str(file) != "-"
    if to_file:
        save.check(file, force=force)
    state, origin = _run(as_json, _fetch((url, api_key, api_secret, stack)))
    made = written.write(state, origin, environment())
    if env_file:
        save.add_secrets(env_file, made.secrets)
    if to_file:
        save.write(file, made.text, force=force)
    elif not as_json:
        print(made.text, end="")
    counts = {"inbound": len(state.inbound), "outbound": len(state.outbound), "rules": len(state.rules)}
    if as_json:
        text = {} if to_file else {"text": made.text}
        result = {"file": str(file), **counts, "variables": list(made.secrets), **text}
        output.as_json(result)
        return
    total = ", ".join(f"{count} {name}" for name, count in counts.items())
    output.say(f"{file if to_file else 'standard output'}: {total}, from {origin}")
    if made.secrets and not env_file:
        names = ", ".join(made.secrets)
        output.say(f"Set these variables in the environment or in .env (--env-file .env does it): {names}")


async def _fetch(target: Sequence[str]) -> tuple[State, str]:
    from sip import connect
    from sip.live import Live

    found = connect.find(*target)
    async with Live(found) as live:
        return await live.fetch(), f"{found.url} ({found.origin})"


async def _planned(
    file: Path, prune: bool, allow: Sequence[str], target: Sequence[str]
) -> tuple[Desired, Plan | None, list[str], str]:
    """The file, its plan, what is live and neither wanted nor ours, and the server's name.

    Raises `FileError` for all that is wrong with the file.
    """
    from sip import connect, desired
    from sip.document import FileError
    from sip.errors import SipError
    from sip.live import Live
    from sip.plan import strangers

    wanted = desired.read(file, invalid=True)
    try:
        found = connect.find(*target)
        async with Live(found) as live:
            state = await live.fetch()
            made = await _plan(wanted, state, live, prune, allow)
            left = [f"{item.name} ({item.id})" for item in strangers(wanted.state, state)]
            return wanted, made, left, f"{found.url} ({found.origin})"
    except FileError:
        raise
    except SipError:
        if wanted.invalid:  # there is something to mend before the server matters
            raise FileError(str(file), [*wanted.warnings, *(fault for _, fault in wanted.invalid)]) from None
        raise


async def _plan(wanted: Desired, state: State, live: Live, prune: bool, allow: Sequence[str]) -> Plan | None:
    from sip.checked import checked_plan
    from sip.errors import ApiError
    from sip.occupied import calls_by_trunk

    made = checked_plan(wanted, state, prune=prune, allow=allow)
    if made is None or not any(_loses(step) for step in made.steps):
        return made
    try:
        busy = await calls_by_trunk(live)
    except ApiError as error:
        if error.code == "unreachable":
            raise
        from sip.cli import output

        output.warn(f"whether calls are on these trunks is not known: {error}")
        return made
    return checked_plan(wanted, state, prune=prune, allow=allow, busy=busy)


def _loses(step: Any) -> bool:
    """Whether a step takes something from a trunk that calls may be on."""
    return step.kind != "rule" and (
        step.action == "delete"
        or (step.old is not None and bool(set(step.old.numbers) - set(step.new.numbers)))
    )


async def _apply(
    desired: Desired, shown: Plan, prune: bool, allow: Sequence[str], target: Sequence[str], as_json: bool
) -> None:
    from sip import connect
    from sip.apply import ApplyError, apply
    from sip.cli import output
    from sip.errors import SipError
    from sip.live import Live

    async with Live(connect.find(*target)) as live:
        # Somebody may have thought about the question for long.
        now = await _plan(desired, await live.fetch(), live, prune, allow)
        if now != shown:
            reason = "the live system changed while you were asked"
            raise SipError("nothing was written", reason, "Look at the new plan")
        with output.Progress("applying", len(shown.steps)) as progress:
            try:
                done = await apply(shown, live, lambda step: progress.step(str(step)))
            except ApplyError as error:
                if as_json:
                    left = [error.failed, *error.left]
                    output.as_json(
                        _as_json(desired, shown)
                        | {
                            "done": [str(each.step) for each in error.done],
                            "not_done": [str(x) for x in left],
                        }
                    )
                raise
    if as_json:
        ids = [{"step": str(each.step), "id": each.id} for each in done]
        output.as_json(_as_json(desired, shown) | {"done": ids, "not_done": []})
    else:
        counts = {
            action: sum(step.action == action for step in shown.changed)
            for action in ("create", "update", "delete")
        }
        print(", ".join(f"{count} {action}d" for action, count in counts.items()))


def _run(as_json: bool, work: Any) -> Any:
    """Wait for the work; faults of a file also go to standard output as JSON where that was asked for."""
    from sip.cli import output
    from sip.document import FileError

    try:
        return asyncio.run(work)
    except FileError as error:
        if as_json:
            output.as_json({"faults": [fault.as_json() for fault in error.faults]})
        raise


def _show(desired: Desired, made: Plan) -> None:
    from sip.cli import plan_text

    def where(finding: Any) -> str:
        place = desired.place(finding.kind, finding.item, finding.field)
        place = place or desired.place(finding.kind, finding.label, finding.field)
        return f"{place}: " if place else ""

    for line in plan_text.lines(made, where):
        print(line)


def _as_json(desired: Desired, made: Plan | None) -> dict[str, Any]:
    body = made.as_json() if made else {"changes": [], "steps": [], "findings": []}
    names = [registration.name for registration in desired.state.registrations]
    return body | {"registrations": names, "warnings": [fault.as_json() for fault in desired.warnings]}


def _nothing(desired: Desired) -> str:
    count = len([*desired.state]) - len(desired.state.registrations)
    return f"nothing to do: {count} trunks and rules are as they should be"


def _warn(desired: Desired, left: Sequence[str]) -> None:
    from sip.cli import output

    for fault in desired.warnings:
        output.say(str(fault))
    for (kind, name, field), variable in desired.unset.items():
        place = desired.place(kind, name, field)
        kept = "`sip serve` will need it" if kind == "registration" else "what the server has is kept"
        output.say(f"{place}: warning: {field}: {variable} is not set; {kept}")
    if left:
        some = ", ".join(left[:5]) + (f" … {len(left) - 5} more" if len(left) > 5 else "")
        output.say(f"left alone, since `sip apply` did not make them: {some}")
    if desired.state.registrations:
        names = ", ".join(registration.name for registration in desired.state.registrations)
        output.say(f"registrations are no part of LiveKit's API, and apply does not write them: {names}")


def _check_names(allow: Sequence[str] | None) -> None:
    from sip.unsafe import ALLOWABLE

    for name in allow or ():
        if name not in ALLOWABLE:
            known = ", ".join(ALLOWABLE)
            raise typer.BadParameter(f"{name} is not known; it is one of {known}", param_hint="--allow")
