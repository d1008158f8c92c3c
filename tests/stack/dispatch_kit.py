"""Trunks, rules and calls by chance, put before a real livekit-server; what it answers, in plain words."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from google.protobuf.message import Message
from livekit import api
from livekit.protocol import sip
from redis.asyncio import Redis

from sip.dispatch.decide import Call, rule_conflict, trunk_conflict
from sip.model import InboundTrunk, Rule, State
from sip.plan.conflicts import doubles, keys
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import Bus, BusError

NUMBERS = (
    "+15550100", "15550100", "+1 (555) 0100", "+1-555-0101", "+15550101", "15550102", "+15550103", "201",
    "+201", "(201)", "alice", "Alice", "sales@pbx", "+", "*97", "\u0661\u0662\u0663", "Zoë",
)  # fmt: skip
CALLERS = (
    "+15550199", "15550199", "+1 555 0198", "+442079460000", "442079460000", "anonymous", "bob", "7", "1234",
    "12345", "+4915112345", "Zoë",
)  # fmt: skip
SOURCES = (
    "192.0.2.7", "192.0.2.200", "198.51.100.1", "10.1.2.3", "2001:db8::7", "fe80::1%eth0", "fe80::1",
    "::ffff:192.0.2.7", "",
)  # fmt: skip
BAD_SOURCES = ("300.1.1.1", "192.0.2.07", "carrier.example", "192.0.2.7:5060", "::g")
MASKS = (
    "192.0.2.7", "192.0.2.0/24", "192.0.2.9/25", "192.0.2.7/32", "198.51.100.1", "10.0.0.0/8", "0.0.0.0/0",
    "2001:db8::/32", "2001:DB8:0::7", "::/0", "fe80::1%eth0", "fe80::/10", "::ffff:192.0.2.7",
    "::ffff:192.0.2.0/120", "carrier.example",
)  # fmt: skip
ODD_MASKS = (
    "sip://carrier.example", "192.0.2.*", "192.0.2.7 ", "192.0.2.7,198.51.100.1", "[2001:db8::7]",
    "192.0.2.0/255.255.255.0", "192.0.2.0/024", "192.0.2.0/33", "192.0.2.0/", "192.0.2.007", "fe80::%eth0/10",
    "Carrier.Example", "",
)  # fmt: skip
HOSTS = ("", "carrier.example", "pbx.example", "192.0.2.7", "Carrier.Example")
PINS = ("1234", "4321", "9")
Made = TypeVar("Made", sip.SIPInboundTrunkInfo, sip.SIPDispatchRuleInfo)
ROOMS = ("call", "support", "room-1", "")


class Chance:
    """Makes states and calls; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def some(self, pool: Sequence[str], most: int, none: float) -> tuple[str, ...]:
        """Up to `most` of them, none at all with this probability."""
        if self._random.random() < none:
            return ()
        return tuple(self._random.sample(pool, self._random.randint(1, most)))

    def maybe(self, probability: float) -> bool:
        """Whether it happens."""
        return self._random.random() < probability

    def pick(self, pool: Sequence[str]) -> str:
        """One of them."""
        return self._random.choice(pool)

    def trunks(self) -> list[InboundTrunk]:
        """Trunks without ids."""
        return [self._trunk(f"trunk-{number}") for number in range(self._random.randint(1, 5))]

    def _trunk(self, name: str) -> InboundTrunk:
        addresses = self.some(MASKS, 2, 0.6)
        if self.maybe(0.15):
            addresses += self.some(ODD_MASKS, 2, 0)
        asks = self.maybe(0.35)
        return InboundTrunk(
            name=name,
            numbers=self.some(NUMBERS, 3, 0.3),
            allowed_addresses=addresses,
            allowed_numbers=self.some(CALLERS, 3, 0.78),
            auth_username=self.pick(("carrier", "pbx")) if asks else "",
            auth_password="secret" if asks and self.maybe(0.9) else "",
            auth_realm=self.pick(("", "example")),
        )

    def rules(self, trunks: Sequence[InboundTrunk]) -> list[Rule]:
        """Rules over these trunks."""
        ids = [trunk.id for trunk in trunks]
        return [self._rule(f"rule-{number}", ids) for number in range(self._random.randint(0, 6))]

    def _rule(self, name: str, ids: list[str]) -> Rule:
        known = self.some(ids, min(3, len(ids)), 0.1) if ids else ()
        return Rule(
            name=name,
            kind=self._random.choice(("direct", "individual", "callee")),
            room=self.pick(ROOMS),
            pin=self.pick(PINS) if self.maybe(0.2) else "",
            randomize=self._random.choice((None, True, False)),
            trunks=("ST_gone",) if self.maybe(0.05) else known,
            numbers=self.some(NUMBERS, 3, 0.62),
            inbound_numbers=self.some(CALLERS, 3, 0.65),
            hide_phone_number=self.maybe(0.2),
        )

    def call(self, state: State) -> Call:
        """A call, more often than not one that a trunk and a rule are meant for, then spoilt in one place."""
        call = Call(
            self.pick(SOURCES),
            self.pick(CALLERS),
            self.pick(NUMBERS),
            self.pick(HOSTS),
            self.pick(HOSTS),
            digest=self._random.choice((None, "carrier", "pbx", "pbx")),
            pin=self._random.choice((None, None, "", *PINS)),
        )
        if state.inbound and self.maybe(0.95):
            call = self._fitted(call, self._random.choice(state.inbound), state)
        if self.maybe(0.02):
            call = replace(call, source=self.pick(BAD_SOURCES))
        return call

    def _fitted(self, call: Call, trunk: InboundTrunk, state: State) -> Call:
        rules = [rule for rule in state.rules if not rule.trunks or trunk.id in rule.trunks]
        rule = self._random.choice(rules) if rules and self.maybe(0.7) else Rule()
        called = rule.numbers or trunk.numbers
        callers = rule.inbound_numbers or trunk.allowed_numbers
        whole = [mask for mask in trunk.allowed_addresses if mask in SOURCES]
        fitted = replace(
            call,
            called=self.pick(called) if called else call.called,
            caller=self.pick(callers) if callers else call.caller,
            source=self.pick(whole) if whole else "192.0.2.7",
            digest=trunk.auth_username or None,
            pin=rule.pin or None,
        )
        spoilt = self._random.choice(("", "", "", "", "", "", "called", "caller", "source", "digest", "pin"))
        return replace(fitted, **{spoilt: getattr(call, spoilt)}) if spoilt else fitted


