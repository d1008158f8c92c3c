"""The session of a call uses local parts only, and its greeting is ready before the call."""

from typing import Any

import pytest
from livekit.agents import AgentSession
from livekit.agents.llm import FallbackAdapter as SecondLLM
from livekit.agents.tts import FallbackAdapter as SecondTTS

from agent import pipeline
from agent.greeting import Greeting
from agent.settings import read_settings
from agent.sounds import Recording, recording
from tests.call.providers import Providers, serve
from tests.call.studio import studio


async def test_nothing_is_left_to_the_cloud():
    """End of turn and interruption are pinned; without it the framework would try LiveKit Cloud's models."""
    async with serve() as providers, studio(providers) as call:
        options = call.session.options
        assert options.turn_handling.get("turn_detection") is not None
        assert type(options.turn_handling.get("turn_detection")).__module__.startswith("agent.turns")
        assert options.interruption.get("mode") == "vad"
        assert options.aec_warmup_duration is None
        assert call.session.conn_options.max_unrecoverable_errors > 1000


async def test_second_providers_are_used_where_they_are_set():
    """One address more makes a pair; without it the plugin stands alone."""
    async with serve() as one, serve() as two:
        env = one.env | {f"FALLBACK_{name}": url for name, url in two.env.items()}
        pair, alone = (read_settings(e, need_livekit=False) for e in (env, one.env))
        assert isinstance(pipeline.make_llm(pair), SecondLLM)
        assert isinstance(pipeline.make_tts(pair, pair.persona), SecondTTS)
        assert not isinstance(pipeline.make_llm(alone), SecondLLM)


def test_telephone_rates_and_frames():
    """Audio goes both ways at 16 kHz in short frames, and nobody's volume is turned up."""
    options = pipeline.room_options()
    ear, mouth = options.get_audio_input_options(), options.get_audio_output_options()
    assert ear is not None
    assert mouth is not None
    assert (ear.sample_rate, mouth.sample_rate, ear.frame_size_ms) == (16_000, 16_000, 20)
    assert ear.auto_gain_control is False


async def test_the_greeting_is_synthesised_before_the_call():
    """Prepared by the synthesis in use, it is spoken without asking for it again."""
    async with serve() as providers, studio(providers) as call:
        audio = await pipeline.synthesise(call.settings, "Good day, this is a test.")
        assert audio.duration == pytest.approx(6 * providers.seconds_per_word, abs=0.05)
        greeting = Greeting("Good day, this is a test.")

        async def ready(text: str) -> Recording:
            return audio

        greeting.prepare(ready)
        greeting.wait(5)
        asked = len(providers.asked)
        await greeting.say(call.session)
        assert providers.asked[asked:].count("tts") == 0
        assert call.said == ["Good day, this is a test."]
        assert call.mouth.heard == pytest.approx(audio.duration, abs=0.05)


async def test_a_greeting_that_failed_is_spoken_live(caplog: pytest.LogCaptureFixture):
    """Whatever went wrong before the call is logged, and the caller hears the live voice."""
    async with serve() as providers, studio(providers) as call:
        greeting = Greeting("Good day.")

        async def broken(text: str) -> Recording:
            raise OSError("no route")

        greeting.prepare(broken)
        greeting.wait(5)
        assert "greeting not prepared" in caplog.text
        await greeting.say(call.session)
        assert call.said == ["Good day."]
        assert "tts" in providers.asked


async def test_a_whole_turn_from_voice_to_voice():
    """A sentence is heard, understood and answered, with real voice detection and the real plugins."""
    heard: list[list[dict[str, Any]]] = []

    def answer(messages: list[dict[str, Any]]) -> str:
        heard.append(messages)
        return "For how many?"

    async with (
        serve(Providers(script=["I would like a table please."], answer=answer)) as providers,
        studio(providers) as call,
    ):
        session: AgentSession[Any] = call.session
        await call.ear.say(recording("goodbye").frames())
        await call.wait_for(lambda: bool(call.said), 8.0)
        assert call.said == ["For how many?"]
        assert "table" in str(heard[-1][-1])
        assert session.history.items
