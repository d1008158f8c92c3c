"""The wrapped voice detector: when the end of an overlap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
from livekit import rtc
from livekit.agents import vad

from agent.turns.backchannel import Overlap
from agent.turns.floor import Floor
from agent.turns.voice import OverlapWaits, PhoneVAD
from tests.unit.test_turns_floor import Session, Speech

START, WINDOW, END = (
    vad.VADEventType.START_OF_SPEECH,
    vad.VADEventType.INFERENCE_DONE,
    vad.VADEventType.END_OF_SPEECH,
)
WAITS = OverlapWaits(unclear=0.05, voiced=0.2, long=0.5)


class Scripted(vad.VAD):
    """A detector whose events a test writes; it keeps the frames that it is given."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.032))
        self.frames: list[rtc.AudioFrame] = []
        self.last: _ScriptedStream | None = None

    def stream(self) -> vad.VADStream:
        self.last = _ScriptedStream(self)
        return self.last


class _ScriptedStream(vad.VADStream):
    def __init__(self, owner: Scripted) -> None:
        self._owner = owner
        super().__init__(owner)

    async def _main_task(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, rtc.AudioFrame):
                self._owner.frames.append(item)

    def write(self, kind: vad.VADEventType, *, probability: float = 0.0, speech: float = 0.0) -> None:
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=kind,
                samples_index=0,
                timestamp=0.0,
                speech_duration=speech,
                silence_duration=0.2 if kind is END else 0.0,
                probability=probability,
                raw_accumulated_speech=speech,
                speaking=kind is not END,
            )
        )

    def silence(self, accumulated: float) -> None:
        """A window without voice, inside speech."""
        event = vad.VADEvent(
            type=WINDOW, samples_index=0, timestamp=0.0, speech_duration=0.0, silence_duration=0.0
        )
        event.speaking, event.raw_accumulated_silence = True, accumulated
        self._event_ch.send_nowait(event)

    def voice(self, seconds: float, probability: float = 0.95) -> None:
        """A start of speech and windows of 32 ms."""
        self.write(START, speech=0.064)
        for n in range(round(seconds / 0.032)):
            self.write(WINDOW, probability=probability, speech=0.064 + 0.032 * n)


@asynccontextmanager
async def detector(
    session: Session,
) -> AsyncGenerator[tuple[Floor, _ScriptedStream, vad.VADStream, Scripted]]:
    """A wrapped detector, its script and its stream."""
    floor, inner = Floor(session=session), Scripted()
    stream = PhoneVAD(inner, floor, WAITS).stream()
    assert inner.last is not None
    try:
        yield floor, inner.last, stream, inner
    finally:
        await stream.aclose()


async def until(stream: vad.VADStream, kind: vad.VADEventType, timeout: float = 2.0) -> vad.VADEvent:
    """The next event of this kind."""

    async def wait() -> vad.VADEvent:
        async for event in stream:
            if event.type is kind:
                return event
        raise AssertionError("the stream ended")

    return await asyncio.wait_for(wait(), timeout)


async def test_outside_of_an_overlap_the_end_is_told_at_once() -> None:
    """The caller's own turn ends when Silero says so."""
    async with detector(Session("listening")) as (_, inner, stream, _):
        inner.voice(0.5)
        inner.write(END)
        event = await until(stream, END, timeout=0.04)
        assert event.silence_duration == 0.2


async def test_the_end_of_an_overlap_is_told_when_its_words_are_known() -> None:
    """After an "okay" the framework hears of the end, and resumes, with the recogniser's final words."""
    async with detector(Session("speaking", Speech())) as (floor, inner, stream, _):
        inner.voice(0.4)
        inner.write(END)
        await until(stream, START)
        waiting = asyncio.create_task(until(stream, END))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        floor.decide(Overlap.BACKCHANNEL)
        event = await asyncio.wait_for(waiting, 0.1)
        assert event.silence_duration > 0.25, "the silence began when the voice ended"


async def test_a_bump_is_over_soon_and_a_voice_without_words_later() -> None:
    """Little voice is waited for briefly, a clear voice longer, and neither for ever."""
    for voiced, least, most in ((0.1, 0.04, 0.18), (0.45, 0.18, 0.45)):
        async with detector(Session("speaking", Speech())) as (_, inner, stream, _):
            inner.voice(voiced)
            inner.write(END)
            await until(stream, START)
            began = asyncio.get_running_loop().time()
            await until(stream, END)
            assert least <= asyncio.get_running_loop().time() - began <= most


async def test_interim_words_that_claim_the_floor_are_waited_for_longest() -> None:
    """A "stop" whose final is slow keeps the agent silent."""
    async with detector(Session("speaking", Speech())) as (floor, inner, stream, _):
        inner.voice(0.3)
        await until(stream, WINDOW)
        await asyncio.sleep(0.05)
        floor.admit("Stop", final=False)
        inner.write(END)
        began = asyncio.get_running_loop().time()
        await until(stream, END)
        assert asyncio.get_running_loop().time() - began >= 0.4


async def test_a_caller_who_goes_on_before_the_end_was_told_has_never_stopped() -> None:
    """A second start of speech inside a kept-back end is not told either."""
    async with detector(Session("speaking", Speech())) as (floor, inner, stream, _):
        inner.voice(0.4)
        inner.write(END)
        await until(stream, START)
        await asyncio.sleep(0.05)
        inner.voice(0.4)
        inner.write(END)
        floor.decide(Overlap.WORDS)
        seen: list[vad.VADEventType] = []
        async for event in stream:
            if event.type is not WINDOW:
                seen.append(event.type)
            if event.type is END:
                break
        assert seen == [END]


async def test_a_doubtful_voice_counts_for_less_than_a_clear_one() -> None:
    """The duration that the framework compares with `min_duration` follows the probability of voice."""
    durations: list[float] = []
    event: vad.VADEvent | None = None
    for probability in (0.95, 0.55):
        async with detector(Session("speaking", Speech())) as (_, inner, stream, _):
            inner.voice(0.32, probability)
            for _ in range(10):
                event = await until(stream, WINDOW)
            assert event is not None
            durations.append(event.speech_duration)
    assert durations[0] > 0.25
    assert durations[1] < 0.15


async def test_the_echo_reaches_the_detector_as_silence() -> None:
    """While the agent speaks, a frame 20 dB below it is replaced."""
    quiet = (np.random.default_rng(1).standard_normal(160) * 330).astype(np.int16)
    async with detector(Session("speaking", Speech())) as (_, _, stream, inner):
        for _ in range(5):
            stream.push_frame(rtc.AudioFrame(quiet.tobytes(), 8000, 1, 160))
        await asyncio.sleep(0.05)
        assert len(inner.frames) == 5
        assert not any(np.any(np.frombuffer(frame.data, dtype=np.int16)) for frame in inner.frames)


async def test_a_moment_of_silence_asks_the_recogniser_once() -> None:
    """After 0.15 s of silence within the speech, and again only after more voice."""
    async with detector(Session("listening")) as (floor, inner, stream, _):
        asked: list[float] = []
        floor.finalize = lambda: asked.append(0.0)
        inner.voice(0.2)
        for n in range(1, 9):
            inner.silence(0.032 * n)
        inner.voice(0.1)
        for n in range(1, 9):
            inner.silence(0.032 * n)
        inner.write(END)
        await until(stream, END)
        assert len(asked) == 2
