"""Which trunk and rule an inbound call matches; if none, which field of each refused, and the nearest mend.

What the server decides is `sip.dispatch.decide`; this says why, and what to change. No I/O.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from sip.dispatch.decide import (
    Call,
    Decision,
    decide,
    mask_counts,
    normalise,
    ranking,
    resolved,
    rule_failures,
    rules_for,
    trunk_failures,
)
from sip.dispatch.mend import Mend, changed
from sip.dispatch.mend import nearest as nearest_mends
from sip.model import InboundTrunk, Rule, State

__all__ = ["Call", "Candidate", "Explanation", "Failure", "Mend", "explain", "forbidding", "resolved"]

Verdict = Literal[
    "room",
    "credentials asked",
    "wrong user",
    "PIN asked",
    "wrong PIN",
    "refused",
    "no trunk",
    "no rule",
    "trunk conflict",
    "rule conflict",
    "bad source",
    "crash",
    "malformed",
]
"""`refused`: a trunk has the number, but not for this source or caller."""

_CODES: dict[Verdict, int] = {
    "room": 200,
    "PIN asked": 200,
    "credentials asked": 407,
    "wrong user": 403,
    "refused": 403,
    "trunk conflict": 500,
    "rule conflict": 500,
    "crash": 500,
    "malformed": 500,
}


@dataclass(frozen=True)
class Failure:
    """A field that refuses the call."""

    field: str
    expected: tuple[str, ...]
    """What the object lets through; of a PIN nothing is told."""
    actual: str
    hint: str = ""


@dataclass(frozen=True)
class Candidate:
    """A trunk or a rule, and what it has against the call."""

    kind: Literal["trunk", "rule"]
    id: str
    name: str
    failures: tuple[Failure, ...] = ()
    after: str = ""
    """Where nothing speaks against it: the one that goes before it; empty for the one that takes the call."""

    def __str__(self) -> str:
        """For logs: no numbers, only the first field."""
        what = self.failures[0].field if self.failures else f"after {self.after}" if self.after else "fits"
        return f"{self.kind} {self.name or self.id} ({self.id}): {what}"


@dataclass(frozen=True)
class Explanation:
    """What becomes of a call."""

    verdict: Verdict
    code: int
    """SIP code that the caller gets in the end: 200, 403, 404, 407 or 500."""
    decision: Decision
    """The server's own answer; its rule and room are what credentials or a PIN would lead to."""
    trunks: tuple[Candidate, ...] = ()
    """All inbound trunks, nearest first."""
    rules: tuple[Candidate, ...] = ()
    """All rules, nearest first."""
    mends: tuple[Mend, ...] = ()
    """All of them together let the call reach a room (or its PIN); tried out on the state."""
    advice: str = ""
    """What to do beside `mends`, or in their place: a command, or what the far end has to do."""
    notes: tuple[str, ...] = field(default=())
    """What may surprise, also where the call reaches a room."""

    @property
    def reaches(self) -> bool:
        """Whether the call gets into a room."""
        return self.verdict == "room"

    def __str__(self) -> str:
        """For logs: no numbers."""
        decision = self.decision
        if self.reaches and decision.rule:
            return f"trunk {decision.trunk.id if decision.trunk else '(none)'}, rule {decision.rule.id}"
        nearest = self.rules if decision.trunk else self.trunks
        if not nearest:
            return "there are no dispatch rules" if decision.trunk else "there are no inbound trunks"
        return "; ".join(map(str, nearest[:3]))


def explain(state: State, call: Call) -> Explanation:
    """What livekit-server does with this call, and why.

    The objects of `state` need ids, as those of a live one have; a wanted one goes through `resolved` first.
    `call.pin` is what the caller types when a PIN is asked for.
    """
    first = decision = decide(state, replace(call, pin=None))
    if first.outcome == "pin" and call.pin is not None:
        decision = decide(state, call)
    verdict = _verdict(state, call, first, decision)
    trunks = _trunks(state, call, decision)
    mends: tuple[Mend, ...] = ()
    if verdict in ("refused", "no trunk", "no rule"):
        mends = nearest_mends(state, call, decision.trunk)
    return Explanation(
        verdict,
        _CODES.get(verdict, 404),
        decision,
        trunks,
        _rules(state, call, decision, first),
        mends,
        _advice_after(state, call, mends) if mends else _advice(verdict, state, call, decision),
        tuple(_notes(state, call, first, decision)),
    )


