"""Whatever a provider does, the caller hears something, and the call ends or goes on; never silence."""

import asyncio
from typing import Any

import pytest

from agent.failsafe import PATIENCE_AGAIN
from agent.hangup import TRANSIT
from agent.sounds import TEXTS, recording
from tests.call.providers import Providers, serve
from tests.call.studio import studio

LIMIT = 5.0
"""Seconds from the first sign of failure to the end of the call."""


async def test_a_refused_key_ends_the_call_with_a_recording():
    """A provider that will never answer: the recorded sentence at once, and the end within 5 s."""
    async with serve(Providers(tts="401")) as providers, studio(providers) as call:
        call.session.generate_reply(user_input="A table, please.")
        assert await call.wait_end(LIMIT) < LIMIT
        assert call.said == [TEXTS["goodbye"]]
        assert (call.by, call.reason) == ("agent", "tts failed")
        assert call.failures == ["tts"]


@pytest.mark.parametrize(("kind", "fault"), [("tts", "cut"), ("llm", "500"), ("llm", "429")])
async def test_a_provider_that_breaks_gets_one_more_try(kind: str, fault: str):
    """An error in the middle of a call: "one moment", a second try, the recorded goodbye, within 5 s."""
    async with serve() as providers, studio(providers) as call:
        await call.session.say("Good day.")
        setattr(providers, kind, fault)
        call.session.generate_reply(user_input="A table, please.")
        assert await call.wait_end(LIMIT) < LIMIT
        assert [text for text in call.said if text in TEXTS.values()] == [TEXTS["moment"], TEXTS["goodbye"]]
        assert (call.by, call.reason) == ("agent", f"{kind} failed")
        assert call.failures == [kind, kind]


@pytest.mark.parametrize(("kind", "fault"), [("tts", "cut"), ("llm", "500")])
async def test_a_provider_that_breaks_once_costs_a_moment(kind: str, fault: str):
    """If the second try works, the caller gets his answer and the call goes on."""
    async with serve() as providers, studio(providers) as call:
        setattr(providers, kind, fault)
        call.session.generate_reply(user_input="A table, please.")
        await call.wait_for(lambda: call.failures == [kind], LIMIT)
        setattr(providers, kind, "")
        await call.wait_for(lambda: call.said[-1:] == ["All right."] and TEXTS["moment"] in call.said, LIMIT)
        assert not call.ended.is_set()


def test_a_hanging_turn_is_ended_in_time():
    """From the first sign of failure the two recordings and the waits between them take less than 5 s."""
    recordings = recording("moment").duration + recording("goodbye").duration
    assert recordings + PATIENCE_AGAIN + TRANSIT < LIMIT


@pytest.mark.parametrize(("kind", "fault"), [("llm", "hang"), ("llm", "empty"), ("tts", "hang")])
async def test_a_provider_that_says_nothing_gets_one_more_try(kind: str, fault: str):
    """No answer in time: "one moment", a second try, then the recorded goodbye and the end."""
    async with serve() as providers, studio(providers, patience=1.0) as call:
        await call.session.say("Good day.")
        setattr(providers, kind, fault)
        call.session.generate_reply(user_input="A table, please.")
        await call.wait_end(LIMIT)
        assert call.failures == ["turn", "turn"]
        assert call.said[-2:] == [TEXTS["moment"], TEXTS["goodbye"]]
        assert call.reason == "turn failed"


async def test_a_slow_answer_is_heard_after_the_moment():
    """If the second try works, the call goes on as if nothing had been."""
    async with serve(Providers(llm="hang")) as providers, studio(providers, patience=1.0) as call:
        call.session.generate_reply(user_input="A table, please.")
        await call.wait_for(lambda: call.failures == ["turn"], 4.0)
        providers.llm = ""
        await call.wait_for(lambda: "All right." in call.said, 3.0)
        await call.session.generate_reply(user_input="For four.")
        assert not call.ended.is_set()
        assert call.said == [TEXTS["moment"], "All right.", "All right."]


async def test_a_greeting_that_cannot_be_synthesised_ends_the_call():
    """Synthesis dead before the first word: the recording is all the caller hears, and he hears it."""
    async with serve(Providers(tts="401")) as providers, studio(providers) as call:
        call.session.say("Good day.")
        await call.wait_end(LIMIT)
        assert call.said == [TEXTS["goodbye"]]
        assert call.mouth.heard == pytest.approx(recording("goodbye").duration, abs=0.1)


async def test_a_recogniser_that_refuses_the_key_ends_the_call():
    """Recognition dead from the start: no conversation is pretended."""
    async with serve(Providers(stt="401")) as providers, studio(providers) as call:
        await call.wait_end(LIMIT)
        assert (call.said, call.reason) == ([TEXTS["goodbye"]], "stt failed")


async def test_a_recogniser_that_breaks_in_speech_ends_the_call():
    """Recognition dies while the caller speaks: the end follows within 5 s of his last word."""
    async with serve(Providers(stt="cut")) as providers, studio(providers) as call:
        await call.ear.say(recording("again").frames())
        await call.wait_end(LIMIT)
        assert (call.said, call.reason) == ([TEXTS["goodbye"]], "stt failed")


async def test_a_recogniser_that_is_silent_is_noticed():
    """The caller speaks and nothing is recognised: he is asked again once, then the call ends."""
    async with serve(Providers(stt="silent")) as providers, studio(providers) as call:
        await call.ear.say(recording("again").frames())
        await call.wait_for(lambda: bool(call.said), LIMIT)
        assert call.said == [TEXTS["again"]]
        await call.ear.say(recording("transfer").frames())
        await call.wait_end(LIMIT)
        assert (call.said[-1], call.reason) == (TEXTS["goodbye"], "stt failed")


async def test_silence_and_short_noises_are_no_failure():
    """A caller who says nothing, or coughs, is not hung up on."""
    async with serve(Providers(stt="silent")) as providers, studio(providers) as call:
        await call.ear.say(_first(recording("moment").frames(), 15))
        await asyncio.sleep(3.5)
        assert call.said == []
        assert not call.ended.is_set()


@pytest.mark.parametrize("kind", ["llm", "tts", "stt"])
async def test_a_second_provider_takes_over(kind: str):
    """With a second provider of the kind that dies, the caller hears the answer and no recording."""
    faults: dict[str, Any] = {kind: {"llm": "500", "tts": "401", "stt": "401"}[kind]}
    name = {"llm": "OPENAI", "tts": "CARTESIA", "stt": "DEEPGRAM"}[kind]
    url_name = f"{name}_BASE_URL"
    async with (
        serve(Providers(**faults)) as first,
        serve(Providers(script=["a table please"])) as second,
        studio(first, env={f"FALLBACK_{url_name}": second.env[url_name]}) as call,
    ):
        if kind == "stt":
            await call.ear.say(recording("again").frames())
        else:
            call.session.generate_reply(user_input="A table, please.")
        await call.wait_for(lambda: "All right." in call.said, 8.0)
        assert call.failures == []
        assert not call.ended.is_set()


async def test_a_session_that_closes_by_itself_is_a_failure():
    """Whatever closes the session, the call is ended and does not stay open in silence."""
    async with serve() as providers, studio(providers) as call:
        await call.session.aclose()
        await call.wait_end(LIMIT)
        assert call.reason == "session failed"


async def _first(frames: Any, count: int) -> Any:
    async for frame in frames:
        if count <= 0:
            return
        count -= 1
        yield frame
