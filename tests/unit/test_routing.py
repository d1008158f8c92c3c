"""Who may call: what is asked, what the answers mean, and why a call matched nothing."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from livekit.protocol import sip
from livekit.protocol.room import RoomConfiguration

from sip.match import InboundCall, RuleFilter, TrunkFilter, explain, forbidding, same_number
from sip.service import bus_messages as rpc
from sip.service.bus import BusError
from sip.service.routing import Inbound, Refused, Routing, participant_token

CALL = InboundCall("192.0.2.7", "+15550199", "+15550100", "carrier.example")
TRUNK = TrunkFilter("ST_1", "carrier", ("+1 (555) 0100",), ("192.0.2.0/24",), ())
RULE = RuleFilter("SDR_1", "agent", ("ST_1",))


def inbound() -> Inbound:
    """The call as an INVITE brings it."""
    return Inbound(
        "SCL_1",
        "id@phone",
        CALL.source,
        sip.SIPUri(user=CALL.called),
        sip.SIPUri(user=CALL.caller, host=CALL.caller_host),
        sip.SIPUri(user=CALL.called),
    )


class Bus:
    """Answers by method; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: dict[str, Any] = {}

    async def call(
        self, service: str, method: str, request: Any, response_type: Any, /, *, timeout: float
    ) -> Any:
        """One call."""
        self.asked[method] = request
        answer = self.answers.get(method, response_type())
        if isinstance(answer, Exception):
            raise answer
        return answer


class Directory:
    """Fixed lists."""

    def __init__(self, trunks: list[TrunkFilter], rules: list[RuleFilter]) -> None:
        self.lists = trunks, rules

    async def filters(self) -> tuple[list[TrunkFilter], list[RuleFilter]]:
        """Both."""
        return self.lists


def test_a_call_that_fits() -> None:
    """Numbers of trunks are compared in any spelling, sources by network."""
    found = explain(CALL, [TRUNK], [RULE])
    assert (found.code, found.trunk, found.rule) == (200, "ST_1", "SDR_1")


@pytest.mark.parametrize(
    ("trunk", "rule", "code", "why"),
    [
        (
            TrunkFilter("T", "t", ("+15550100",), ("198.51.100.1",)),
            RULE,
            403,
            "trunk t (T): allowed_addresses",
        ),
        (TrunkFilter("T", "t", ("+15550100",), (), ("+1999",)), RULE, 403, "trunk t (T): allowed_numbers"),
        (TrunkFilter("T", "t", ("+15550101",), ("198.51.100.1",)), RULE, 404, "trunk t (T): numbers"),
        (TRUNK, RuleFilter("R", "r", ("ST_2",)), 404, "rule r (R): trunk_ids"),
        (TRUNK, RuleFilter("R", "r", ("ST_1",), ("15550100",)), 404, "rule r (R): numbers"),
        (TRUNK, RuleFilter("R", "", (), (), ("15550199",)), 404, "rule R (R): inbound_numbers"),
    ],
)
def test_the_field_that_refused(trunk: TrunkFilter, rule: RuleFilter, code: int, why: str) -> None:
    """The first field in the server's own order; rules compare numbers letter for letter."""
    found = explain(CALL, [trunk], [rule])
    assert (found.code, str(found.mismatches[0])) == (code, why)


def test_nothing_there() -> None:
    """Without trunks, and without rules, the sentence says so."""
    assert str(explain(CALL, [], [])) == "there are no inbound trunks"
    assert str(explain(CALL, [TRUNK], [])) == "there are no dispatch rules"


def test_host_names_and_broken_masks() -> None:
    """A mask may be From's host; a broken entry counts for nothing, and with none left all are let in."""
    assert explain(CALL, [TrunkFilter("T", "", (), ("carrier.example",))], [RuleFilter("R")]).code == 200
    assert explain(CALL, [TrunkFilter("T", "", (), ("bad mask",))], [RuleFilter("R")]).trunk == "T"
    assert explain(CALL, [TrunkFilter("T", "", (), ("300.1.1.1",))], []).code == 403


def test_a_trunk_that_names_the_number_forbids() -> None:
    """One without numbers does not: it is no more specific than a rule for all."""
    named = TrunkFilter("T", "", ("+15550100",), ("198.51.100.1",))
    assert forbidding(CALL, [named]) is not None
    assert forbidding(CALL, [TrunkFilter("T", "", (), ("198.51.100.1",)), TRUNK]) is None


