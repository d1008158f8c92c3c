"""Trunks and rules as they are on the server: do calls find their way, and only those that should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sip.checks import validate
from sip.dispatch.decide import normalise
from sip.doctor.context import Context
from sip.finding import Finding
from sip.model import InboundTrunk, Item, OutboundTrunk, State, kind_of
from sip.plan.steps import KINDS, Step
from sip.plan.unsafe import findings as unsafe

SPOKEN = ("PCMU", "PCMA", "G722")
"""Codecs of LiveKit's SIP service and of ours; AMR-WB has to be switched on."""
_COMMANDS = {"inbound": "trunk inbound", "outbound": "trunk outbound", "rule": "rule"}


async def paths(context: Context) -> Sequence[Finding]:
    """Trunks that nobody can reach, rules that no call reaches."""
    return list(find_paths(await context.state()))


async def openings(context: Context) -> Sequence[Finding]:
    """Trunks and rules that let anybody in."""
    return list(find_openings(await context.state()))


async def fields(context: Context) -> Sequence[Finding]:
    """What is wrong with single fields."""
    return [finding for item in await context.state() for finding in find_problems(item)]


async def codecs(context: Context) -> Sequence[Finding]:
    """Trunks whose codecs nobody here speaks, or the preset's far end does not."""
    state = await context.state()
    found = [finding for trunk in (*state.inbound, *state.outbound) for finding in find_codecs(trunk)]
    for name in context.presets:
        found += _preset_codecs(name, state)
    return found


def find_paths(state: State) -> Iterator[Finding]:
    """Whether calls that come in over each trunk find a rule."""
    if not (state.inbound or state.outbound or state.rules):
        yield Finding(
            "nothing-configured", "error", "There are no trunks and no rules: no call comes in or goes out.",
            "sip preset list; sip apply trunks.yaml; or sip trunk inbound create --help",
        )  # fmt: skip
        return
    if state.inbound and not state.rules:
        yield Finding(
            "no-rules", "error", "There are inbound trunks and no dispatch rule: every call is refused.",
            "sip rule create --help",
        )  # fmt: skip
    elif state.inbound:
        for trunk in state.inbound:
            yield from _reach(trunk, state)
    if state.rules and not state.inbound and all(rule.trunks for rule in state.rules):
        yield Finding(
            "no-inbound-trunks",
            "error",
            "There are dispatch rules and no inbound trunk: no call reaches them.",
            "sip trunk inbound create --help",
        )
    known = {trunk.id for trunk in state.inbound}
    for rule in state.rules:
        lost = [id for id in rule.trunks if id not in known]
        if lost and state.inbound:
            all_lost = len(lost) == len(rule.trunks)
            yield Finding(
                "unknown-trunk",
                "error" if all_lost else "warning",
                f"The rule names {', '.join(lost)}, and there is no such inbound trunk"
                + (": no call ever reaches it." if all_lost else "."),
                f"sip rule update {_named(rule)} --trunk NAME",
                _named(rule),
            )
    yield from _clashes(state)


def find_openings(state: State) -> Iterator[Finding]:
    """Whom they let in without asking."""
    for trunk in state.inbound:
        if validate.open_trunk(trunk):
            yield Finding(
                "open-trunk",
                "warning",
                "Anybody who knows one of its numbers gets in: neither the source address nor a password is"
                " asked for. Strangers' calls cost money and take lines.",
                f"sip trunk inbound update {_named(trunk)} --allowed-address ADDRESS",
                _named(trunk),
            )
    for rule in state.rules:
        if not rule.trunks:
            yield Finding(
                "rule-without-trunks",
                "warning",
                "It also takes calls that no trunk let in, so neither addresses nor passwords of trunks"
                " protect it.",
                f"sip rule update {_named(rule)} --trunk NAME",
                _named(rule),
            )


def find_problems(item: Item) -> Iterator[Finding]:
    """Problems of single fields; what other checks tell better is left to them."""
    for problem in validate.problems(item):
        if (
            problem.name in (validate.OPEN_TRUNK, validate.RULE_WITHOUT_TRUNKS)
            or problem.field == "media.codecs"
        ):
            continue
        yield Finding(
            f"{kind_of(item)}-{problem.field.replace('.', '-').replace('_', '-')}",
            "error" if problem.severity == "error" else "warning",
            f"{problem.field} of {KINDS[kind_of(item)]} {_named(item)}: {problem.reason}.",
            problem.mend,
            _named(item),
        )


