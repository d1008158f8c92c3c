"""The command `sip`. Its commands raise; only here is an error printed and an exit code chosen.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
    app.add_typer(trunk, name="trunk", short_help="Trunks: who may call in, and the way out.")
    app.add_typer(rule, name="rule", short_help="Dispatch rules: which room and which agent a call gets.")
    for name, same in (("inbound", inbound), ("outbound", outbound), ("dispatch", rule)):
        app.add_typer(same, name=name, hidden=True)  # as `lk sip` calls them
    app.add_typer(preset, name="preset", short_help="Carriers and PBXs: facts, entries, what to do there.")
    commands: tuple[tuple[str, Callable[..., None], str, tuple[str, ...]], ...] = (
        (
            "plan",
            state.plan,
            "What has to change to make the live trunks and rules those of a file.",
            ("sip plan", "sip plan trunks.yaml --prune --check"),
        ),
        (
            "apply",
            state.apply,
            "Make the live trunks and rules those of a file.",
            ("sip apply", "sip apply trunks.yaml --yes --prune"),
        ),
        (
            "import",
            state.import_,
            "Write the live trunks and rules into a file.",
            ("sip import trunks.yaml", "sip import - --json"),
        ),
        (
            "explain",
            explain,
            "Which trunk and rule a call would match, or why none.",
            (
                "sip explain --from +15550199 --to +15550100 --source 203.0.113.7",
                "sip explain --from +15550199 --to +15550100 --source 203.0.113.7 --file trunks.yaml",
            ),
        ),
        (
            "doctor",
            doctor,
            "What would keep a call from working, and what mends it.",
            ("sip doctor", "sip doctor --call --json"),
        ),
        (
            "call",
            call,
            "Call a number with an agent.",
            (
                "sip call +15550123 --trunk carrier --agent phone-agent",
                "sip call +15550123 --until answered --json",
            ),
        ),
        ("calls", calls, "Who is on the line now.", ("sip calls", "sip calls --watch --numbers")),
        (
            "transfer",
            transfer,
            "Hand the far end of a call over to somebody else (REFER).",
            ("sip transfer 1 sip:desk@pbx.example",),
        ),
        ("hangup", hangup, "End a call.", ("sip hangup 1", "sip hangup --all --yes")),
        (
            "code",
            code,
            "What a SIP code or Q.850 cause means, and what mends it.",
            ("sip code 503", "sip code busy", "sip code q850:17"),
        ),
        (
            "trace",
            trace,
            "Calls of a capture: ladder, failures, quality of the audio.",
            ("sip trace call.pcap", "sip trace call.pcap --call 2 --json"),
        ),
        (
            "capacity",
            capacity,
            "Lines, ports, bandwidth and processes for a number of calls.",
            ("sip capacity 10 3", "sip capacity 10 3 --outbound --carrier twilio"),
        ),
        (
            "serve",
            serve,
            "Run the SIP service.",
            ("sip serve", "sip serve --host 0.0.0.0 --max-calls 20"),
        ),
    )
    for name, command, short, shown in commands:
        app.command(name, short_help=short, epilog=examples(*shown))(command)
    for point in sorted(entry_points(group="sip.commands"), key=lambda point: point.name):
        other = point.load()
        if isinstance(other, typer.Typer):
            app.add_typer(other, name=point.name)
        else:
            app.command(point.name)(other)
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
