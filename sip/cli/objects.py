"""The five commands of one kind of object, made from its `Spec`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.api.connect import find
from sip.cli import edit, flags
from sip.cli.edit import Spec
from sip.cli.names import names_of
from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url, Yes, examples

if TYPE_CHECKING:
    from sip.api.connect import Target

Secrets = Annotated[bool, typer.Option("--show-secrets", help="Passwords and PINs in --json instead of ***.")]


def app(
    spec: Spec,
    noun: str,
    command: str,
    help: str,
    shown: Mapping[str, Sequence[str]],
    extra: Mapping[str, str],
) -> typer.Typer:
    """`sip COMMAND list|show|create|update|delete`.

    `noun` is what help calls one of them, `shown` the examples of each command, `extra` more of its help.
    """
    made = typer.Typer(
        help=help, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
    )
    complete = names_of(spec.kind)
    one = flags.argument("name", str, inspect.Parameter.empty, "NAME", "Name or id.", complete)
    several = flags.argument("names", list[str], inspect.Parameter.empty, "NAME", "Names or ids.", complete)
    sources = flags.argument(
        "sources",
        list[str] | None,
        None,
        "JSON",
        "A file, JSON in quotes, or - for standard input: as `lk sip` takes it.",
    )
    which = flags.argument("which", str | None, None, "NAME", "Name or id.", complete)
    source = flags.argument(
        "source", str | None, None, "JSON", "A file, JSON in quotes, or - for standard input."
    )

    def list_(
        as_json: Json = False,
        show_secrets: Secrets = False,
        url: Url = "",
        api_key: ApiKey = "",
        api_secret: ApiSecret = "",
        stack: Stack = "",
    ) -> None:
        edit.listing(spec, find(url, api_key, api_secret, stack), as_json=as_json, show_secrets=show_secrets)

    def show(
        name: str,
        as_json: Json = False,
        show_secrets: Secrets = False,
        url: Url = "",
        api_key: ApiKey = "",
        api_secret: ApiSecret = "",
        stack: Stack = "",
    ) -> None:
        target = find(url, api_key, api_secret, stack)
        edit.show(spec, target, name, as_json=as_json, show_secrets=show_secrets)

    def create(
        sources: list[str] | None,
        given: Mapping[str, Any],
        as_json: Json = False,
        show_secrets: Secrets = False,
        url: Url = "",
        api_key: ApiKey = "",
        api_secret: ApiSecret = "",
        stack: Stack = "",
    ) -> None:
        target = find(url, api_key, api_secret, stack)
        edit.create(spec, target, sources or [], given, as_json=as_json, show_secrets=show_secrets)

    def update(
        which: str | None,
        source: str | None,
        given: Mapping[str, Any],
        clear: Annotated[
            list[str] | None, typer.Option("--clear", metavar="FIELD", help="Empty a field. Can be repeated.")
        ] = None,
        replace: Annotated[
            bool, typer.Option("--replace", help="The JSON is all of it: what it leaves out is emptied.")
        ] = False,
        id: Annotated[
            str,
            typer.Option("--id", metavar="ID", help="In place of NAME, as in `lk sip`.", show_default=False),
        ] = "",
        as_json: Json = False,
        show_secrets: Secrets = False,
        url: Url = "",
        api_key: ApiKey = "",
        api_secret: ApiSecret = "",
        stack: Stack = "",
    ) -> None:
        target: Target = find(url, api_key, api_secret, stack)
        edit.update(
            spec,
            target,
            [each for each in (which, source) if each is not None],
            given,
            id=id,
            clear=clear or [],
            replace=replace,
            as_json=as_json,
            show_secrets=show_secrets,
        )

    def delete(
        names: list[str],
        yes: Yes = False,
        as_json: Json = False,
        url: Url = "",
        api_key: ApiKey = "",
        api_secret: ApiSecret = "",
        stack: Stack = "",
    ) -> None:
        edit.delete(spec, find(url, api_key, api_secret, stack), names, yes=yes, as_json=as_json)

    helps = {
        "list": f"All {noun}s, sorted by name.",
        "show": f"One {noun}: every field that is set, and what is wrong with it.",
        "create": f"Make {_a(noun)} from flags, from JSON, or from JSON with flags that win over it.",
        "update": f"Change {_a(noun)}: what is given, and nothing else.",
        "delete": f"Remove {noun}s, after a question.",
    }
    everything = (*spec.flags, *spec.extra)
    bodies = {
        "list": flags.command(list_),
        "show": flags.command(show, [one]),
        "create": flags.command(create, [sources], everything),
        "update": flags.command(update, [which, source], everything, update=True),
        "delete": flags.command(delete, [several]),
    }
    for name, body in bodies.items():
        text = "\n\n".join(filter(None, (helps[name], extra.get(name, ""))))
        lines = [f"sip {command} {line}" for line in shown[name]]
        made.command(name, help=text, epilog=examples(*lines))(body)
    return made


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
