"""What `list`, `show`, `create`, `update` and `delete` do: the same for trunks and rules."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sip.checks.problem import Problem
from sip.cli import flags, output
from sip.cli.flags import Flag
from sip.errors import ConfigurationError, SipError
from sip.model import InboundTrunk, OutboundTrunk, Rule

if TYPE_CHECKING:
    from sip.api.connect import Target
    from sip.api.live import Live
    from sip.api.wire import ApiKind, Message

MASK = "***"


@dataclass(frozen=True)
class Spec:
    """What is different between the kinds."""

    kind: ApiKind
    blank: InboundTrunk | OutboundTrunk | Rule
    """What `create` begins with."""
    id_label: str
    """As `lk sip` prints it: `SIPTrunkID`."""
    flags: tuple[Flag, ...]
    """Of the model's fields."""
    extra: tuple[Flag, ...]
    """Flags that are no field of their own; `adjust` reads them."""
    adjust: Callable[[Any, Mapping[str, Any]], Any]
    """An item with what the extra flags say; gets the item and what was given."""
    allowing: str
    """The extra flag that lets an unsafe one pass."""
    columns: tuple[str, ...]
    row: Callable[[Any, Mapping[str, str]], Sequence[object]]
    """A line of the table; gets the item, and names of trunks by id."""


def listing(spec: Spec, target: Target, *, as_json: bool, show_secrets: bool) -> None:
    """All of one kind, sorted by name."""

    async def body(live: Live) -> None:
        from sip.api import protojson

        items: list[Any] = await live.list(spec.kind)
        items.sort(key=lambda item: (item.name, item.id))
        if as_json:
            output.as_json([protojson.dump(live.message(each), show_secrets=show_secrets) for each in items])
            return
        names = await _trunk_names(live) if spec.kind == "rule" else {}
        rows = [spec.row(item, names) for item in items]
        output.table(spec.columns, rows, empty=f"There are none at {target.url} ({target.origin}).")

    _run(target, body)


def show(spec: Spec, target: Target, name: str, *, as_json: bool, show_secrets: bool) -> None:
    """One of them, with every field that is set, and what is wrong with it."""

    async def body(live: Live) -> None:
        from sip.api import protojson
        from sip.checks.validate import problems

        item = await live.find(spec.kind, name)
        if as_json:
            output.as_json(protojson.dump(live.message(item), show_secrets=show_secrets))
            return
        names = await _trunk_names(live) if spec.kind == "rule" else {}
        output.fields(_shown(item, names))
        for problem in problems(item):
            output.warn(str(problem))

    _run(target, body)


def create(
    spec: Spec,
    target: Target,
    sources: Sequence[str],
    given: Mapping[str, Any],
    *,
    as_json: bool,
    show_secrets: bool,
) -> None:
    """Make one from flags, or one for each JSON object; flags win over the JSON."""

    async def body(live: Live) -> None:
        from sip.api import protojson, wire

        drafts: list[tuple[Any, Message | None]] = []
        for source in sources:
            label = (
                "standard input" if source == "-" else "the JSON" if source.lstrip()[:1] in "{[" else source
            )
            for document in protojson.documents(flags.text_of(source, "JSON"), spec.kind, label):
                message = protojson.read(document, spec.kind, label)
                if isinstance(spec.blank, Rule) and not wire.has_kind(message):
                    wire.write(message, spec.blank, {"kind"})
                drafts.append((wire.read(message), message))
        if not sources:
            drafts.append((spec.blank, None))
        made: list[Any] = []
        ready = [
            (
                await _checked(spec, live, _given(spec, item, given), given, None, as_it_is=like is not None),
                like,
            )
            for item, like in drafts
        ]
        for item, like in ready:
            made.append(await live.create(item, like))
            if not as_json:
                print(f"{spec.id_label}: {made[-1].id}", flush=True)
        if as_json:
            shown = [protojson.dump(live.message(each), show_secrets=show_secrets) for each in made]
            output.as_json(shown[0] if len(shown) == 1 else shown)

    _run(target, body)