def forbidding(state: State, call: Call) -> Candidate | None:
    """The trunk that names this number and refuses this caller or source, if there is one.

    livekit-server lets such a call on to rules without trunks; `sip serve` does not.
    """
    for trunk in state.inbound:
        failed = trunk_failures(trunk, call)
        if trunk.numbers and failed and "numbers" not in failed:
            failures = tuple(_trunk_failure(trunk, name, call) for name in failed)
            return Candidate("trunk", trunk.id, trunk.name, failures)
    return None


def _verdict(state: State, call: Call, first: Decision, decision: Decision) -> Verdict:
    if first.outcome in ("trunk conflict", "bad source"):
        return first.outcome
    if first.user and call.digest != first.user:
        return "credentials asked" if call.digest is None else "wrong user"
    match decision.outcome:
        case "room":
            return "room"
        case "pin":
            return "PIN asked"
        case "nothing" if first.outcome == "pin":
            return "wrong PIN"
        case "nothing" if decision.trunk:
            return "no rule"
        case "nothing":
            near = (trunk_failures(trunk, call) for trunk in state.inbound)
            return "refused" if any("numbers" not in failed for failed in near) else "no trunk"
        case other:
            return other


def _trunks(state: State, call: Call, decision: Decision) -> tuple[Candidate, ...]:
    clash = {trunk.id: trunk.name or trunk.id for trunk in decision.conflict}
    found: list[Candidate] = []
    for trunk in state.inbound:
        failures = tuple(_trunk_failure(trunk, name, call) for name in trunk_failures(trunk, call))
        before = ""
        if not failures and decision.trunk and decision.trunk.id != trunk.id:
            before = decision.trunk.name or decision.trunk.id
        elif not failures and trunk.id in clash:
            before = next(name for each, name in clash.items() if each != trunk.id)
        found.append(Candidate("trunk", trunk.id, trunk.name, failures, before))
    winner = decision.trunk.id if decision.trunk else ""
    return tuple(sorted(found, key=lambda each: (each.id != winner, *_trunk_distance(each))))


def _trunk_distance(candidate: Candidate) -> tuple[bool, int, str]:
    """A trunk that has the number is nearer than one that has not, whatever else it refuses."""
    failed = [failure.field for failure in candidate.failures]
    return "numbers" in failed, len(failed), candidate.id


def _rules(state: State, call: Call, decision: Decision, first: Decision) -> tuple[Candidate, ...]:
    """Rules as they stand to the call by the trunk that it came by."""
    asked = call if first.outcome == "pin" else replace(call, pin=None)
    order = ranking(rules_for(state.rules, decision.trunk), asked, decision.trunk)
    winner = order[0] if order else None
    found: list[Candidate] = []
    for rule in state.rules:
        failed = rule_failures(rule, asked, decision.trunk)
        failures = tuple(_rule_failure(rule, name, call, decision.trunk) for name in failed)
        before = "" if failures or winner is None or rule.id == winner.id else winner.name or winner.id
        found.append(Candidate("rule", rule.id, rule.name, failures, before))
    rank = {rule.id: place for place, rule in enumerate(order)}

    def distance(candidate: Candidate) -> tuple[int, bool, str]:
        foreign = any(failure.field == "trunk_ids" for failure in candidate.failures)
        return len(candidate.failures), foreign, candidate.id

    return tuple(sorted(found, key=lambda each: (rank.get(each.id, len(rank)), *distance(each))))


def _trunk_failure(trunk: InboundTrunk, name: str, call: Call) -> Failure:
    if name == "numbers":
        return Failure(name, trunk.numbers, call.called)
    if name == "allowed_numbers":
        return Failure(name, trunk.allowed_numbers, call.caller)
    hint = ""
    if any(not mask_counts(mask) for mask in trunk.allowed_addresses):
        hint = "malformed entries count for nothing"
    return Failure(name, trunk.allowed_addresses, call.source, hint)


