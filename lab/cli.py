"""Commands that the lab adds to `sip`: `sip stack …` and `sip demo`.

Imports of the lab stand inside the functions, so that `sip --help` stays fast.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sip.cli.options import examples

if TYPE_CHECKING:
    from lab.stack.health import Health
    from sip.local import LocalStack

stack = typer.Typer(
    help="A whole phone system on this machine: livekit-server, SIP service, speech servers, worker.",
    short_help="A whole phone system on this machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Option("--name", help="Name of the stack.")]
AnyName = Annotated[str, typer.Option("--name", help="Name of the stack; the only one that runs by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@stack.command(epilog=examples("sip stack up", "sip stack up --detach --number +15550100"))
def up(
    name: Name = "local",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once everything answers; `down` stops it.")
    ] = False,
    sip_port: Annotated[int, typer.Option(help="Port for SIP, UDP and TCP; 0: any free one.")] = 0,
    livekit_port: Annotated[int, typer.Option(help="Port of livekit-server; 0: any free one.")] = 0,
    redis_url: Annotated[
        str, typer.Option(envvar="REDIS_URL", help="A store to use instead of the embedded one.")
    ] = "",
    agent: Annotated[bool, typer.Option("--agent/--no-agent", help="Start the worker.")] = True,
    speech: Annotated[
        bool,
        typer.Option("--speech/--no-speech", help="Local speech servers, or the real providers of .env."),
    ] = True,
    service: Annotated[
        bool, typer.Option("--service/--no-service", help="Start the SIP service, or bring your own.")
    ] = True,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Logs, records and configuration of the stack.")
    ] = None,
    number: Annotated[
        list[str] | None, typer.Option("--number", help="A number that reaches the agent; may be repeated.")
    ] = None,
    registrations: Annotated[
        Path | None,
        typer.Option(help="File whose registrations: the SIP service registers (SIP_REGISTRATIONS)."),
    ] = None,
    speech_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--speech-arg", help="For `python -m lab.speech`, such as --llm-url=http://127.0.0.1:11434/v1."
        ),
    ] = None,
    api_key: Annotated[str, typer.Option(help="API key; a new one by default.")] = "",
    api_secret: Annotated[
        str, typer.Option(envvar="STACK_API_SECRET", help="API secret; a new one by default.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Start the stack, and keep it up until Ctrl-C (or leave it running with --detach)."""
    from lab.stack import NUMBERS, Options, foreground
    from lab.stack.options import new_key, new_secret
    from lab.stack.show import Printer, next_steps

    options = Options(
        name=name,
        directory=directory,
        sip_port=sip_port,
        livekit_port=livekit_port,
        redis_url=redis_url,
        agent=agent,
        speech=speech,
        service=service,
        numbers=tuple(number or NUMBERS),
        speech_arguments=tuple(speech_arg or ()),
        environment={"SIP_REGISTRATIONS": str(registrations.absolute())} if registrations else {},
        api_key=api_key or new_key(),
        api_secret=api_secret or new_secret(),
    )

    def ready(local: LocalStack) -> None:
        print(
            json.dumps(foreground.public(local)) if as_json else next_steps(local, detached=detach),
            flush=True,
        )

    raise typer.Exit(foreground.up(options, detach=detach, on_event=Printer(sys.stderr), on_ready=ready))


@stack.command(epilog=examples("sip stack down"))
def down(name: AnyName = "", as_json: Json = False) -> None:
    """Stop a stack, and clean up after one whose supervisor is gone."""
    from lab.stack import foreground

    stopped = foreground.down(name)
    if as_json:
        print(json.dumps({"stopped": stopped}))
    else:
        for each in stopped:
            print(f"stopped {each}")


@stack.command(epilog=examples("sip stack status", "sip stack status --json"))
def status(name: AnyName = "", as_json: Json = False) -> None:
    """Ask every part of a running stack; exit 0 only when all answer."""
    import asyncio

    from lab.stack.foreground import find
    from lab.stack.health import check

    found = find(name)
    healths = asyncio.run(check(found))
    well = all(health.ok for health in healths)
    if as_json:
        print(json.dumps(_summary(found, healths), indent=2))
    else:
        for health in healths:
            word = "ready" if health.ok else "DOWN"
            asked = f"{health.address:<22} {health.ms:6.1f} ms  {health.problem}"
            print(f"{health.part:<15} {word:<6} {asked}".rstrip())
        print(f"{found.name}: dial {found.numbers[0]} at {found.sip_address or '(no SIP service)'}")
    raise typer.Exit(0 if well else 1)


@stack.command(epilog=examples('eval "$(sip stack env)"'))
def env(name: AnyName = "") -> None:
    """Print the stack's settings for a shell: `eval "$(./run sip stack env)"`, then run your own agent."""
    import shlex

    from lab.stack.parts import client_environment
    from sip.local import load

    for key, value in client_environment(load(name)).items():
        print(f"export {key}={shlex.quote(value)}")


@stack.command(epilog=examples("sip stack logs", "sip stack logs sip --follow"))
def logs(
    part: Annotated[str, typer.Argument(help="Name of a part, as in `status`; all of them by default.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines of each log to begin with.")] = 20,
    name: AnyName = "",
) -> None:
    """Print the logs of a running stack."""
    from lab.stack.logs import show
    from sip.errors import StackNotFound
    from sip.local import load

    found = load(name)
    if part and part not in found.parts:
        raise StackNotFound(f"the stack has no part named {part!r}", "", f"It has {', '.join(found.parts)}")
    chosen = {each: Path(found.parts[each]["log"]) for each in ([part] if part else found.parts)}
    try:
        for line in show(chosen, lines, follow=follow, alive=found.alive):
            print(line, flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit(0) from None


def demo(
    script: Annotated[Path | None, typer.Option("--script", help="What the caller does (YAML).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where recording and report go.")] = None,
    to: Annotated[str, typer.Option("--to", help="Number to call; the stack's first by default.")] = "",
    stack_name: Annotated[
        str, typer.Option("--stack", help="A running stack; by default one is started for the call.")
    ] = "",
) -> None:
    """A real phone call on this machine.

    Starts a stack, calls the agent, shows what was said and how fast, and stops everything.

    \b
    Example:
      sip demo
      sip demo --out report --json figures.json
    """
    from lab.demo import run

    raise typer.Exit(run(script=script, json_file=json_file, out=out, to=to, stack=stack_name))


def _summary(found: LocalStack, healths: list[Health]) -> dict[str, object]:
    return {
        "name": found.name,
        "ok": all(health.ok for health in healths),
        "pid": found.pid,
        "directory": found.directory,
        "livekit_url": found.livekit_url,
        "redis_url": found.redis_url,
        "sip_address": found.sip_address,
        "speech_url": found.speech_url,
        "agent_name": found.agent_name,
        "numbers": list(found.numbers),
        "parts": [dataclasses.asdict(health) for health in healths],
    }
