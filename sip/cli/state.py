"""`sip plan`, `sip apply` and `sip import`: the trunks and rules that `trunks.yaml` wants."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url, Yes

if TYPE_CHECKING:
    from sip.cli.planned import Planned
    from sip.plan.apply import Done
    from sip.plan.steps import Step

_Result = TypeVar("_Result")
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
Secrets = Annotated[
    bool, typer.Option("--write-secrets", help="Write passwords that the server does not show, too.")
]


def plan(
    file: File = FILE,
    prune: Prune = False,
    allow: Allow = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when something would change.")] = False,
    write_secrets: Secrets = False,
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
    from sip.cli.planned import Request, make

    target = (url, api_key, api_secret, stack)
    made = _run(as_json, make(Request(file, target, prune, _names(allow), write_secrets)))
    _warn(file, made, prune)
    if as_json:
        output.as_json(_as_json(made))
    else:
        _show(file, made)
    if made.plan is not None and (check or made.plan.refused):
        raise typer.Exit(1)


def apply(
    file: File = FILE,
    prune: Prune = False,
    allow: Allow = None,
    yes: Yes = False,
    write_secrets: Secrets = False,
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
    from sip.cli.planned import Request, carry_out, make
    from sip.errors import SipError
    from sip.plan.apply import ApplyError

    target = (url, api_key, api_secret, stack)
    request = Request(file, target, prune, _names(allow), write_secrets)
    made = _run(as_json, make(request))
    _warn(file, made, prune)
    steps = made.plan.steps if made.plan else ()
    if not as_json:
        _show(file, made)
    if made.plan is None:
        if as_json:
            output.as_json(_as_json(made) | _outcome())
        return
    if made.plan.refused:
        if as_json:
            output.as_json(_as_json(made) | _outcome(left=steps))
        raise SipError("nothing was written", "the plan is refused", "Mend what is refused, or allow it")
    if not output.confirm(f"Apply this plan to {made.origin}?", yes=yes):
        raise SipError("nothing was written", "you said no")
    with output.Progress("applying", len(steps)) as progress:
        try:
            done = _run(as_json, carry_out(request, made, lambda step: progress.step(str(step))))
        except ApplyError as error:
            if as_json:
                output.as_json(_as_json(made) | _outcome(error.done, (error.failed, *error.left)))
            raise
    if as_json:
        output.as_json(_as_json(made) | _outcome(done))
        return
    counts = {action: 0 for action in ("create", "update", "delete")}
    for step in made.plan.changed:
        counts[step.action] += 1
    print(", ".join(f"{count} {action}d" for action, count in counts.items()))


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
    from sip.cli import output, save
    from sip.cli.planned import fetch
    from sip.wanted import written
    from sip.wanted.references import environment

    to_file = str(file) != "-"
    if to_file:
        save.check(file, force=force)
    state, origin = _run(as_json, fetch((url, api_key, api_secret, stack)))
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


def _run(as_json: bool, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Wait for the work; faults of a file also go to standard output as JSON where that was asked for."""
    from sip.cli import output
    from sip.wanted.document import FileError

    try:
        return asyncio.run(work)
    except FileError as error:
        if as_json:
            output.as_json({"faults": [fault.as_json() for fault in error.faults]})
        raise


def _show(file: Path, made: Planned) -> None:
    from sip.cli import output, plan_text

    desired = made.desired
    if made.plan is None:
        count = len([*desired.state]) - len(desired.state.registrations)
        print(f"nothing to do: {count} trunks and rules are as they should be")
        return

    def where(finding: Any) -> str:
        place = desired.place(finding.kind, finding.item, finding.field)
        place = place or desired.place(finding.kind, finding.label, finding.field)
        return f"{place}: " if place else ""

    output.say(f"{file} -> {made.origin}")
    for line in plan_text.lines(made.plan, where):
        print(line)


def _as_json(made: Planned) -> dict[str, Any]:
    body = made.plan.as_json() if made.plan else {"changes": [], "steps": [], "findings": []}
    return body | {
        "registrations": [registration.name for registration in made.desired.state.registrations],
        "warnings": [fault.as_json() for fault in made.desired.warnings],
        "left_alone": made.left,
    }


def _outcome(done: Sequence[Done] = (), left: Sequence[Step] = ()) -> dict[str, Any]:
    return {
        "done": [{"step": str(each.step), "id": each.id} for each in done],
        "not_done": [str(step) for step in left],
    }


def _warn(file: Path, made: Planned, prune: bool) -> None:
    from sip.cli import output

    desired = made.desired
    for fault in desired.warnings:
        output.say(str(fault))
    for (kind, name, field), variable in desired.unset.items():
        kept = "`sip serve` will need it" if kind == "registration" else "what the server has is kept"
        place = desired.place(kind, name, field)
        output.say(f"{place}: warning: {field}: {variable} is not set; {kept}")
    if made.hidden:
        output.warn("the server shows no passwords, so they are not compared; --write-secrets writes them")
    if made.left and prune:
        more = f" … {len(made.left) - 5} more" if len(made.left) > 5 else ""
        some = ", ".join(made.left[:5]) + more
        output.say(f"left alone, since `sip apply` did not make them: {some}")
    if desired.state.registrations:
        names = ", ".join(registration.name for registration in desired.state.registrations)
        served = f"sip serve --registrations {file}"
        output.say(f"registrations are no part of LiveKit's API; `{served}` carries them: {names}")


def _names(allow: Sequence[str] | None) -> tuple[str, ...]:
    from sip.plan.unsafe import ALLOWABLE

    for name in allow or ():
        if name not in ALLOWABLE:
            known = ", ".join(ALLOWABLE)
            raise typer.BadParameter(f"{name} is not known; it is one of {known}", param_hint="--allow")
    return tuple(allow or ())
