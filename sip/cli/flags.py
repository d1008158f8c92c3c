"""One flag for every field of a trunk or rule: `create` and `update` are made from tables of them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from sip.api import durations
from sip.cli.names import names_of
from sip.errors import ConfigurationError
from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Rule

if TYPE_CHECKING:
    from sip.api.wire import ApiKind

Shape = Literal["text", "list", "map", "seconds", "number", "switch", "allow", "choice", "secret", "json"]
_LITERAL: Any = Literal
_Item = TypeVar("_Item", InboundTrunk, OutboundTrunk, Rule)


@dataclass(frozen=True)
class Flag:
    """How one field of the model is given on the command line."""

    field: str
    """Name in `sip.model`; with a dot for those of `media`."""
    names: tuple[str, ...]
    """The first one is shown in messages; the others are older or shorter spellings."""
    shape: Shape
    help: str
    metavar: str = "TEXT"
    words: tuple[str, ...] = ()
    """What a choice may be."""
    names_of: ApiKind | None = None
    """What a shell completes it with."""

    @property
    def key(self) -> str:
        """The parameter of the command."""
        return self.field.replace(".", "_")

    @property
    def bare(self) -> str:
        """The flag's name without dashes, for `--add-…` and `--remove-…`."""
        return self.names[0].removeprefix("--")


def parameters(flags: Iterable[Flag], *, update: bool) -> list[inspect.Parameter]:
    """The parameters of a command that takes these flags; with `update` also `--add-…` and `--remove-…`."""
    made: list[inspect.Parameter] = []
    for flag in flags:
        names, text = flag.names, flag.help
        kind: Any = str | None
        if flag.shape in ("list", "map"):
            kind = list[str] | None
            text += " Can be repeated." if flag.shape == "map" else " Can be repeated, or a list with commas."
        elif flag.shape == "switch":
            kind = bool | None
            names = (f"{names[0]}/--no-{flag.bare}", *names[1:])
        elif flag.shape == "allow":
            kind = bool | None
        elif flag.shape == "number":
            kind = int | None
        elif flag.shape == "choice":
            kind = _LITERAL[flag.words] | None
        made.append(_parameter(flag.key, kind, names, text, flag.metavar, flag.names_of))
        if flag.shape == "secret":
            made.append(
                _parameter(
                    f"{flag.key}_env",
                    str | None,
                    (f"{flag.names[0]}-env",),
                    "Variable of the environment that holds it.",
                    "VAR",
                )
            )
        if update and flag.shape == "list":
            made.append(
                _parameter(f"add_{flag.key}", kind, (f"--add-{flag.bare}",), "One more.", flag.metavar)
            )
        if update and flag.shape in ("list", "map"):
            name = flag.metavar.partition("=")[0]
            made.append(_parameter(f"remove_{flag.key}", kind, (f"--remove-{flag.bare}",), "One less.", name))
    return made


def command(
    body: Callable[..., None],
    first: Iterable[inspect.Parameter] = (),
    flags: Iterable[Flag] | None = None,
    *,
    update: bool = False,
) -> Callable[..., None]:
    """`body` as a command: `first` are its arguments, and it gets the flags that were given as `given`."""
    first = list(first)
    extra = parameters(flags or (), update=update)
    named = {"given", *(each.name for each in first)}
    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(body, eval_str=True).parameters.values()
        if each.name not in named
    ]
    everything = [*first, *extra, *own]

    def run(**values: Any) -> None:
        given = {each.name: values.pop(each.name) for each in extra}
        if flags is not None:
            values["given"] = {name: value for name, value in given.items() if value not in (None, [])}
        body(**values)

    run.__signature__ = inspect.Signature(everything)  # pyright: ignore[reportFunctionMemberAccess] # read by Typer
    run.__annotations__ = {each.name: each.annotation for each in everything}
    return run


def argument(
    name: str, kind: Any, default: Any, metavar: str, help: str, complete: Any = None
) -> inspect.Parameter:
    """A positional argument of a command."""
    shown = typer.Argument(metavar=metavar, help=help, autocompletion=complete, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, shown]
    )


def applied(item: _Item, flags: Iterable[Flag], given: Mapping[str, Any]) -> _Item:
    """The item with what was given on the command line. Raises `ConfigurationError` for what is no value."""
    values: dict[str, Any] = {}
    media: dict[str, Any] = {}
    for flag in flags:
        current = _current(item, flag)
        value = _value(flag, current, given)
        if value is not current:
            head, _, tail = flag.field.partition(".")
            if tail:
                media[tail] = value
            else:
                values[head] = value
    if media:
        values["media"] = dataclasses.replace(item.media, **media)
    return dataclasses.replace(item, **values)


def cleared(item: _Item, flags: Iterable[Flag], names: Iterable[str]) -> _Item:
    """The item with fields emptied, named as in the model or as their flags. Raises `ConfigurationError`."""
    known = list(flags)
    empty = type(item)()
    for name in names:
        wanted = name.strip().removeprefix("--").replace("-", "_").removeprefix("media.")
        found = [
            flag
            for flag in known
            if wanted
            in (flag.field.removeprefix("media."), *(each[2:].replace("-", "_") for each in flag.names))
        ]
        if not found:
            fields = ", ".join(sorted(flag.field for flag in known))
            raise ConfigurationError(f"--clear {name}: there is no such field", "", f"Known are {fields}")
        head, _, tail = found[0].field.partition(".")
        if tail:
            media = dataclasses.replace(item.media, **{tail: getattr(Media(), tail)})
            item = dataclasses.replace(item, media=media)
        else:
            item = dataclasses.replace(item, **{head: getattr(empty, head)})
    return item