def update(
    spec: Spec,
    target: Target,
    arguments: Sequence[str],
    given: Mapping[str, Any],
    *,
    id: str,
    clear: Sequence[str],
    replace: bool,
    as_json: bool,
    show_secrets: bool,
) -> None:
    """Change one: what the JSON and the flags name, and nothing else; with `replace` JSON is all of it."""
    name, source = _name_and_source(arguments, id)
    if not (source or given or clear):
        raise ConfigurationError("there is nothing to change", "neither a flag nor JSON was given")
    if replace and not source:
        raise ConfigurationError("--replace needs JSON", "flags change single fields")

    async def body(live: Live) -> None:
        from sip.api import protojson, wire

        documents = protojson.documents(flags.text_of(source, "JSON"), spec.kind) if source else []
        if len(documents) > 1:
            raise ConfigurationError("the JSON holds several objects", "one is changed at a time")
        wanted = name or (protojson.identity(documents[0]) if documents else "")
        if not wanted:
            raise ConfigurationError(
                "which one is to change is not said", "", "Give its name or id, or put the id into the JSON"
            )
        old = await live.find(spec.kind, wanted)
        like: Message | None = None
        new: Any = old
        if documents:
            held = live.message(old)
            like = type(held)() if replace else held
            protojson.apply(documents[0], like, before=wire.copy(held))
            new = dataclasses.replace(wire.read(like), id=old.id, managed=old.managed)
        new = _given(spec, flags.cleared(new, spec.flags, clear), given)
        new = await _checked(spec, live, new, given, old, as_it_is=bool(documents))
        done = await live.update(old, new, like)
        if as_json:
            output.as_json(protojson.dump(live.message(done), show_secrets=show_secrets))
        else:
            print(f"{spec.id_label}: {done.id}")
            if dataclasses.replace(done, id="") == dataclasses.replace(old, id=""):
                output.say("Nothing changed.")

    _run(target, body)


def delete(spec: Spec, target: Target, names: Sequence[str], *, yes: bool, as_json: bool) -> None:
    """Remove them, after a question that says what hangs on them."""

    async def body(live: Live) -> None:
        from sip.api.live import NOUNS, choose, label

        items: list[Any] = await live.list(spec.kind)
        chosen = list({item.id: item for item in (choose(items, spec.kind, name) for name in names)}.values())
        if spec.kind == "inbound":
            await _say_rules(live, [item.id for item in chosen])
        what = label(chosen[0]) if len(chosen) == 1 else f"{len(chosen)} {NOUNS[spec.kind]}s"
        if not output.confirm(f"Delete {what}?", yes=yes):
            output.say("Nothing was deleted.")
            return
        for item in chosen:
            await live.delete(item)
            if not as_json:
                print(f"{spec.id_label}: {item.id} deleted", flush=True)
        if as_json:
            output.as_json({"deleted": [item.id for item in chosen]})

    _run(target, body)


def _run(target: Target, body: Callable[[Live], Coroutine[Any, Any, None]]) -> None:
    from sip.api.live import Live

    async def run() -> None:
        async with Live(target) as live:
            await body(live)

    asyncio.run(run())


def _given(spec: Spec, item: Any, given: Mapping[str, Any]) -> Any:
    return spec.adjust(flags.applied(item, spec.flags, given), given)


async def _checked(
    spec: Spec, live: Live, item: Any, given: Mapping[str, Any], old: Any, *, as_it_is: bool = False
) -> Any:
    """The item, once it may be sent: trunks of a rule are there, nothing is wrong, nobody is let in.

    What came as JSON is taken `as_it_is`, as `lk sip` does: an opening in it is warned of, not refused.
    """
    from sip.api.live import choose, label
    from sip.checks.validate import problems

    if isinstance(item, Rule) and (old is None or item.trunks != old.trunks):
        item = await _with_trunks(live, item, choose, fill=not (as_it_is or given.get("any_trunk")))
    known = set(problems(old)) if old is not None else set[Problem]()
    errors: list[Problem] = []
    for problem in problems(item):
        allowed = problem.severity == "unsafe" and bool(given.get(spec.allowing))
        told = problem.severity == "warning" or (problem.severity == "unsafe" and as_it_is)
        if problem in known or (told and not allowed):
            output.warn(str(problem))
        elif not allowed:
            errors.append(problem)
    errors += await _conflicts(live, item)
    if errors and all(problem.severity == "unsafe" for problem in errors) and output.can_ask():
        for problem in errors:
            output.warn(str(problem))
        if not output.confirm("Go on all the same?"):
            raise SipError("nothing was sent to the server")
        errors = []
    if errors:
        flag = "--" + spec.allowing.replace("_", "-")
        lines = [
            f"{problem}" + (f" ({flag} if that is meant)" if problem.severity == "unsafe" else "")
            for problem in errors
        ]
        what = f"{label(item)} was not sent to the server"
        raise ConfigurationError(what, lines[0] if len(lines) == 1 else "\n  ".join(["", *lines]).lstrip(" "))
    return item


