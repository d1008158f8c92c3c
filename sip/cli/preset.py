"""`sip preset`: what is known of carriers and PBXs, entries for `trunks.yaml`, and what to do over there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sip.cli.options import Json, Stack, examples
from sip.errors import ConfigurationError, StackNotFound

if TYPE_CHECKING:
    from sip.presets import Fact, Preset
    from sip.presets.questions import Target
    from sip.presets.use import Use

preset = typer.Typer(
    help="Carriers and PBXs: facts, entries for trunks.yaml, and what to set up on the other side.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete(incomplete: str) -> list[tuple[str, str]]:
    from sip.presets import load, names

    return [(name, load(name).title) for name in names() if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Preset, or a part of its name.", autocompletion=_complete)
]


@preset.command("list", epilog=examples("sip preset list", "sip preset list --json"))
def list_(as_json: Json = False) -> None:
    """List the presets, and whether a real peer has carried calls with what they print."""
    from sip.cli import output
    from sip.presets import load, names

    found = [load(name) for name in names()]
    if as_json:
        output.as_json([_summary(each) for each in found])
        return
    columns = ("name", "kind", "title", "modes", "auth", "numbers out", "transfer", "real peer")
    rows = [
        (
            each.name,
            each.kind,
            each.title,
            each.modes,
            each.facts["auth"].value,
            _short(each.facts["number_out"]),
            _short(each.facts["transfer"]),
            _proofs(each),
        )
        for each in found
    ]
    output.table(
        columns,
        rows,
        colour=lambda column, text: (
            ("yellow" if text.startswith("not run") else "green") if column == "real peer" else None
        ),
    )
    output.say("A word with ? is unverified. `sip preset show NAME` has all facts with their sources.")


@preset.command("show", epilog=examples("sip preset show twilio", "sip preset show cucm --json"))
def show(name: Name, as_json: Json = False) -> None:
    """Show everything that is known of a carrier or PBX: where it was read, when, and what is unverified."""
    from sip.cli import output
    from sip.presets import FACTS, load

    found = load(name)
    if as_json:
        output.as_json(_as_json(found))
        return
    print(output.paint(f"{found.title} ({found.name}, {found.kind})", "bold"))
    print(f"{found.about}\n")
    output.fields((FACTS[key], _fact(fact)) for key, fact in found.facts.items())
    if found.quirks:
        print(f"\n{output.paint('good to know', 'bold')}")
        for quirk in found.quirks:
            first, *more = _fact(quirk).splitlines()
            print("\n".join([f"- {first}", *(f"  {line}" for line in more)]))
    print(f"\n{output.paint('real peer', 'bold')}")
    output.fields((f"mode {mode}", _proof(found, mode)) for mode in found.modes)
    print(f"\n{output.paint('values for `sip preset use`', 'bold')}")
    for mode in found.modes:
        output.fields(_values(found, mode))


@preset.command(
    "use",
    epilog=examples(
        "sip preset use twilio --set trunk=my-trunk --set numbers=+15105550100 --set project=my-proj",
        "sip preset use asterisk --set pbx_host=127.0.0.1 --set numbers=700 --write trunks.yaml --out etc",
        "sip preset use kamailio --target self-hosted --set livekit_host=198.51.100.10"
        " --set kamailio_host=203.0.113.20 --set pbx_address=198.51.100.30 --set numbers=700 --out etc",
    ),
)
def use(
    name: Name,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value; lists with commas.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="MODE", help="trunk or extension.", show_default=False)
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="WHERE",
            help="What the other side dials: cloud, self-hosted or local (by LIVEKIT_URL and what runs).",
            show_default=False,
        ),
    ] = "",
    write: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="FILE", help="Add the entry to this trunks.yaml.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write the other side's files into this folder.", show_default=False
        ),
    ] = None,
    entry: Annotated[bool, typer.Option("--entry", help="Print the entry alone, as YAML.")] = False,
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Print an entry for trunks.yaml and what to set up on the other side, with your values filled in.

    Missing values are asked for on a terminal. Secrets are never taken: the entry refers to an environment
    variable. Without --write and --out nothing is written.
    """
    from sip.cli import output
    from sip.presets import load

    made = _use(load(name), _given(sets or ()), mode, target, stack)
    written = _write(write, made) if write else ""
    files = _write_files(out, made) if out else []
    if as_json:
        output.as_json(_use_as_json(made, [*([str(write)] if written else []), *map(str, files)]))
        return
    if write is None:
        print(made.document(), end="")
    else:
        output.say(written or f"{write} has this entry already: nothing to do")
    for path in files:
        output.say(f"{path} written")
    if not entry:
        _print_steps(made, write)
    for note in made.notes:
        output.warn(note)
    for secret in made.secrets:
        output.say(f"Put the password into {secret} (environment or .env); it is written nowhere.")
    output.say(f"Then: sip plan {write or 'trunks.yaml'} && sip apply {write or 'trunks.yaml'}")