def _rule_failure(rule: Rule, name: str, call: Call, trunk: InboundTrunk | None) -> Failure:
    if name == "trunk_ids":
        return Failure(name, rule.trunks, trunk.id if trunk else "no trunk")
    if name == "pin":
        return Failure(name, (), "another PIN" if call.pin else "no PIN")
    expected, actual = (
        (rule.numbers, call.called) if name == "numbers" else (rule.inbound_numbers, call.caller)
    )
    alike = normalise(actual) in {normalise(number) for number in expected}
    return Failure(name, expected, actual, "rules compare numbers letter for letter" if alike else "")


def _advice(verdict: Verdict, state: State, call: Call, decision: Decision) -> str:
    names = [item.name or item.id for item in decision.conflict]
    match verdict:
        case "credentials asked":
            return (
                f"set user {decision.user} and its password at the far end (here: --digest {decision.user})"
            )
        case "wrong user":
            return f"the far end must answer as user {decision.user}, not as {call.digest}"
        case "PIN asked" | "wrong PIN":
            return "the caller types the rule's PIN and # (here: --pin)"
        case "trunk conflict":
            return _part_trunks(call, decision)
        case "rule conflict":
            return f"let {' and '.join(names)} differ in trunk, number or PIN, or delete one"
        case "refused" | "no trunk" if not state.inbound:
            return shlex.join(
                ["sip", "trunk", "inbound", "create", "--name", "carrier", "--number", call.called]
                + (["--allowed-address", call.source] if call.source else [])
            )
        case "no rule" | "no trunk" | "refused" if not state.rules:
            trunk = decision.trunk or next(iter(state.inbound))
            label = shlex.quote(trunk.name or trunk.id)
            return f"sip rule create --name agent --trunk {label} --individual call --agent phone-agent"
        case "bad source":
            return "the source is an IP address, without a port"
        case "crash" | "malformed":
            rule = decision.rule
            return f"do not hide numbers in rule {rule.name or rule.id}" if rule else ""
        case "room":
            return ""
        case _:
            return "no change of one trunk and one rule lets this call through"


def _advice_after(state: State, call: Call, mends: tuple[Mend, ...]) -> str:
    after = decide(changed(state, mends), replace(call, pin=None))
    if after.user and after.user != call.digest:
        return f"then it is asked for credentials, of user {after.user}"
    return "then it is asked for a PIN" if after.outcome == "pin" else ""


def _part_trunks(call: Call, decision: Decision) -> str:
    first, second = (trunk for trunk in decision.conflict if isinstance(trunk, InboundTrunk))
    names = f"{first.name or first.id} and {second.name or second.id}"
    if not first.numbers:
        return f"{names} both take any number from here: give {call.called} to the one that is meant"
    return f"{names} both have {call.called} for this caller: take it from one of them, or delete one"


def _notes(state: State, call: Call, first: Decision, decision: Decision) -> Iterator[str]:
    trunk, rule = decision.trunk, decision.rule
    known = {each.id for each in state.inbound}
    for each in state.rules:
        for missing in (reference for reference in each.trunks if reference not in known):
            yield f"rule {each.name or each.id} names {missing}, which is the id of no inbound trunk"
    for each in state.inbound:
        broken = [mask for mask in each.allowed_addresses if not mask_counts(mask)]
        if broken and len(broken) == len(each.allowed_addresses):
            yield f"trunk {each.name or each.id} lets in every source: {broken[0]!r} is malformed and ignored"
    if trunk and (trunk.auth_username or trunk.auth_password) and not decision.user:
        yield f"trunk {trunk.name or trunk.id} asks for no credentials: they need a user and a password"
    if trunk and call.caller_host and call.caller_host in trunk.allowed_addresses:
        without = replace(call, caller_host="")
        if "allowed_addresses" in trunk_failures(trunk, without):
            yield f"only the host of From let it in to trunk {trunk.name or trunk.id}; anybody can write that"
    if rule and not trunk and decision.outcome in ("room", "pin"):
        yield f"rule {rule.name or rule.id} takes calls by no trunk: neither source nor password is checked"
        if closed := forbidding(state, call):
            yield f"`sip serve` refuses this call with 403, because of trunk {closed.name or closed.id}"
    if call.pin is not None and first.outcome == "room":
        yield "no PIN is asked for"
    if rule and decision.outcome == "room" and not rule.agents:
        yield f"rule {rule.name or rule.id} names no agent: only a worker without a name joins its rooms"
