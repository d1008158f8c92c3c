"""The options as a session takes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import AgentSession, UserInputTranscribedEvent, llm
from livekit.plugins import silero

from agent.turns import TurnOptions, Waits, turn_options
from agent.turns.recognizer import PhoneSTT
from agent.turns.voice import PhoneVAD
from tests.unit.test_turns_recognizer import Scripted


def attached(turns: TurnOptions) -> AgentSession[Any]:
    """A session of these options."""
    session: AgentSession[Any] = AgentSession(
        **turns.session_kwargs(stt=Scripted(), vad=silero.VAD.load(**turns.vad_kwargs()))
    )
    turns.attach(session)
    return session


def exchange(asked: str, said: str) -> llm.ChatContext:
    """What the framework asks the detector about."""
    context = llm.ChatContext.empty()
    context.add_message(role="assistant", content=asked)
    context.add_message(role="user", content=said)
    return context


async def test_a_session_takes_the_options_and_both_wrappers() -> None:
    """Detector, recogniser and voice detector are ours; nothing is asked of the cloud."""
    turns = turn_options()
    session = attached(turns)
    assert session.turn_detection is turns.detector
    assert isinstance(session.stt, PhoneSTT)
    assert isinstance(session.vad, PhoneVAD)
    assert session.vad.min_silence_duration == turns.vad_kwargs()["min_silence_duration"]
    assert session.options.interruption.get("mode") == "vad"
    assert session.options.aec_warmup_duration is None


@pytest.mark.parametrize(
    ("asked", "said", "least", "most"),
    [
        ("", "What time do you open?", 0.2, 0.3),
        ("How many people?", "Four.", 0.2, 0.3),
        ("Shall I book it?", "Yes.", 0.4, 0.5),
        ("", "I'd like to book a table.", 0.9, 1.0),
        ("", "I'd like to book a table for", 1.4, 1.5),
        ("What is your phone number?", "five five five", 1.5, 1.7),
    ],
)
async def test_each_turn_gets_its_own_wait(asked: str, said: str, least: float, most: float) -> None:
    """The detector sets the session's maximum and always asks for it."""
    turns = turn_options()
    session = attached(turns)
    probability = await turns.detector.predict_end_of_turn(exchange(asked, said))
    threshold = await turns.detector.unlikely_threshold(None)
    assert threshold is not None
    assert probability < threshold
    assert least <= session.options.endpointing.get("max_delay", 0.0) <= most


async def test_without_attach_the_detector_has_the_frameworks_two_waits() -> None:
    """Whole sentences are likely ends, and nothing else is."""
    turns = turn_options()
    threshold = await turns.detector.unlikely_threshold(None)
    assert threshold is not None
    assert await turns.detector.predict_end_of_turn(exchange("", "Where are you?")) >= threshold
    assert await turns.detector.predict_end_of_turn(exchange("", "I need to")) < threshold
    assert await turns.detector.supports_language(None)


async def test_no_reply_is_prepared_for_half_a_sentence() -> None:
    """The framework prepares a reply at every final transcript, unless it is told not to."""
    session = attached(turn_options())
    for text, prepared in (("I need to", False), ("Where are you?", True)):
        session.emit("user_input_transcribed", UserInputTranscribedEvent(transcript=text, is_final=True))
        await asyncio.sleep(0)
        assert session.options.preemptive_generation.get("enabled") is prepared


async def test_what_is_prepared_can_be_chosen() -> None:
    """Speech, text or nothing: who pays for discarded tokens decides."""
    kwargs = turn_options(ahead="text").session_kwargs()["turn_handling"]["preemptive_generation"]
    assert (kwargs["enabled"], kwargs["preemptive_tts"]) == (True, False)
    session = attached(turn_options(ahead="nothing"))
    session.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="Why?", is_final=True))
    assert session.options.preemptive_generation.get("enabled") is False


async def test_two_calls_share_nothing() -> None:
    """Habits of one caller are not another's; waits can be changed."""
    one, two = turn_options(), turn_options(waits=Waits(complete=0.6))
    assert one.detector is not two.detector
    attached(two)
    await two.detector.predict_end_of_turn(exchange("", "Where are you?"))
    assert two.detector.last is not None
    assert two.detector.last[2] == pytest.approx(0.6)
    assert one.detector.last is None
