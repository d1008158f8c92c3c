"""`sip explain`: which trunk and rule an INVITE would match, or what keeps it out."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.cli import output
from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url
from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from sip.dispatch.explain import Call, Candidate, Explanation
    from sip.model import State

SHOWN = 8
"""Candidates of each kind, and values of each list, that are shown without --all."""
_URI = re.compile(r"(?:sips?|tel):([^@;>]+)(?:@(\[[^\]]+\]|[^:;>]+))?[^>]*")


def explain(
    caller: Annotated[str, typer.Option("--from", metavar="NUMBER", help="User of From, or a SIP URI.")],
    called: Annotated[str, typer.Option("--to", metavar="NUMBER", help="User of To, or a SIP URI.")],
    source: Annotated[
        str,
        typer.Option(metavar="IP", help="Where the INVITE comes from; without it, addresses pass unchecked."),
    ] = "",
    digest: Annotated[
        str | None,
        typer.Option(metavar="USER", help="User that it answers a challenge with; the password is right."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="A header of it, to see its attribute."),
    ] = None,
    from_host: Annotated[str, typer.Option(metavar="HOST", help="Host of From.")] = "",
    to_host: Annotated[
        str, typer.Option(metavar="HOST", help="Host of To; the server does not look at it.")
    ] = "",
    pin: Annotated[
        str | None, typer.Option(metavar="DIGITS", help="What is typed when a PIN is asked for.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A wanted state such as trunks.yaml, instead of the live one."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every trunk and rule, not the nearest.")] = False,
    as_json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
) -> None:
    """Which trunk and rule a call would match; or the field of each that refuses it, and the nearest mend.

    The answer is livekit-server's own: its rules are played through, nothing is called. Exit code 0: the
    call reaches a room; 1: it does not.
    """
    from sip.dispatch.explain import Call
    from sip.dispatch.explain import explain as explained

    from_user, host = _user(caller)
    to_user, its_host = _user(called)
    call = Call(
        _address(source),
        from_user,
        to_user,
        from_host or host,
        to_host or its_host,
        _headers(header or []),
        digest,
        pin,
    )
    if file is None:
        state, origin = asyncio.run(_live(url, api_key, api_secret, stack))
    else:
        state, origin = _wanted(file), str(file)
    found = explained(state, call)
    if as_json:
        output.as_json(_document(found, call, state, origin))
    else:
        output.say(f"{origin}: {len(state.inbound)} inbound trunks, {len(state.rules)} rules")
        _show(found, call, state, file, everything)
    if not found.reaches:
        raise typer.Exit(1)


async def _live(url: str, key: str, secret: str, stack: str) -> tuple[State, str]:
    from sip.api.connect import find
    from sip.api.live import Live

    target = find(url, key, secret, stack)
    async with Live(target) as live:
        return await live.fetch(), target.origin


def _wanted(file: Path) -> State:
    """The state of a file, with ids; a password that the environment lacks counts as one."""
    from sip.dispatch.explain import resolved
    from sip.wanted import desired

    read = desired.read(file)
    lacking = {name for kind, name, field in read.unset if (kind, field) == ("inbound", "auth_password")}
    trunks = tuple(
        replace(trunk, auth_password="unset") if {trunk.id, trunk.name} & lacking else trunk
        for trunk in read.state.inbound
    )
    return resolved(replace(read.state, inbound=trunks))


def _user(text: str) -> tuple[str, str]:
    """User and host of a SIP or tel URI; anything else is a user."""
    found = _URI.fullmatch(text.strip().removeprefix("<").removesuffix(">"))
    return (found[1], found[2] or "") if found else (text, "")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        mend = "Give the far end's address without a port, such as --source 203.0.113.7"
        raise ConfigurationError(f"--source {text}", "it is no IP address", mend) from None


def _headers(pairs: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise ConfigurationError(f"--header {pair}", "it is not NAME=VALUE", "Such as --header X-Id=7")
        headers[name.strip()] = value
    return headers


def _attributes(found: Explanation, call: Call) -> dict[str, str]:
    """Attributes of the caller's participant, as far as this call decides them."""
    from sip.service.calls.mapping import ALL_HEADERS, X_HEADERS, to_attributes
    from sip.service.signalling.messages import Request

    trunk, rule = found.decision.trunk, found.decision.rule
    if rule is None:
        return {}
    attributes = dict(rule.attributes)
    attributes |= {"sip.trunkID": trunk.id if trunk else "", "sip.ruleID": rule.id}
    if not rule.hide_phone_number:
        attributes |= {
            "sip.phoneNumber": call.caller,
            "sip.trunkPhoneNumber": call.called,
            "sip.hostname": call.caller_host,
        }
    request = Request(method="INVITE")
    for name, value in call.headers.items():
        request.headers.add(name, value)
    include = {"none": 0, "x": X_HEADERS, "all": ALL_HEADERS}[trunk.include_headers if trunk else "none"]
    mapped = trunk.headers_to_attributes if trunk else {}
    return attributes | to_attributes(request, mapped, include, hide_caller=rule.hide_phone_number)


def _room(found: Explanation) -> str:
    decision = found.decision
    return f"{decision.room}_(random)" if decision.random else decision.room