def text_of(source: str, what: str) -> str:
    """The text of a JSON argument: itself beginning with `{` or `[`, standard input (`-`), or a file."""
    if source.lstrip().startswith(("{", "[")):
        return source
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigurationError(
            f"{what} {source!r} cannot be read",
            reason or str(error),
            "Give a file, the JSON itself in quotes, or - for standard input; a name goes with --name",
        ) from None


def secret(value: str, prompt: str) -> str:
    """A password as given; `-` asks for it on a terminal, and reads a line of standard input elsewhere."""
    if value != "-":
        return value
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"{prompt}: ")
    return sys.stdin.readline().rstrip("\r\n")


def pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a dictionary. Raises `ConfigurationError` for one without `=`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(
                f"{flag} {text!r} cannot be used", "it has no =", f"Write {flag} NAME=VALUE"
            )
        found[name.strip()] = value
    return found


def _parameter(
    key: str, kind: Any, names: tuple[str, ...], text: str, metavar: str, complete: ApiKind | None = None
) -> inspect.Parameter:
    shown = None if kind == bool | None or "Literal" in str(kind) else metavar
    names_of_kind = names_of(complete) if complete else None
    option = typer.Option(*names, help=text, metavar=shown, show_default=False, autocompletion=names_of_kind)
    return inspect.Parameter(
        key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _current(item: InboundTrunk | OutboundTrunk | Rule, flag: Flag) -> Any:
    head, _, tail = flag.field.partition(".")
    value = getattr(item, head)
    return getattr(value, tail) if tail else value


def _value(flag: Flag, current: Any, given: Mapping[str, Any]) -> Any:
    """The field's new value, or `current` itself where nothing was given for it."""
    value = given.get(flag.key)
    if flag.shape == "secret":
        return _secret_value(flag, current, given)
    if flag.shape == "list":
        return _list_value(flag, current, given)
    if flag.shape == "map":
        removed = given.get(f"remove_{flag.key}")
        if value is None and removed is None:
            return current
        return {
            name: text
            for name, text in {**current, **pairs(value or (), flag.names[0])}.items()
            if name not in (removed or ())
        }
    if value is None:
        return current
    if flag.shape == "seconds":
        time = durations.seconds(value)
        if time is None:
            raise ConfigurationError(
                f"{flag.names[0]} {value!r} is no time",
                "",
                "Write seconds, or a time such as 30s, 5m or 1h30m",
            )
        return time
    if flag.shape == "json":
        return _json_value(flag, value)
    return value


def _list_value(flag: Flag, current: Any, given: Mapping[str, Any]) -> Any:
    value, added, removed = (given.get(f"{prefix}{flag.key}") for prefix in ("", "add_", "remove_"))
    if value is None and added is None and removed is None:
        return current
    if flag.field == "agents":
        have: tuple[AgentDispatch, ...] = current if value is None else ()
        names = [*(agent.name for agent in have), *_split(value or ()), *_split(added or ())]
        known = {agent.name: agent for agent in current}
        left = [name for name in dict.fromkeys(names) if name not in _split(removed or ())]
        return tuple(known.get(name, AgentDispatch(name)) for name in left)
    texts = [*(current if value is None else _split(value)), *_split(added or ())]
    gone = _split(removed or ())
    strangers = [each for each in gone if each not in texts]
    if strangers:
        raise ConfigurationError(
            f"--remove-{flag.bare} {strangers[0]}: it is not there",
            "",
            f"There are {', '.join(texts) or 'none'}",
        )
    return tuple(dict.fromkeys(each for each in texts if each not in gone))


def _secret_value(flag: Flag, current: Any, given: Mapping[str, Any]) -> Any:
    value, variable = given.get(flag.key), given.get(f"{flag.key}_env")
    if value is not None and variable is not None:
        raise ConfigurationError(
            f"{flag.names[0]} and {flag.names[0]}-env were both given", "", "Give one of them"
        )
    if variable is not None:
        if not os.environ.get(variable):
            raise ConfigurationError(
                f"{flag.names[0]}-env {variable}: this variable is not set",
                "",
                f"Set it: export {variable}=…",
            )
        return os.environ[variable]
    return current if value is None else secret(value, flag.names[0].removeprefix("--").replace("-", " "))


def _json_value(flag: Flag, value: str) -> dict[str, Any]:
    from google.protobuf import json_format

    from sip.api.wire import room_configuration

    try:
        document = json.loads(text_of(value, flag.names[0]))
    except ValueError as error:
        raise ConfigurationError(f"{flag.names[0]} is no JSON", str(error)) from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{flag.names[0]} holds no object", "", 'Write {"empty_timeout": 60}')
    if "agents" in document:
        raise ConfigurationError(
            f"{flag.names[0]} holds agents", "they have a flag of their own", "Use --agent"
        )
    return json_format.MessageToDict(room_configuration(document), preserving_proto_field_name=True)


def _split(texts: Iterable[str]) -> list[str]:
    return [piece.strip() for text in texts for piece in text.split(",") if piece.strip()]