def test_words_are_compared_as_they_are() -> None:
    """Only what looks like a phone number is normalised."""
    assert same_number("alice", ("alice",))
    assert not same_number("alice", ("Alice",))
    assert same_number("15550100", ("+1-555-0100",))


async def test_both_questions_describe_the_call() -> None:
    """Source, numbers and ids are in both requests, in the old fields and the new."""
    bus = Bus(
        GetSIPTrunkAuthentication=rpc.GetSIPTrunkAuthenticationResponse(
            sip_trunk_id="ST_1", username="u", password="p"
        ),
        EvaluateSIPDispatchRules=rpc.EvaluateSIPDispatchRulesResponse(result=rpc.ACCEPT, room_name="r"),
    )
    routing = Routing(bus, Directory([], []))
    route = await routing.route(inbound())
    evaluation = bus.asked["EvaluateSIPDispatchRules"]
    assert (evaluation.calling_number, evaluation.called_number, evaluation.src_address) == (
        CALL.caller, CALL.called, CALL.source,
    )  # fmt: skip
    assert evaluation.call.lk_call_id == "SCL_1"
    assert getattr(evaluation.call, "from").host == "carrier.example"
    assert route.credentials is not None
    assert (route.credentials.username, route.credentials.realm) == ("u", "LiveKit")
    assert (await routing.accept(inbound(), route)).room_name == "r"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"GetSIPTrunkAuthentication": BusError("unavailable", "no response from servers")}, 503),
        ({"GetSIPTrunkAuthentication": BusError("failed_precondition", "Multiple SIP Trunks matched")}, 500),
        ({"GetSIPTrunkAuthentication": rpc.GetSIPTrunkAuthenticationResponse(drop=True)}, 403),
        (
            {
                "GetSIPTrunkAuthentication": rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id="ST_1"),
                "EvaluateSIPDispatchRules": BusError("deadline_exceeded", "timed out"),
            },
            503,
        ),
    ],
)
async def test_refusals_before_credentials(answers: dict[str, Any], code: int) -> None:
    """No answer is 503, a configuration that contradicts itself 500, a dropped call 403."""
    with pytest.raises(Refused) as raised:
        await Routing(Bus(**answers), Directory([TRUNK], [RULE])).route(inbound())
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("dispatch", "code"),
    [
        (rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP), 404),
        (rpc.EvaluateSIPDispatchRulesResponse(result=rpc.REJECT), 404),
        (rpc.EvaluateSIPDispatchRulesResponse(result=rpc.REQUEST_PIN, sip_dispatch_rule_id="SDR_1"), 403),
        (BusError("failed_precondition", "No SIP Dispatch Rules defined"), 404),
    ],
)
async def test_no_rule_is_told_only_after_the_credentials(dispatch: Any, code: int) -> None:
    """`route` succeeds, so that a challenge comes first; `accept` then refuses, naming the rule."""
    bus = Bus(
        GetSIPTrunkAuthentication=rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id="ST_1"),
        EvaluateSIPDispatchRules=dispatch,
    )
    routing = Routing(bus, Directory([TRUNK], [RuleFilter("SDR_1", "agent", ("ST_2",))]))
    route = await routing.route(inbound())
    with pytest.raises(Refused) as raised:
        await routing.accept(inbound(), route)
    assert raised.value.code == code
    assert "SDR_1" in raised.value.why
    assert CALL.called not in raised.value.why


def test_token_says_who_joins() -> None:
    """A SIP participant with its attributes; the room configuration dispatches the agent."""
    config = RoomConfiguration()
    config.agents.add().agent_name = "phone-agent"
    token = participant_token(
        "key", "s" * 32, "room", "sip_a", "Phone a", "meta", {"sip.callID": "SCL_1"}, room_config=config
    )
    claims = jwt.decode(token, "s" * 32, algorithms=["HS256"])
    assert (claims["kind"], claims["sub"], claims["name"]) == ("sip", "sip_a", "Phone a")
    assert claims["attributes"] == {"sip.callID": "SCL_1"}
    assert claims["roomConfig"]["agents"] == [{"agentName": "phone-agent"}]
    assert claims["video"]["room"] == "room"
    assert claims["video"]["canUpdateOwnMetadata"] is True
