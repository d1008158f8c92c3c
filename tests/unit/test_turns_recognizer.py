"""The wrapped recogniser: which transcripts reach the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    LanguageCode,
    NotGivenOr,
    stt,
    utils,
)

from agent.turns.floor import Floor
from agent.turns.recognizer import PhoneSTT
from tests.unit.test_turns_floor import Session, Speech

FINAL, INTERIM = stt.SpeechEventType.FINAL_TRANSCRIPT, stt.SpeechEventType.INTERIM_TRANSCRIPT


class Scripted(stt.STT[Any]):
    """A recogniser whose transcripts a test writes."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.last: _ScriptedStream | None = None
        self.flushes = 0
        self.frames: list[rtc.AudioFrame] = []
        self.fails = False

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        self.last = _ScriptedStream(self, conn_options)
        return self.last


class _ScriptedStream(stt.RecognizeStream):
    def __init__(self, owner: Scripted, conn_options: APIConnectOptions) -> None:
        super().__init__(stt=owner, conn_options=conn_options)
        self._owner = owner

    async def _run(self) -> None:
        if self._owner.fails:
            raise APIConnectionError("no line to the provider")
        async for item in self._input_ch:
            if isinstance(item, rtc.AudioFrame):
                self._owner.frames.append(item)
            else:
                self._owner.flushes += 1

    def write(self, kind: stt.SpeechEventType, text: str, confidence: float = 0.9) -> None:
        """Send a transcript."""
        data = stt.SpeechData(language=LanguageCode("en"), text=text, confidence=confidence)
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[data]))


@asynccontextmanager
async def recognizer(
    session: Session,
) -> AsyncGenerator[tuple[Floor, Scripted, stt.RecognizeStream, list[str]], None]:
    """A wrapped recogniser, its script, its stream, and the texts that came out."""
    floor, inner = Floor(session=session), Scripted()
    texts: list[str] = []
    async with PhoneSTT(inner, floor).stream() as stream:

        async def read() -> None:
            async for event in stream:
                texts.append(event.alternatives[0].text)  # noqa: PERF401 (read while it is growing)

        reading = asyncio.create_task(read())
        while inner.last is None:  # noqa: ASYNC110 (one turn of the loop)
            await asyncio.sleep(0)
        yield floor, inner, stream, texts
        reading.cancel()


async def settled() -> None:
    """Let the tasks of both streams run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_in_the_callers_own_turn_everything_passes() -> None:
    """Interim and final words, an "okay" too."""
    async with recognizer(Session("listening")) as (floor, inner, _, texts):
        assert inner.last is not None
        inner.last.write(INTERIM, "Okay")
        await settled()
        assert floor.heard == "Okay"
        inner.last.write(FINAL, "Okay.")
        await settled()
        assert texts == ["Okay", "Okay."]
        assert floor.heard == ""


async def test_over_the_agent_only_words_that_want_the_floor_pass() -> None:
    """ "Mm-hm" and a doubted word do not; "stop" does, and what follows once the agent has been stopped."""
    session = Session("speaking", Speech())
    async with recognizer(session) as (_, inner, _, texts):
        assert inner.last is not None
        inner.last.write(INTERIM, "Mm-hm")
        inner.last.write(FINAL, "Mm-hm.")
        inner.last.write(FINAL, "copy", 0.06)
        inner.last.write(FINAL, "Stop.", 0.5)
        await settled()
        session.current_speech.interrupted, session.agent_state = True, "listening"
        inner.last.write(FINAL, "Okay.")
        await settled()
        assert texts == ["Stop.", "Okay."]


async def test_a_yes_over_the_end_of_a_question_comes_through_after_it() -> None:
    """It is the caller's turn as soon as the agent has finished asking."""
    async with recognizer(Session("speaking", Speech())) as (floor, inner, _, texts):
        assert inner.last is not None
        inner.last.write(FINAL, "Yes.")
        await settled()
        assert texts == []
        floor.agent_ended("Shall I book it?", interrupted=False)
        await settled()
        assert texts == ["Yes."]


async def test_a_hush_finalises_after_the_audio_that_was_pushed() -> None:
    """The recogniser is asked for its words in order with the audio, and the echo reaches it as silence."""
    session = Session("speaking", Speech())
    quiet = (np.random.default_rng(1).standard_normal(160) * 330).astype(np.int16)
    async with recognizer(session) as (floor, inner, stream, _):
        stream.push_frame(rtc.AudioFrame(quiet.tobytes(), 8000, 1, 160))
        await settled()
        floor.voice_hushed()
        await settled()
        assert inner.flushes == 1
        assert len(inner.frames) == 1
        assert not np.any(np.frombuffer(inner.frames[0].data, dtype=np.int16))
    asked = inner.flushes
    floor.voice_hushed()
    assert inner.flushes == asked, "nobody is asked once the stream is closed"


async def test_errors_are_those_of_the_wrapped_recogniser_and_told_once() -> None:
    """A provider that fails is reported as it would be without the wrapper, and ends the stream."""
    inner = Scripted()
    inner.fails = True
    outer = PhoneSTT(inner, Floor(session=Session()))
    errors: list[Any] = []
    outer.on("error", errors.append)
    stream = outer.stream(conn_options=APIConnectOptions(max_retry=0))
    try:
        await asyncio.wait_for(anext(stream), 2)
    except APIConnectionError:
        pass
    else:
        raise AssertionError("the stream must fail")
    finally:
        await stream.aclose()
    assert len(errors) == 1
    assert not errors[0].recoverable