def sentence(found: Explanation, call: Call) -> str:
    """The verdict in one line."""
    decision = found.decision
    trunk = f"trunk {decision.trunk.name or decision.trunk.id}" if decision.trunk else "no trunk"
    rule = f"rule {decision.rule.name or decision.rule.id}" if decision.rule else "no rule"
    both = " and ".join(item.name or item.id for item in decision.conflict)
    lead = f"room {_room(found)} by {rule}" if decision.room else rule
    match found.verdict:
        case "room":
            return f"reaches room {_room(found)}: {trunk}, {rule}"
        case "credentials asked":
            return f"is asked for credentials (407): {trunk} wants user {decision.user}; after that {lead}"
        case "wrong user":
            return f"is refused (407, then 403): {trunk} wants user {decision.user}, not {call.digest}"
        case "PIN asked":
            return f"is asked for a PIN: {trunk}, {rule}"
        case "wrong PIN":
            return f"gets into no room: {trunk}, no rule has this PIN"
        case "refused":
            return f"is refused (403): a trunk has {call.called}, but not for this source or caller"
        case "no trunk":
            return f"is refused (404): no trunk has {call.called}"
        case "no rule":
            return f"is refused (404): {trunk} lets it in, and no rule takes it"
        case "trunk conflict":
            return f"is refused (500): trunks {both} both take it, and the server does not choose"
        case "rule conflict":
            twice = len({item.id for item in decision.conflict}) == 1
            what = f"rule {both.split(' and ')[0]} has a number twice" if twice else f"rules {both} collide"
            return f"is refused (500): {what}, and the server then reads none"
        case "bad source":
            return "is refused (500): its source is no IP address"
        case "crash":
            return f"ends livekit-server 1.13.5: From has no user, and {rule} hides numbers"
        case "malformed":
            return f"is refused (500): {rule} hides numbers, and cuts this one within a character"


def _show(found: Explanation, call: Call, state: State, file: Path | None, everything: bool) -> None:
    verdict = f"The call {sentence(found, call)}"
    print(output.paint(verdict, "green" if found.reaches else "red"))
    print()
    names = {trunk.id: trunk.name or trunk.id for trunk in state.inbound}
    _table(found.trunks, "no inbound trunks", everything, {})
    print()
    _table(found.rules, "no dispatch rules", everything, names)
    if found.reaches and call.headers:
        print()
        output.fields(_attributes(found, call).items())
    if found.mends or found.advice:
        print()
        print(output.paint("Nearest mend", "bold"))
        for mend in found.mends:
            print(f"  {f'{file}: {mend.text}' if file else mend.command}")
        if found.mends and file:
            print(f"  sip apply {file}")
        if found.advice:
            print(f"  {found.advice}")
        if any(mend.field == "allowed_addresses" for mend in found.mends):
            output.say(f"  (only if {call.source} is the far end that is meant)")
    for note in found.notes:
        output.warn(note)


def _table(candidates: tuple[Candidate, ...], empty: str, everything: bool, names: Mapping[str, str]) -> None:
    """A line a failing field. `names` are those of trunks, for rules speak of their ids."""
    shown = candidates if everything else candidates[:SHOWN]
    rows: list[tuple[str, str, str, str]] = []
    for each in shown:
        name = each.name or each.id
        if not each.failures:
            rows.append((name, f"fits, after {each.after}" if each.after else "takes it", "", ""))
        for failure in each.failures:
            known = names if failure.field == "trunk_ids" else {}
            values = [known.get(value, repr_if_odd(value)) for value in failure.expected]
            if len(values) > SHOWN and not everything:
                values = [*values[:SHOWN], f"and {len(values) - SHOWN} more"]
            actual = known.get(failure.actual, failure.actual)
            actual = f"{actual} ({failure.hint})" if failure.hint else actual
            rows.append((name, failure.field, ", ".join(values), actual))
            name = ""
    kind = candidates[0].kind if candidates else "trunk"
    output.table((kind, "field", "expected", "the call has"), rows, empty=empty)
    if len(shown) < len(candidates):
        output.say(f"and {len(candidates) - len(shown)} more (--all)")


def repr_if_odd(value: str) -> str:
    """In quotes where it would not be seen, or could be taken for two."""
    return repr(value) if not value or value != value.strip() or "," in value else value


def _document(found: Explanation, call: Call, state: State, origin: str) -> dict[str, Any]:
    decision = found.decision
    return {
        "origin": origin,
        "reaches": found.reaches,
        "verdict": found.verdict,
        "code": found.code,
        "sentence": sentence(found, call),
        "trunk": _named(decision.trunk),
        "rule": _named(decision.rule),
        "room": decision.room,
        "room_random": decision.random,
        "identity": decision.identity,
        "credentials": decision.user,
        "agents": [agent.name for agent in decision.rule.agents] if decision.rule else [],
        "attributes": _attributes(found, call),
        "trunks": found.trunks,
        "rules": found.rules,
        "mends": found.mends,
        "advice": found.advice,
        "notes": found.notes,
    }


def _named(item: Any) -> dict[str, str] | None:
    return {"id": item.id, "name": item.name} if item else None