async def _conflicts(live: Live, item: Any) -> list[Problem]:
    """Trunks or rules that have already what this one takes: the server refuses it without naming them.

    To the server, a rule that lists something twice is in conflict with itself.
    """
    from sip.api.live import label
    from sip.plan.conflicts import doubles, keys

    if not keys(item):
        return []
    rule = isinstance(item, Rule)
    others: list[Any] = await live.list("rule" if rule else "inbound")
    twice = [
        Problem(field, f"{value} stands there twice", "Remove one")
        for field, value in (doubles(item) if isinstance(item, Rule) else ())
    ]
    return twice + [
        Problem(
            "numbers",
            f"{label(other)} ({other.id}) takes these calls already",
            "Give each its own trunks, numbers, callers or PIN"
            if rule
            else "Give each its own numbers or callers",
        )
        for other in others
        if other.id != item.id and keys(other) & keys(item)
    ]


async def _with_trunks(live: Live, rule: Rule, choose: Callable[..., Any], *, fill: bool) -> Rule:
    """The rule with the ids of its trunks; with `fill` the only trunk that there is, where it names none."""
    trunks = await live.list("inbound")
    if rule.trunks:
        ids = tuple(dict.fromkeys(choose(trunks, "inbound", trunk).id for trunk in rule.trunks))
        return dataclasses.replace(rule, trunks=ids)
    if not fill or len(trunks) != 1:
        return rule
    output.say(f"The rule takes the calls of {trunks[0].name or trunks[0].id}, the only inbound trunk.")
    return dataclasses.replace(rule, trunks=(trunks[0].id,))


async def _say_rules(live: Live, ids: Iterable[str]) -> None:
    gone = set(ids)
    for rule in await live.list("rule"):
        if gone.intersection(rule.trunks):
            left = len(set(rule.trunks) - gone)
            after = f"{left} other trunks" if left else "no trunk, and takes no call then"
            output.warn(f"rule {rule.name or rule.id} takes calls of it: it is left with {after}")


async def _trunk_names(live: Live) -> dict[str, str]:
    return {trunk.id: trunk.name or trunk.id for trunk in await live.list("inbound")}


def _name_and_source(arguments: Sequence[str], id: str) -> tuple[str, str]:
    """`NAME [JSON]`; or only the JSON, where `--id` or the JSON itself says which one."""
    if id and len(arguments) == 2:
        raise ConfigurationError(
            f"--id {id} and the name {arguments[0]!r} were both given", "", "Give one of them"
        )
    if len(arguments) > 2:
        raise ConfigurationError(
            f"{arguments[2]!r} is one argument too many", "", "Give a name or id and at most one JSON"
        )
    if len(arguments) == 2:
        return arguments[0], arguments[1]
    only = arguments[0] if arguments else ""
    if id:
        return id, only
    if only == "-" or only.lstrip().startswith(("{", "[")) or only.endswith(".json"):
        return "", only
    if not only:
        raise ConfigurationError("which one is to change is not said", "", "Give its name or id")
    return only, ""


def _shown(item: Any, names: Mapping[str, str]) -> list[tuple[str, object]]:
    """Fields that are set, with secrets masked and trunks by name."""
    rows: list[tuple[str, object]] = []
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.name in ("auth_password", "pin") and value:
            value = MASK
        elif field.name == "trunks":
            value = [f"{names.get(each, '(gone)')} ({each})" for each in value] or "(any, also none)"
        elif field.name == "agents":
            value = [f"{agent.name} {agent.metadata}".strip() for agent in value]
        elif field.name == "media":
            rows += [
                (f"media.{each.name}", getattr(value, each.name))
                for each in dataclasses.fields(value)
                if getattr(value, each.name) not in (0, False, (), "disable")
            ]
            continue
        elif field.name == "managed":
            value = "yes" if value else ""
        if value not in ("", (), [], {}, 0, False, None, "none", "auto") or field.name in ("name", "id"):
            rows.append((field.name, value))
    return rows