@dataclass(frozen=True)
class Answer:
    """What livekit-server said: `outcome` in the words of `sip.dispatch.decide`."""

    outcome: str
    trunk: str = ""
    rule: str = ""
    room: str = ""
    identity: str = ""
    user: str = ""
    """User of the digest that is asked for."""


class Server:
    """A livekit-server: takes a state, answers about calls."""

    def __init__(self, livekit: api.LiveKitAPI, bus: Bus, store: Redis) -> None:
        self._livekit, self._bus, self._store = livekit, bus, store
        self.refused = 0

    @classmethod
    async def connect(cls, livekit: api.LiveKitAPI, redis_url: str) -> Server:
        """To its bus and its store."""
        return cls(livekit, await Bus.connect(redis_url), Redis.from_url(redis_url))

    async def close(self) -> None:
        """Leave both."""
        await self._bus.close()
        await self._store.aclose()

    async def load(self, chance: Chance, straight: bool) -> State:
        """A new state: made through the API, or put `straight` into the store."""
        await self.clear()
        if not straight:
            return await self.create(chance)
        trunks = [replace(trunk, id=f"ST_{place}") for place, trunk in enumerate(chance.trunks())]
        rules = [replace(rule, id=f"SDR_{place}") for place, rule in enumerate(chance.rules(trunks))]
        state = State(tuple(trunks), (), tuple(rules))
        await self.store(state)
        return state

    async def clear(self) -> None:
        """No trunks, no rules."""
        await self._store.delete("sip_inbound_trunk", "sip_dispatch_rule")

    async def create(self, chance: Chance) -> State:
        """A state made through the API. Objects that conflict are refused; `sip.dispatch.decide` and
        `sip.plan.conflicts` must both foresee that."""
        trunks: list[InboundTrunk] = []
        for trunk in chance.trunks():
            allowed = trunk.numbers or trunk.allowed_addresses or trunk.auth_username
            conflict = trunk_conflict(trunk, trunks) is not None
            assert conflict == any(keys(trunk) & keys(each) for each in trunks)
            foreseen = not allowed or conflict
            request = sip.CreateSIPInboundTrunkRequest(trunk=inbound_proto(trunk))
            made = await self._made(self._livekit.sip.create_inbound_trunk(request), foreseen)
            trunks += [replace(trunk, id=made.sip_trunk_id)] if made else []
        rules: list[Rule] = []
        for rule in chance.rules(trunks):
            request = sip.CreateSIPDispatchRuleRequest(dispatch_rule=rule_proto(rule))
            foreseen = rule_conflict([*rules, rule]) is not None
            assert foreseen == (bool(doubles(rule)) or any(keys(rule) & keys(each) for each in rules))
            made = await self._made(self._livekit.sip.create_dispatch_rule(request), foreseen)
            rules += [replace(rule, id=made.sip_dispatch_rule_id)] if made else []
        return State(tuple(trunks), (), tuple(rules))

    async def store(self, state: State) -> None:
        """A state put into the server's store as it is, conflicts and all."""
        await self.clear()
        for trunk in state.inbound:
            await self._put("sip_inbound_trunk", trunk.id, inbound_proto(trunk))
        for rule in state.rules:
            await self._put("sip_dispatch_rule", rule.id, rule_proto(rule))

    async def answer(self, call: Call) -> Answer:
        """Both questions, with what was typed for a PIN."""
        described = rpc.SIPCall(
            lk_call_id="SCL_1",
            source_ip=call.source,
            to=sip.SIPUri(user=call.called, host=call.called_host),
            **{"from": sip.SIPUri(user=call.caller, host=call.caller_host)},
        )
        asked = rpc.EvaluateSIPDispatchRulesRequest(
            call=described,
            calling_number=call.caller,
            called_number=call.called,
            pin=call.pin or "",
            no_pin=call.pin == "",
        )
        try:
            auth = await self._bus.call(
                "IOInfo",
                "GetSIPTrunkAuthentication",
                rpc.GetSIPTrunkAuthenticationRequest(call=described),
                rpc.GetSIPTrunkAuthenticationResponse,
            )
            found = await self._bus.call(
                "IOInfo", "EvaluateSIPDispatchRules", asked, rpc.EvaluateSIPDispatchRulesResponse
            )
        except BusError as error:
            for words, outcome in (
                ("Multiple", "trunk conflict"),
                ("already exists in dispatch rule", "rule conflict"),
                ("ParseAddr", "bad source"),
                ("invalid UTF-8", "malformed"),
            ):
                if words in error.message:
                    return Answer(outcome)
            raise
        assert found.sip_trunk_id == auth.sip_trunk_id
        user = auth.username if auth.username and auth.password else ""
        outcome = {rpc.ACCEPT: "room", rpc.REQUEST_PIN: "pin", rpc.DROP: "nothing"}[found.result]
        return Answer(
            outcome,
            auth.sip_trunk_id,
            found.sip_dispatch_rule_id,
            found.room_name,
            found.participant_identity,
            user,
        )

    async def _put(self, key: str, identity: str, message: Message) -> None:
        await self._store.hset(key, identity, message.SerializeToString())  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues, reportUnknownMemberType] # typed for text, and for both kinds of client

    async def _made(self, creation: Coroutine[Any, Any, Made], foreseen: bool) -> Made | None:
        try:
            made = await creation
        except api.TwirpError as error:
            assert foreseen, f"the server refuses what was thought to be good: {error.message}"
            self.refused += 1
            return None
        assert not foreseen, "the server takes what was thought to be refused"
        return made


