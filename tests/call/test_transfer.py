"""A transfer goes to a name of the persona, for the linked caller; a failed one leaves the talk intact."""

from types import SimpleNamespace
from typing import Any

import pytest
from livekit import api, rtc

from agent.errors import TransferError
from agent.hangup import before_room_goes, follow_caller, hangup
from agent.transfer import transfer
from tests.call.providers import Providers, serve
from tests.call.studio import FakeContext, quiet_session, studio


def session_of(ctx: FakeContext) -> Any:
    """A session that is linked to the room's caller and has nothing to say."""

    session = quiet_session()
    session.room_io = SimpleNamespace(linked_participant=ctx.room.caller)
    return session


async def test_the_linked_caller_is_transferred():
    """Identity and room come from the session; the number is written as it stands in the persona."""
    done: list[str] = []
    ctx = FakeContext(done)
    reasons: list[str] = []
    before_room_goes(ctx.as_context(), lambda by, reason: reasons.append(f"{by}: {reason}"))
    await transfer("tel:+15550199", session_of(ctx), ctx=ctx.as_context(), reason="transferred to desk")
    request = ctx.requests[0]
    assert (request.room_name, request.participant_identity, request.transfer_to) == (
        "a-room",
        "sip_caller",
        "tel:+15550199",
    )
    assert request.ringing_timeout.seconds == 30
    await hangup(ctx=ctx.as_context())
    assert done[0] == "transfer_sip_participant"
    assert done[-1] == "shutdown: transferred to desk"
    assert reasons == ["agent: transferred to desk"]


async def test_a_refused_transfer_says_the_sip_code():
    """Busy, declined or not found: the error names the far end's code, and the call stands."""
    busy = api.SipCallError("resource_exhausted", "busy", status=429, metadata={"sip_status_code": "486"})
    done: list[str] = []
    ctx = FakeContext(done, fails=lambda verb: busy if verb == "transfer_sip_participant" else None)
    with pytest.raises(TransferError) as caught:
        await transfer("tel:+15550199", session_of(ctx), ctx=ctx.as_context())
    assert (caught.value.sip_code, caught.value.gone) == (486, False)
    assert done == ["transfer_sip_participant"]


async def test_a_caller_who_leaves_after_a_refusal_hung_up_himself():
    """A failed transfer leaves no trace in who ended the call later."""
    error = api.TwirpError("internal", "no", status=500)
    reasons: list[str] = []
    ctx = FakeContext([], fails=lambda verb: error if verb == "transfer_sip_participant" else None)
    session = session_of(ctx)
    before_room_goes(ctx.as_context(), lambda by, reason: reasons.append(by))
    follow_caller(session, ctx.as_context())
    with pytest.raises(TransferError):
        await transfer("tel:+15550199", session, ctx=ctx.as_context())
    ctx.room.leave()
    await hangup(ctx=ctx.as_context())
    assert reasons == ["caller"]


async def test_a_browser_cannot_be_transferred():
    """A participant without a telephone is told so at once, and LiveKit is not asked."""
    done: list[str] = []
    ctx = FakeContext(done)
    ctx.room.caller.kind = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD
    with pytest.raises(TransferError, match="no telephone call"):
        await transfer("tel:+15550199", session_of(ctx), ctx=ctx.as_context())
    assert done == []


async def test_the_tool_knows_names_only():
    """What the model is offered holds the targets' names and no number."""
    async with serve() as providers, studio(providers) as call:
        text = repr([getattr(tool, "info", None) for tool in call.session.current_agent.tools])
        assert "front desk" in text
        assert "5550199" not in text


async def test_a_failed_transfer_is_told_and_the_talk_goes_on():
    """The model learns that nobody answered, the caller hears a sentence, and the call stays open."""

    def answer(messages: list[dict[str, Any]]) -> Any:
        if messages[-1]["role"] == "tool":
            assert "Nobody answered" in messages[-1]["content"]
            return "Sorry, nobody is there."
        return {"tool": "transfer_call", "text": "One moment.", "arguments": {"target": "Front Desk"}}

    async with serve(Providers(answer=answer)) as providers, studio(providers) as call:
        await call.session.generate_reply(user_input="A human, please.")
        assert call.said == ["One moment.", "Sorry, nobody is there."]
        assert not call.ended.is_set()


async def test_an_unknown_name_goes_back_to_the_model():
    """A name that the persona does not hold is an error that lists those that it does."""

    def answer(messages: list[dict[str, Any]]) -> Any:
        if messages[-1]["role"] == "tool":
            assert "front desk" in messages[-1]["content"]
            return "Whom do you want?"
        return {"tool": "transfer_call", "arguments": {"target": "+15550199"}}

    async with serve(Providers(answer=answer)) as providers, studio(providers) as call:
        await call.session.generate_reply(user_input="Put me through to +1 555 0199.")
        assert call.said == ["Whom do you want?"]
