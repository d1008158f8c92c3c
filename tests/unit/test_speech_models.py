"""The recognizer and the synthesizer on their own."""

from __future__ import annotations

import numpy as np
import pytest

from lab.speech.recognizer import Recognizer, windows, without_loop
from lab.speech.synthesizer import Synthesizer, split_phrases


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    """Loaded once."""
    return Recognizer()


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    """Loaded once."""
    return Synthesizer()


def test_synthesis_repeats_exactly(synthesizer: Synthesizer) -> None:
    """The same text gives the same samples; another voice gives others, at the rate that was asked for."""
    one, two = (synthesizer.speak("Good day.", 8000) for _ in range(2))
    assert np.array_equal(one, two)
    other = synthesizer.speak("Good day.", 8000, "caller")
    assert len(other) != len(one) or not np.array_equal(other, one)
    assert len(synthesizer.speak("Good day.", 16_000)) == pytest.approx(2 * len(one), rel=0.01)


def test_the_callers_voice_is_lower(synthesizer: Synthesizer) -> None:
    """Its fundamental frequency is clearly below the agent's, at about the same length."""
    text = "I would like to reserve a table."

    def pitch(voice: str) -> tuple[float, int]:
        pcm = synthesizer.speak(text, 16_000, voice).astype(float)
        found: list[int] = []
        for at in range(0, len(pcm) - 1280, 640):
            block = pcm[at : at + 1280]
            if np.abs(block).max() > 0.2 * np.abs(pcm).max():
                similar = np.correlate(block, block, "full")[1280 + 50 : 1280 + 250]
                found.append(51 + int(similar.argmax()))
        return 16_000 / float(np.median(found)), len(pcm)

    (agent, agent_length), (caller, caller_length) = pitch("agent"), pitch("caller")
    assert 90 < caller < 0.75 * agent < 250
    assert 0.8 < caller_length / agent_length < 1.25


def test_words_are_timed_by_the_model(synthesizer: Synthesizer) -> None:
    """Word times are in order, follow the audio, and span numbers that are read as two words."""
    phrase = next(iter(synthesizer.phrases("We open at 7:30 on Friday.", 8000)))
    assert [word.text for word in phrase.words] == ["We", "open", "at", "7:30", "on", "Friday."]
    starts = [word.start for word in phrase.words]
    assert starts == sorted(starts) and phrase.words[-1].end <= len(phrase.pcm) / 8000
    lengths = {word.text: word.end - word.start for word in phrase.words}
    assert lengths["7:30"] > 2 * lengths["at"]


def test_nothing_to_say(synthesizer: Synthesizer) -> None:
    """Text without a word is no audio and no error."""
    assert len(synthesizer.speak(" ")) == 0 and len(synthesizer.speak("")) == 0


def test_long_first_sentences_begin_after_a_clause() -> None:
    """Sound comes early; short sentences stay whole."""
    long = "So, a table for four people, on Friday evening at half past seven, under the name Miller."
    assert split_phrases([long])[0] == "So, a table for four people,"
    assert split_phrases(["Parking is free, and so are dogs."]) == ["Parking is free, and so are dogs."]


def test_recognition_of_clean_speech(recognizer: Recognizer, synthesizer: Synthesizer) -> None:
    """Key words come back with times that agree with the synthesizer's own."""
    phrase = next(iter(synthesizer.phrases("Is parking free on Sunday?", 8000)))
    heard = recognizer.transcribe(phrase.pcm, 8000)
    spoken = {word.text.lower().strip("?"): word for word in phrase.words}
    found = {word.text.lower().strip("?.,"): word for word in heard.words}
    assert "sunday" in found
    assert found["sunday"].start == pytest.approx(spoken["sunday"].start, abs=0.25)
    assert found["sunday"].end == pytest.approx(spoken["sunday"].end, abs=0.35)
    assert 0.3 < found["sunday"].confidence <= 1.0


def test_no_words_in_silence_and_noise(recognizer: Recognizer) -> None:
    """Silence, noise and next to nothing give no text."""
    noise = np.random.default_rng(5).normal(0, 300, 24_000).astype(np.int16)
    for pcm in (np.zeros(16_000, np.int16), noise, np.zeros(10, np.int16)):
        assert recognizer.transcribe(pcm, 16_000).text == ""


def test_long_recordings_are_cut_at_pauses() -> None:
    """Windows are at most 10 s, in order, and cut where the planted pause is."""
    speech = np.ones(250, np.float32)
    pause = np.zeros(20, np.float32)
    cuts = windows(np.concatenate((speech, pause, speech)))
    assert cuts[0][0] == 0 and 250 <= cuts[0][1] <= 271
    assert all(last - first <= 312 for first, last in cuts)
    assert windows(np.zeros(500, np.float32)) == []


@pytest.mark.parametrize(
    ("heard", "kept"),
    [
        ("yes. yes. yes. yes. yes. ye", "yes. yes. yes. yes. yes. ye"),
        ("yes. yes. yes. yes. yes.", "yes."),
        ("five five five", "five five five"),
        ("can I come? can I come?", "can I come?"),
        ("can I come? can I come? can I", "can I come?"),
        ("a table for four", "a table for four"),
    ],
)
def test_loops_are_cut(heard: str, kept: str) -> None:
    """A decoder that runs in circles is heard once; numbers keep their repeats."""
    assert " ".join(without_loop(heard.split())) == kept
