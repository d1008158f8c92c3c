"""Where speech starts and ends, on audio with planted gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.speech.listening import Ended, Event, Heard, Listener, SpeechStarted
from lab.speech.synthesizer import Synthesizer
from lab.speech.vad import RATE


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    """Loaded once."""
    return Synthesizer()


def silence(seconds: float) -> NDArray[np.int16]:
    """Nothing, at 16 kHz."""
    return np.zeros(int(RATE * seconds), np.int16)


def hear(listener: Listener, *parts: NDArray[np.int16]) -> list[tuple[float, Event]]:
    """Push in 50 ms pieces; events with the stream's time."""
    pcm = np.concatenate(parts)
    events: list[tuple[float, Event]] = []
    for at in range(0, len(pcm), RATE // 20):
        events += [(listener.time, event) for event in listener.push(pcm[at : at + RATE // 20])]
    return events


def last_voiced(pcm: NDArray[np.int16]) -> float:
    """Seconds to the last 10 ms that are within 30 dB of the loudest."""
    levels = np.abs(pcm[: len(pcm) // 160 * 160].astype(float)).reshape(-1, 160).max(axis=1)
    return (int(np.flatnonzero(levels > levels.max() * 10**-1.5)[-1]) + 1) * 0.01


def test_one_sentence_is_one_segment_and_ends_soon(synthesizer: Synthesizer) -> None:
    """Start within 150 ms of the voice, a pause heard within 150 ms of its end, the end within 300 ms."""
    voice = synthesizer.speak("What time do you close?", RATE, "caller")
    events = hear(Listener(0.025), silence(0.5), voice, silence(1.0))
    started = [event.at for _, event in events if isinstance(event, SpeechStarted)]
    ended = [(at, event) for at, event in events if isinstance(event, Ended)]
    assert len(started) == len(ended) == 1
    assert 0.4 <= started[0] <= 0.65
    end = 0.5 + last_voiced(voice)
    paused = [at for at, event in events if isinstance(event, Heard) and event.paused and at > end - 0.1]
    assert paused and paused[0] <= end + 0.15
    assert end < ended[0][0] <= end + 0.3
    assert ended[0][1].endpoint


def test_partials_grow(synthesizer: Synthesizer) -> None:
    """While somebody speaks the segment is handed out again and again, each time longer."""
    voice = synthesizer.speak("I would like to reserve a table for dinner on Saturday.", RATE)
    heard = [event for _, event in hear(Listener(), silence(0.3), voice) if isinstance(event, Heard)]
    lengths = [len(event.pcm) for event in heard]
    assert len(lengths) >= 6 and lengths == sorted(lengths)


def test_a_short_pause_does_not_end_a_long_endpointing(synthesizer: Synthesizer) -> None:
    """With end-pointing of 800 ms a planted gap of 500 ms stays inside one segment."""
    first, second = (synthesizer.speak(text, RATE) for text in ("My number is five five.", "Oh one nine."))
    events = hear(Listener(0.8), silence(0.3), first, silence(0.3), second, silence(1.5))
    assert len([event for _, event in events if isinstance(event, Ended)]) == 1
    events = hear(Listener(0.1), silence(0.3), first, silence(0.3), second, silence(1.5))
    assert len([event for _, event in events if isinstance(event, Ended)]) >= 2


def test_long_speech_is_cut_without_losing_audio(synthesizer: Synthesizer) -> None:
    """Speech that never pauses is cut before 10 s; the parts follow each other without a gap."""
    voice = synthesizer.speak("We would like to come to the harbour with our two children and my wife", RATE)
    dense = np.concatenate([voice[: -RATE // 4]] * 5)
    events = hear(Listener(float("inf")), silence(0.3), dense, silence(0.5))
    ended = [event for _, event in events if isinstance(event, Ended)]
    assert len(ended) >= 2 and not any(event.endpoint for event in ended)
    assert all(len(event.pcm) <= 9.5 * RATE for event in ended)
    for one, next_one in pairwise(ended):
        assert abs(one.end - next_one.start) < 1e-6


@pytest.mark.parametrize("level", [0, 60, 600])
def test_noise_is_no_speech(level: int) -> None:
    """Silence and steady noise start nothing."""
    noise = np.random.default_rng(3).normal(0, level, RATE * 3).astype(np.int16)
    assert hear(Listener(), noise) == []


def test_flush_ends_what_is_open(synthesizer: Synthesizer) -> None:
    """A flush in the middle of speech hands out what was said; a second one hands out nothing."""
    listener = Listener()
    hear(listener, silence(0.3), synthesizer.speak("Hello there", RATE)[: RATE // 2])
    assert [type(event) for event in listener.flush()] == [Ended]
    assert listener.flush() == []
