"""`python -m lab.caller SCRIPT --to sip:NUMBER@HOST:PORT --out DIR`: exit 0 when the script was fulfilled."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sip.errors import ConfigurationError, SipError

from .call import CallResult, place_call
from .reading import load_script

WORDS = {
    "dialing": "dials",
    "ringing": "hears it ring",
    "answered": "is answered",
    "saying": "says: {text}",
    "heard": "heard: {text}",
    "ended": "call ended by {by} ({code} {reason})",
    "failed": "FAILED at {step}, line {line}: {what}",
}


def call(
    script: Annotated[Path, typer.Argument(help="What the caller does (YAML).")],
    to: Annotated[str, typer.Option(help="sip:number@host:port")],
    out: Annotated[Path, typer.Option(help="Folder for call.wav and call.json.")],
    user: Annotated[str, typer.Option("--from", help="The caller's number.")] = "+15550199",
    transport: Annotated[str, typer.Option(help="udp or tcp")] = "udp",
    codec: Annotated[str, typer.Option(help="PCMU, PCMA or G722")] = "PCMU",
    ring: Annotated[float, typer.Option(help="Seconds until the caller gives up.")] = 30.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line for everything that happens.")
    ] = False,
) -> None:
    """Place one call and do what the script says."""
    started = time.monotonic()

    def emit(event: str, **fields: object) -> None:
        if as_json:
            print(
                json.dumps({"t": round(time.time(), 3), "who": "caller", "event": event, **fields}),
                flush=True,
            )
        elif event in WORDS:
            print(f"{time.monotonic() - started:6.2f} s  caller {WORDS[event].format(**fields)}", flush=True)

    try:
        result = asyncio.run(
            place_call(
                load_script(script),
                to,
                out,
                user=user,
                transport=transport,
                codec=codec,
                ring=ring,
                emit=emit,
            )
        )
    except ConfigurationError as error:
        print(f"caller: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except SipError as error:
        print(f"caller: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(_verdict(result))


def _verdict(result: CallResult) -> int:
    if result.failure is None:
        return 0
    failure = result.failure
    heard = f' Heard: "{failure.heard}".' if failure.heard else ""
    print(f"caller: {failure.step} (line {failure.line}): {failure.what}.{heard}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    typer.run(call)