def find_codecs(trunk: InboundTrunk | OutboundTrunk) -> Iterator[Finding]:
    """Codecs that are demanded and that the SIP service does not speak."""
    media = trunk.media
    named = {codec.partition("/")[0].upper() for codec in media.codecs}
    if named and media.only_listed_codecs and not named & {*SPOKEN, "AMR-WB"}:
        yield Finding(
            "no-common-codec",
            "error",
            f"It allows {', '.join(sorted(named))} only, and LiveKit's SIP speaks {', '.join(SPOKEN)}: every"
            " call is refused with 488.",
            f"sip {_COMMANDS[kind_of(trunk)]} update {_named(trunk)} --codec PCMU --codec PCMA",
            _named(trunk),
        )


def _preset_codecs(name: str, state: State) -> Iterator[Finding]:
    from sip import presets

    value = presets.load(name).facts["codecs"].value
    if not isinstance(value, tuple):
        return  # nobody knows
    theirs = {codec.partition("/")[0].upper() for codec in value}
    for trunk in (*state.inbound, *state.outbound):
        ours = {codec.partition("/")[0].upper() for codec in trunk.media.codecs}
        if not trunk.media.only_listed_codecs:
            ours |= set(SPOKEN)
        if theirs and not ours & theirs:
            yield Finding(
                "no-common-codec",
                "error",
                f"{name} speaks {', '.join(sorted(theirs))}, the trunk {', '.join(sorted(ours))}: calls"
                " between them are refused with 488.",
                f"sip {_COMMANDS[kind_of(trunk)]} update {_named(trunk)} --codec PCMU",
                _named(trunk),
            )


def _reach(trunk: InboundTrunk, state: State) -> Iterator[Finding]:
    taking = [rule for rule in state.rules if not rule.trunks or trunk.id in rule.trunks]
    if not taking:
        yield Finding(
            "unreachable-trunk",
            "error",
            "No dispatch rule takes calls of this trunk: every one is refused (livekit-sip says `flood`).",
            f"sip rule create --individual call- --agent NAME --trunk {_named(trunk)}",
            _named(trunk),
        )
        return
    if any(not rule.numbers for rule in taking):
        return
    listed = {number for rule in taking for number in rule.numbers}
    spelt = {normalise(number): number for number in listed}
    for number in trunk.numbers:
        if number in listed:
            continue
        other = spelt.get(normalise(number))
        if other:
            yield Finding(
                "rule-number-spelling",
                "warning",
                "A number of the trunk is spelt otherwise in the rule. Trunks take any spelling, rules only"
                " that of the INVITE, letter for letter: calls are refused if the carrier sends the other.",
                f"sip explain --to {number} --from NUMBER --source ADDRESS; sip rule update NAME --number …",
                _named(trunk),
            )
        else:
            yield Finding(
                "number-without-rule",
                "error",
                "A number of the trunk stands in none of the rules that take its calls: they are refused.",
                f"sip explain --to {number} --from NUMBER --source ADDRESS",
                _named(trunk),
            )
    if not trunk.numbers:
        yield Finding(
            "numbers-only-in-rules",
            "info",
            "The trunk takes any number, its rules only some: calls to others are refused.",
            "",
            _named(trunk),
        )


def _clashes(state: State) -> Iterator[Finding]:
    """What `sip plan` would refuse, were all that is live written anew."""
    steps = [
        Step("update", kind_of(item), item.name, item.id, item, replace(item))
        for item in (*state.inbound, *state.rules)
    ]
    for each in unsafe(steps, state, state, {}):
        if each.name in ("shared-number", "shadowed-rule"):
            yield Finding(
                each.name,
                "error" if each.name == "shared-number" else "warning",
                f"{each.reason}.",
                f"{each.mend}: sip {_COMMANDS[each.kind]} update {each.label or each.item} --help",
                each.label or each.item,
            )


def _named(item: Item) -> str:
    return item.name or getattr(item, "id", "")