def inbound_proto(trunk: InboundTrunk) -> sip.SIPInboundTrunkInfo:
    """The trunk as the store keeps it."""
    return sip.SIPInboundTrunkInfo(
        sip_trunk_id=trunk.id,
        name=trunk.name,
        numbers=trunk.numbers,
        allowed_addresses=trunk.allowed_addresses,
        allowed_numbers=trunk.allowed_numbers,
        auth_username=trunk.auth_username,
        auth_password=trunk.auth_password,
        auth_realm=trunk.auth_realm,
    )


def rule_proto(rule: Rule) -> sip.SIPDispatchRuleInfo:
    """The rule as the store keeps it."""
    random = rule.kind == "individual" if rule.randomize is None else rule.randomize
    match rule.kind:
        case "direct":
            what = sip.SIPDispatchRule(
                dispatch_rule_direct=sip.SIPDispatchRuleDirect(room_name=rule.room, pin=rule.pin)
            )
        case "individual":
            what = sip.SIPDispatchRule(
                dispatch_rule_individual=sip.SIPDispatchRuleIndividual(
                    room_prefix=rule.room, pin=rule.pin, no_randomness=not random
                )
            )
        case "callee":
            what = sip.SIPDispatchRule(
                dispatch_rule_callee=sip.SIPDispatchRuleCallee(
                    room_prefix=rule.room, pin=rule.pin, randomize=random
                )
            )
    return sip.SIPDispatchRuleInfo(
        sip_dispatch_rule_id=rule.id,
        name=rule.name,
        rule=what,
        trunk_ids=rule.trunks,
        numbers=rule.numbers,
        inbound_numbers=rule.inbound_numbers,
        hide_phone_number=rule.hide_phone_number,
    )
