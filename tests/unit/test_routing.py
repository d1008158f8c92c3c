"""Who may call: what is asked, what the answers mean, and why a call matched nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jwt
import pytest
from livekit.protocol import sip
from livekit.protocol.room import RoomConfiguration

from sip.dispatch.decide import Call
from sip.model import InboundTrunk, Rule, State
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import BusError
from sip.service.routing import Inbound, Refused, Routing, asks_pin, participant_token

CALL = Call("192.0.2.7", "+15550199", "+15550100", "carrier.example")
TRUNK = InboundTrunk("carrier", "ST_1", ("+1 (555) 0100",), ("192.0.2.0/24",))
RULE = Rule("agent", "SDR_1", trunks=("ST_1",))


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

    def __init__(self, *items: InboundTrunk | Rule) -> None:
        self.trunks = tuple(item for item in items if isinstance(item, InboundTrunk))
        self.rules = tuple(item for item in items if isinstance(item, Rule))

    async def state(self) -> State:
        """Both."""
        return State(inbound=self.trunks, rules=self.rules)


async def test_both_questions_describe_the_call() -> None:
    """Source, numbers and ids are in both requests, in the old fields and the new."""
    bus = Bus(
        GetSIPTrunkAuthentication=rpc.GetSIPTrunkAuthenticationResponse(
            sip_trunk_id="ST_1", username="u", password="p"
        ),
        EvaluateSIPDispatchRules=rpc.EvaluateSIPDispatchRulesResponse(result=rpc.ACCEPT, room_name="r"),
    )
    routing = Routing(bus, Directory())
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
    ("pin", "answer", "opens"),
    [
        ("1234", rpc.EvaluateSIPDispatchRulesResponse(result=rpc.ACCEPT, room_name="r"), True),
        ("", rpc.EvaluateSIPDispatchRulesResponse(result=rpc.ACCEPT, room_name="r"), True),
        ("4321", rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP), False),
        ("4321", rpc.EvaluateSIPDispatchRulesResponse(result=rpc.REQUEST_PIN, request_pin=True), False),
        ("4321", BusError("failed_precondition", "No SIP Dispatch Rules defined"), False),
    ],
)
async def test_a_pin_is_asked_about(pin: str, answer: Any, opens: bool) -> None:
    """The same call and its trunk are asked about again with what was typed; `#` alone says so."""
    auth = rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id="ST_1")
    asks = rpc.EvaluateSIPDispatchRulesResponse(result=rpc.REQUEST_PIN, sip_dispatch_rule_id="SDR_1")
    bus = Bus(GetSIPTrunkAuthentication=auth, EvaluateSIPDispatchRules=asks)
    routing = Routing(bus, Directory())
    route = await routing.route(inbound())
    first = bus.asked["EvaluateSIPDispatchRules"]
    assert asks_pin(await routing.accept(inbound(), route))
    bus.answers["EvaluateSIPDispatchRules"] = answer
    assert bool(await routing.open(inbound(), "ST_1", pin)) is opens
    second = bus.asked["EvaluateSIPDispatchRules"]
    assert (second.pin, second.no_pin, second.sip_trunk_id) == (pin, not pin, "ST_1")
    assert (second.call, second.calling_number) == (first.call, first.calling_number)


async def test_a_server_that_is_gone_is_no_wrong_pin() -> None:
    """Nobody is told that a PIN is wrong because livekit-server did not answer."""
    bus = Bus(EvaluateSIPDispatchRules=BusError("unavailable", "no response from servers"))
    with pytest.raises(Refused) as raised:
        await Routing(bus, Directory()).open(inbound(), "ST_1", "1234")
    assert raised.value.code == 503


async def test_a_caller_without_a_user_is_anonymous() -> None:
    """An empty user would end livekit-server where a rule hides numbers: it is never sent."""
    bus = Bus(GetSIPTrunkAuthentication=rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id="ST_1"))
    call = replace(inbound(), from_uri=sip.SIPUri(host="carrier.example"))
    await Routing(bus, Directory()).route(call)
    for asked in bus.asked.values():
        assert getattr(asked.call, "from").user == "anonymous"
        assert getattr(asked.call, "from").host == "carrier.example"
    assert bus.asked["EvaluateSIPDispatchRules"].calling_number == "anonymous"
    assert call.match.caller == "anonymous"


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
        await Routing(Bus(**answers), Directory(TRUNK, RULE)).route(inbound())
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("dispatch", "code"),
    [
        (rpc.EvaluateSIPDispatchRulesResponse(result=rpc.DROP), 404),
        (rpc.EvaluateSIPDispatchRulesResponse(result=rpc.REJECT), 404),
        (BusError("failed_precondition", "No SIP Dispatch Rules defined"), 404),
    ],
)
async def test_no_rule_is_told_only_after_the_credentials(dispatch: Any, code: int) -> None:
    """`route` succeeds, so that a challenge comes first; `accept` then refuses, naming the rule."""
    bus = Bus(
        GetSIPTrunkAuthentication=rpc.GetSIPTrunkAuthenticationResponse(sip_trunk_id="ST_1"),
        EvaluateSIPDispatchRules=dispatch,
    )
    routing = Routing(bus, Directory(TRUNK, Rule("agent", "SDR_1", trunks=("ST_2",))))
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
