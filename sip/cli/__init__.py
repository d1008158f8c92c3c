"""The command `sip`. Its commands raise; only here is an error printed and an exit code chosen.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from sip.cli.options import examples
from sip.errors import ConfigurationError, SipError


def build() -> typer.Typer:
    """The whole command tree: our own commands, and those that other packages add to `sip.commands`."""
    from sip.cli.explain import explain
    from sip.cli.serve import serve
    from sip.cli.trace import trace

    app = typer.Typer(
        name="sip",
        help="Trunks, dispatch rules and calls of a LiveKit phone system.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("serve")(serve)
    app.command("trace", epilog=examples("sip trace call.pcap", "sip trace call.pcap --call 2 --json"))(trace)
    app.command(
        "explain",
        epilog=examples(
            "sip explain --from +15550199 --to +15550100 --source 203.0.113.7",
            "sip explain --from +15550199 --to +15550100 --source 203.0.113.7 --file trunks.yaml",
        ),
    )(explain)
    for point in sorted(entry_points(group="sip.commands"), key=lambda point: point.name):
        command = point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(point.name)(command)
    return app


def main() -> None:
    """Run the command line; one line on standard error for everything that the user can mend."""
    try:
        build()()
    except ConfigurationError as error:
        print(f"sip: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except SipError as error:
        print(f"sip: {error}", file=sys.stderr)
        raise SystemExit(1) from None
