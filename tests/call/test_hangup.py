"""One hang-up: last words, records, room, job, in this order, once, whoever asks."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from livekit import api, rtc

from agent.hangup import before_room_goes, ending, expect_end, follow_caller, hangup
from tests.call.providers import Providers, serve
from tests.call.studio import FakeContext, quiet_session, studio


async def test_the_order_of_an_end():
    """What has to be on disk is written while the room still stands; the job ends last."""
    done: list[str] = []
    ctx = FakeContext(done).as_context()
    before_room_goes(ctx, lambda by, reason: done.append(f"{by}: {reason}"))
    await hangup(ctx=ctx, reason="finished")
    assert done == ["agent: finished", "delete_room", "shutdown: finished"]


async def test_a_second_end_waits_for_the_first():
    """Two at once and one later make one end, with the first one's reason."""
    done: list[str] = []
    ctx = FakeContext(done).as_context()
    before_room_goes(ctx, lambda by, reason: done.append(f"{by}: {reason}"))
    await asyncio.gather(hangup(ctx=ctx, reason="first"), hangup(ctx=ctx, by="caller", reason="second"))
    await hangup(ctx=ctx, reason="third")
    assert done == ["agent: first", "delete_room", "shutdown: first"]
    assert ending(ctx)


@pytest.mark.parametrize(
    "error", [aiohttp.ClientError(), TimeoutError(), api.TwirpError("internal", "no", status=500)]
)
async def test_a_room_that_cannot_be_deleted_loses_its_legs(error: Exception):
    """If LiveKit refuses three times, the telephone is put down by removing its participant."""
    done: list[str] = []
    ctx = FakeContext(done, fails=lambda verb: error if verb == "delete_room" else None)
    await hangup(ctx=ctx.as_context(), reason="x")
    assert done == ["delete_room"] * 3 + ["remove_participant", "shutdown: x"]
    assert ctx.requests[-1].identity == "sip_caller"


async def test_a_room_that_is_gone_is_no_error():
    """The far end may have been quicker: a room not found is a room deleted."""
    done: list[str] = []
    gone = api.TwirpError(api.TwirpErrorCode.NOT_FOUND, "no room", status=404)
    ctx = FakeContext(done, fails=lambda verb: gone if verb == "delete_room" else None)
    await hangup(ctx=ctx.as_context(), reason="x")
    assert done == ["delete_room", "shutdown: x"]


async def test_a_broken_callback_does_not_keep_the_line_open():
    """Somebody else's error at the end of a call is logged, and the call still ends."""
    done: list[str] = []
    ctx = FakeContext(done).as_context()

    def broken(by: str, reason: str) -> None:
        raise ValueError("disk full")

    before_room_goes(ctx, broken)
    await hangup(ctx=ctx, reason="x")
    assert done == ["delete_room", "shutdown: x"]


async def follow(done: list[str]) -> FakeContext:
    """A job that follows its caller, with a session that has nothing to say."""
    ctx = FakeContext(done)

    async def interrupt(*, force: bool) -> None:
        done.append("interrupt")

    follow_caller(quiet_session(interrupt), ctx.as_context())
    before_room_goes(ctx.as_context(), lambda by, reason: done.append(f"{by}: {reason}"))
    return ctx


async def test_the_job_ends_with_its_caller():
    """The caller hangs up first: speech is cut, and the job ends with him as the one who ended the call."""
    done: list[str] = []
    ctx = await follow(done)
    ctx.room.leave()
    await hangup(ctx=ctx.as_context())
    assert done == ["interrupt", "caller: client_initiated", "delete_room", "shutdown: client_initiated"]


async def test_a_room_with_people_left_goes_on():
    """While a second person is in the room, the first one's leaving ends nothing; agents do not count."""
    done: list[str] = []
    ctx = await follow(done)
    other = SimpleNamespace(
        identity="human", kind=rtc.ParticipantKind.PARTICIPANT_KIND_SIP, disconnect_reason=None
    )
    agent = SimpleNamespace(identity="agent", kind=rtc.ParticipantKind.PARTICIPANT_KIND_AGENT)
    ctx.room.remote_participants |= {"human": other, "agent": agent}
    ctx.room.leave()
    assert not ending(ctx.as_context())
    ctx.room.leave(agent)
    assert not ending(ctx.as_context())
    ctx.room.leave(other)
    assert ending(ctx.as_context())
    await hangup(ctx=ctx.as_context())
    assert "caller: unknown_reason" in done


async def test_a_transferred_caller_was_not_the_one_who_hung_up():
    """A leg that leaves because it was transferred is told apart from a caller who hangs up."""
    done: list[str] = []
    ctx = await follow(done)
    expect_end(ctx.as_context(), "agent", "transferred to desk")
    ctx.room.leave()
    await hangup(ctx=ctx.as_context())
    assert "agent: transferred to desk" in done


async def test_a_lost_room_ends_the_job():
    """When the room itself goes, the job does not wait for anybody."""
    done: list[str] = []
    ctx = await follow(done)
    ctx.room.emit("disconnected", "reason")
    await hangup(ctx=ctx.as_context())
    assert done[-1] == "shutdown: room disconnected"


async def test_last_words_are_heard():
    """What is being said, and what hangup adds, is played before the call ends."""
    async with serve() as providers, studio(providers) as call:
        call.session.say("One two three four.")
        await hangup(call.session, ctx=call.ctx, say="Goodbye.")
        assert call.said == ["One two three four.", "Goodbye."]
        assert call.mouth.heard == pytest.approx(5 * providers.seconds_per_word, abs=0.05)
        assert call.by == "agent"


async def test_end_call_waits_for_its_goodbye():
    """The tool ends the call after the words that came with it, and asks for no second goodbye."""
    asked = lambda messages: {"tool": "end_call", "text": "Goodbye then."}  # noqa: E731
    async with serve(Providers(answer=asked)) as providers, studio(providers) as call:
        call.session.generate_reply(user_input="That is all, bye.")
        await call.wait_end(6)
        assert call.said == ["Goodbye then."]
        assert (call.by, call.reason) == ("agent", "end_call")
        assert providers.asked.count("llm") == 1


async def test_end_call_without_words_asks_for_some():
    """A model that only calls the tool is asked for a goodbye before the call ends."""

    def answer(messages: list[dict[str, Any]]) -> Any:
        return "Goodbye." if messages[-1]["role"] == "tool" else {"tool": "end_call"}

    async with serve(Providers(answer=answer)) as providers, studio(providers) as call:
        call.session.generate_reply(user_input="That is all, bye.")
        await call.wait_end(6)
        assert call.said == ["Goodbye."]
        assert call.reason == "end_call"


async def test_a_caller_who_speaks_into_the_goodbye_is_not_hung_up_on():
    """An interrupted goodbye leaves the call open."""
    async with serve() as providers, studio(providers) as call:
        providers.answer = lambda messages: {"tool": "end_call", "text": "Goodbye then."}
        speech = call.session.generate_reply(user_input="Bye.")
        speech.interrupt()
        await speech
        await asyncio.sleep(0.6)
        assert not call.ended.is_set()