def _use(found: Preset, given: dict[str, list[str]], mode: str, target: str, stack: str) -> Use:
    """Ask for what is missing where somebody can be asked, and fill in."""
    from sip.presets.questions import answer, parse
    from sip.presets.use import check_mode
    from sip.presets.use import use as fill

    wanted = check_mode(found, mode)
    place, address = _target(target, stack)
    agent = os.environ.get("AGENT_NAME") or "phone-agent"
    while sys.stdin.isatty() and sys.stderr.isatty():
        answers = answer(found, given, mode=wanted, target=place, agent=agent, local_address=address)
        if not answers.missing:
            break
        question = answers.missing[0]
        text = str(typer.prompt(f"{question.ask} ({question.example})", err=True))
        try:
            parse(question, [text])
        except ValueError as error:
            typer.echo(f"  {error}", err=True)
            continue
        given[question.key] = [text]
    return fill(found, given, mode=wanted, target=place, agent=agent, local_address=address)


def _target(target: str, stack: str) -> tuple[Target, str]:
    """Which LiveKit side is meant, and the local stack's SIP address where that one is."""
    from sip import local

    if target not in ("", "cloud", "self-hosted", "local"):
        raise ConfigurationError(f"--target {target!r} is not known", "", "It is cloud, self-hosted or local")
    if not target and not stack:
        from dotenv import dotenv_values

        url = os.environ.get("LIVEKIT_URL") or dotenv_values(Path.cwd() / ".env").get("LIVEKIT_URL") or ""
        if url:
            host = url.partition("://")[2].split("/")[0].split(":")[0]
            ours = {each.livekit_url: each for each in local.running()}
            if url in ours:
                return "local", ours[url].sip_address
            return ("cloud" if host.endswith(".livekit.cloud") else "self-hosted"), ""
        if not local.running():
            return "cloud", ""
    if target in ("cloud", "self-hosted"):
        return cast("Target", target), ""
    try:
        return "local", local.load(stack).sip_address
    except StackNotFound:
        if stack or local.running():
            raise
        return "local", ""


