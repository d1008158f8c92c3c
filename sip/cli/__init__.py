"""The command `sip`. Its commands raise; only here is an error printed and an exit code chosen.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from sip.cli import output
from sip.cli.options import examples
from sip.errors import ConfigurationError, SipError

ORDER = (
    "demo", "stack", "doctor", "trunk", "rule", "preset", "plan", "apply", "import", "explain",
    "call", "calls", "transfer", "hangup", "code", "capacity", "trace", "serve",
)  # fmt: skip
"""Commands in the order of the help: what a newcomer needs first. Others follow, by name."""


class Ordered(TyperGroup):
    """A group whose help lists its commands in `ORDER`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands."""
        known = {name: place for place, name in enumerate(ORDER)}
        return sorted(self.commands, key=lambda name: (known.get(name, len(known)), name))


def build() -> typer.Typer:
    """The whole command tree: our own commands, and those that other packages add to `sip.commands`."""
    from sip.cli import state
    from sip.cli.calls import call, calls, hangup, transfer
    from sip.cli.capacity import capacity
    from sip.cli.code import code
    from sip.cli.doctor import doctor
    from sip.cli.explain import explain
    from sip.cli.preset import preset
    from sip.cli.rule import rule
    from sip.cli.serve import serve
    from sip.cli.trace import trace
    from sip.cli.trunk import inbound, outbound, trunk

    app = typer.Typer(
        name="sip",
        cls=Ordered,
        help="Trunks, dispatch rules and calls of a LiveKit phone system.",
        epilog=examples(
            "sip demo", "sip stack up --detach", "sip trunk inbound list", "sip rule create --help"
        ),
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help without Rich: fast, and examples keep their lines
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.add_typer(trunk, name="trunk")
    app.add_typer(rule, name="rule")
    for name, same in (("inbound", inbound), ("outbound", outbound), ("dispatch", rule)):
        app.add_typer(same, name=name, hidden=True)  # as `lk sip` calls them
    app.add_typer(preset, name="preset")
    app.command("serve", epilog=examples("sip serve", "sip serve --host 0.0.0.0 --max-calls 20"))(serve)
    app.command(
        "call",
        epilog=examples(
            "sip call +15550123 --trunk carrier --agent phone-agent",
            "sip call +15550123 --until answered --json",
        ),
    )(call)
    app.command("doctor", epilog=examples("sip doctor", "sip doctor --call --json"))(doctor)
    app.command("calls", epilog=examples("sip calls", "sip calls --watch --numbers"))(calls)
    app.command("transfer", epilog=examples("sip transfer 1 sip:desk@pbx.example"))(transfer)
    app.command("hangup", epilog=examples("sip hangup 1", "sip hangup --all --yes"))(hangup)
    app.command("trace", epilog=examples("sip trace call.pcap", "sip trace call.pcap --call 2 --json"))(trace)
    app.command("plan", epilog=examples("sip plan", "sip plan trunks.yaml --prune --check"))(state.plan)
    app.command("apply", epilog=examples("sip apply", "sip apply trunks.yaml --yes --prune"))(state.apply)
    app.command("import", epilog=examples("sip import trunks.yaml", "sip import - --json"))(state.import_)
    app.command(
        "explain",
        epilog=examples(
            "sip explain --from +15550199 --to +15550100 --source 203.0.113.7",
            "sip explain --from +15550199 --to +15550100 --source 203.0.113.7 --file trunks.yaml",
        ),
    )(explain)
    app.command(
        "capacity", epilog=examples("sip capacity 10 3", "sip capacity 10 3 --outbound --carrier twilio")
    )(capacity)
    app.command("code", epilog=examples("sip code 503", "sip code busy", "sip code q850:17"))(code)
    for point in sorted(entry_points(group="sip.commands"), key=lambda point: point.name):
        command = point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(point.name)(command)
    return app


def main() -> None:
    """Run the command line; a message on standard error for everything that the user can mend."""
    # `livekit-server --dev` has a short secret, which is no news to whoever uses it.
    warnings.filterwarnings("ignore", message="The HMAC key is .* bytes long")
    try:
        build()()
    except SipError as error:
        output.fail(error)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None