def _given(sets: Iterable[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for each in sets:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise ConfigurationError(
                f"--set {each!r} is no KEY=VALUE", "", "Write --set numbers=+15105550100"
            )
        given.setdefault(key.strip(), []).append(value)
    return given


def _write(path: Path, made: Use) -> str:
    """Add the entry; the words for it, or nothing when it was there already."""
    from sip.presets.files import replace
    from sip.presets.merge import merge

    try:
        before = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", str(error)) from error
    items = {section: made.text(section) for section in made.entry}
    after = merge(before, made.entry, items, str(path))
    if after == before:
        return ""
    replace(path, after)
    added = [f"{section}.{each}" for section, named in made.entry.items() for each in named]
    return f"{path}: {', '.join(added)} added"


def _write_files(folder: Path, made: Use) -> list[Path]:
    from sip.presets.files import write_new

    return write_new(folder, {step.file: step.text for step in made.steps if step.file})


def _print_steps(made: Use, write: Path | None) -> None:
    from sip.cli import output

    state = made.proof.state
    real = f"run with {made.proof.peer}" if state == "run" else state
    if write is None:
        print()
    print(output.paint(f"# On the side of {made.preset.title} (real peer: {real})", "bold"))
    for number, step in enumerate(made.steps, 1):
        where = f": {step.path or step.file}" if step.file else ""
        mark = "" if step.verified else output.paint(" (unverified)", "yellow")
        print(f"\n{output.paint(f'# {number}. {step.title}{where}', 'bold')}{mark}")
        print(step.text, end="")
    print()


def _short(fact: Fact) -> str:
    value = "" if fact.value is None else str(fact.value).partition(",")[0]
    return f"{value or 'unknown'}{'' if fact.verified else '?'}"


def _proofs(found: Preset) -> str:
    proofs = [found.proofs[mode] for mode in found.modes]
    states = [f"{proof.state}: {proof.peer}" if proof.peer else proof.state for proof in proofs]
    if len(set(states)) == 1:
        return states[0]
    return "; ".join(f"{mode} {state}" for mode, state in zip(found.modes, states, strict=True))


def _proof(found: Preset, mode: Any) -> str:
    proof = found.proofs[mode]
    words = {
        "run": f"run with {proof.peer} on {proof.run_on}",
        "checked": f"checked with {proof.peer} on {proof.run_on}, not run",
        "not run": "not run",
    }
    return words[proof.state] + (f"\n{proof.what}" if proof.what else "")


def _fact(fact: Fact) -> str:
    from sip.cli import output

    if fact.value is None:
        value = "unknown"
    elif isinstance(fact.value, tuple):
        value = ", ".join(fact.value) or "-"
    else:
        value = str(fact.value)
    mark = "" if fact.verified else output.paint(" [unverified]", "yellow")
    lines = [f"{value}{mark}"]
    if fact.note:
        lines.append(fact.note)
    if fact.sources:
        pages = "; ".join(source.url or source.title for source in fact.sources)
        lines.append(output.paint(f"read {fact.read_on}: {pages}", "dim"))
    return "\n".join(lines)


def _values(found: Preset, mode: Any) -> list[tuple[str, str]]:
    from sip.presets.questions import questions

    rows: list[tuple[str, str]] = []
    for question in questions(found, mode):
        choices = f" [{', '.join(question.choices)}]" if question.choices else ""
        need = "" if question.default is not None or question.optional else ", must be given"
        when = f", for {question.when}" if question.when else ""
        rows.append((question.key, f"{question.ask}{choices}{need}{when}"))
    return rows if mode == found.modes[0] else [("mode extension", ""), *rows]


def _summary(found: Preset) -> dict[str, Any]:
    return {
        "name": found.name,
        "title": found.title,
        "kind": found.kind,
        "modes": found.modes,
        "auth": found.facts["auth"].value,
        "number_out": found.facts["number_out"].value,
        "transfer": found.facts["transfer"].value,
        "proofs": {mode: _proof_as_json(found.proofs[mode]) for mode in found.modes},
    }


def _proof_as_json(proof: Any) -> dict[str, Any]:
    run_on = str(proof.run_on) if proof.run_on else None
    return {"state": proof.state, "peer": proof.peer, "run_on": run_on, "what": proof.what}


def _as_json(found: Preset) -> Mapping[str, Any]:
    def fact(each: Fact) -> dict[str, Any]:
        return {
            "value": each.value,
            "verified": each.verified,
            "read_on": str(each.read_on) if each.read_on else None,
            "sources": [{"title": source.title, "url": source.url} for source in each.sources],
            "note": each.note,
        }

    return {
        **_summary(found),
        "about": found.about,
        "facts": {key: fact(each) for key, each in found.facts.items()},
        "quirks": [fact(each) for each in found.quirks],
    }


def _use_as_json(made: Use, written: list[str]) -> Mapping[str, Any]:
    return {
        "preset": made.preset.name,
        "mode": made.mode,
        "target": made.target,
        "entry": made.entry,
        "yaml": made.document(),
        "steps": made.steps,
        "proof": _proof_as_json(made.proof),
        "notes": made.notes,
        "secrets": made.secrets,
        "written": written,
    }
