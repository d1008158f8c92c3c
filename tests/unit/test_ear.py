"""The ear against recordings whose truth is planted: speech, gaps and noise at known places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from lab.ear import RATE, Marks, Span, hear, voice_activity
from lab.speech.synthesizer import Synthesizer

Audio = NDArray[np.float64]

SENTENCES = (
    "Could you tell me what time you open on Saturday?",
    "Stop, wait.",
    "I would like to book a table for four people tomorrow evening.",
    "We are open from nine to six, Monday to Friday.",
    "My number is five five five, oh one nine two.",
    "Goodbye, thank you very much.",
)
TOLERANCE = 0.020


@pytest.fixture(scope="module")
def speech() -> list[Audio]:
    """Sentences by two voices at an active level of -25 dB of full scale."""
    synthesizer = Synthesizer()
    spoken = [
        synthesizer.speak(text, RATE, voice).astype(np.float64) / 32768
        for text in SENTENCES
        for voice in ("agent", "caller")
    ]
    return [sound / active_level(sound) * 10 ** (-25 / 20) for sound in spoken]


def envelope(sound: Audio) -> Audio:
    """Power around every sample, over 20 ms."""
    summed = np.cumsum(np.concatenate(([0.0], sound**2)))
    padded = np.concatenate((np.zeros(80), summed, np.full(79, summed[-1])))
    return (padded[160:] - padded[:-160]) / 160


def active_level(sound: Audio) -> float:
    """RMS of the frames within 15.9 dB of it (ITU-T P.56)."""
    power = envelope(sound)[::40]
    level = power[power > power.max() / 1000].mean()
    for _ in range(6):
        level = power[power > level * 10**-1.59].mean()
    return float(np.sqrt(level))


def within(sound: Audio, decibels: float) -> Audio:
    """The sound from the first to the last place that is so near to its active level."""
    loud = np.flatnonzero(envelope(sound) > active_level(sound) ** 2 * 10 ** (-decibels / 10))
    return sound[int(loud[0]) : int(loud[-1]) + 1]


def noise(kind: str, length: int, rng: np.random.Generator, voices: Sequence[Audio]) -> Audio:
    """White or pink noise, or sixteen talkers at once, with an RMS of 1."""
    if kind == "babble":
        crowd = np.zeros(length)
        for _ in range(16):
            queue = [voices[int(rng.integers(len(voices)))] for _ in range(length // RATE + 2)]
            crowd += np.concatenate(queue)[RATE // 2 :][:length]
        return crowd / np.sqrt(np.mean(crowd**2))
    white = rng.standard_normal(length)
    if kind == "pink":
        shape = (0.04992, -0.09599, 0.05061, -0.00441), (1, -2.49496, 2.01727, -0.52219)
        white = np.asarray(lfilter(*shape, white), np.float64)
    return white / np.sqrt(np.mean(white**2))


def mulaw(sound: Audio) -> NDArray[np.int16]:
    """As G.711 carries it."""
    folded = np.sign(sound) * np.log1p(255 * np.abs(np.clip(sound, -1, 1))) / np.log1p(255)
    folded = np.round(folded * 127) / 127
    return np.asarray(np.sign(folded) * np.expm1(np.abs(folded) * np.log1p(255)) / 255 * 32767, np.int16)


def planted(speech: Sequence[Audio], rng: np.random.Generator, pieces: int = 6) -> tuple[Audio, list[Span]]:
    """Pieces of speech that begin and end in the loud, with silence of 0.3 to 1.5 s between them."""
    parts: list[Audio] = [np.zeros(int(rng.uniform(0.6, 1.2) * RATE))]
    truth: list[Span] = []
    for _ in range(pieces):
        piece = within(speech[int(rng.integers(len(speech)))], 8)
        start = sum(len(part) for part in parts) / RATE
        truth.append(Span(start, start + len(piece) / RATE))
        parts += [piece, np.zeros(int(rng.uniform(0.3, 1.5) * RATE))]
    return np.concatenate(parts), truth


def edges(found: Sequence[Span], truth: Sequence[Span]) -> Audio:
    """Errors of every onset and offset in seconds; fails when a piece was not heard at all."""
    errors: list[float] = []
    for span in truth:
        inside = [other for other in found if other.overlaps(span)]
        assert inside, f"nothing was heard at {span}"
        errors += [inside[0].start - span.start, inside[-1].end - span.end]
    return np.array(errors)


@pytest.mark.parametrize("kind", ["", "white", "pink"])
@pytest.mark.parametrize("seed", range(4))
def test_onsets_and_offsets_are_right_to_20_ms(speech: list[Audio], kind: str, seed: int) -> None:
    """In silence and in steady noise at 15 dB every onset and offset is found to 20 ms, and nothing else."""
    rng = np.random.default_rng(seed)
    sound, truth = planted(speech, rng)
    if kind:
        sound = sound + noise(kind, len(sound), rng, speech) * 10 ** (-40 / 20)
    found = voice_activity(mulaw(sound))
    assert np.abs(edges(found, truth)).max() <= TOLERANCE
    assert all(any(span.overlaps(piece) for piece in truth) for span in found)


def test_babble_is_told_from_the_talker(speech: list[Audio]) -> None:
    """Behind sixteen other voices at 15 dB nine of ten onsets and offsets are found to 20 ms."""
    errors: list[float] = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sound, truth = planted(speech, rng)
        sound = sound + noise("babble", len(sound), rng, speech) * 10 ** (-40 / 20)
        errors += list(edges(voice_activity(mulaw(sound)), truth))
    assert np.percentile(np.abs(errors), 90) <= TOLERANCE


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_a_burst_of_noise_is_no_voice(speech: list[Audio], kind: str) -> None:
    """Noise that comes and goes at the level of speech has no pitch and is left out."""
    rng = np.random.default_rng(1)
    sound = np.zeros(6 * RATE)
    for start in (1.0, 2.5, 4.0):
        at = int(start * RATE)
        sound[at : at + RATE // 2] = noise(kind, RATE // 2, rng, speech) * 10 ** (-25 / 20)
    assert voice_activity(mulaw(sound)) == ()


def test_silence_and_clicks_are_no_voice() -> None:
    """Neither digital silence nor single clicks count."""
    sound = np.zeros(4 * RATE)
    assert voice_activity(sound) == ()
    sound[RATE] = sound[2 * RATE] = 0.9
    assert voice_activity(sound) == ()


class Call:
    """A call laid out by hand: what each side says, when."""

    def __init__(self, seconds: float) -> None:
        self.sent, self.heard = np.zeros(int(seconds * RATE)), np.zeros(int(seconds * RATE))

    def says(self, channel: Audio, at: float, sound: Audio) -> Span:
        """Put a sound there; returns where it stands."""
        first = int(at * RATE)
        channel[first : first + len(sound)] += sound
        return Span(at, at + len(sound) / RATE)

    def with_noise(self, decibels: float) -> Call:
        """White noise on both channels, so far below speech."""
        rng = np.random.default_rng(7)
        for channel in (self.sent, self.heard):
            channel += rng.standard_normal(len(channel)) * 10 ** ((-25 - decibels) / 20)
        return self


@pytest.mark.parametrize("noisy", [False, True])
def test_times_of_a_call(speech: list[Audio], noisy: bool) -> None:
    """Set-up, greeting, response and time to silence come out as planted to 20 ms, also at 15 dB of noise."""
    agent, caller = within(speech[6], 10), within(speech[1], 10)
    long, stop = within(speech[4], 10), within(speech[3], 10)
    call = Call(20)
    greeting = call.says(call.heard, 1.0, agent)
    question = call.says(call.sent, greeting.end + 1.0, caller)
    answer = call.says(call.heard, question.end + 0.62, long)
    call.heard[int((answer.start + 1.5) * RATE) :] = 0
    wait = call.says(call.sent, answer.start + 1.2, stop)
    second = call.says(call.heard, wait.end + 0.71, agent)
    if noisy:
        call.with_noise(15)
    found = hear(mulaw(call.sent), mulaw(call.heard), Marks(0.2, 0.65))
    assert found.invite_to_ok_ms == pytest.approx(450)
    assert found.invite_to_greeting_ms == pytest.approx(800, abs=20)
    assert [turn.response_ms for turn in found.turns] == [
        pytest.approx(620, abs=20),
        pytest.approx(710, abs=20),
    ]
    assert [barge.silence_ms for barge in found.interruptions] == [pytest.approx(300, abs=30)]
    assert [turn.cut_in for turn in found.turns] == [False, False]
    assert found.turns[1].agent is not None
    assert found.turns[1].agent.start == pytest.approx(second.start, abs=TOLERANCE)


def test_a_pause_that_is_talked_into_is_a_cut_in(speech: list[Audio]) -> None:
    """An agent who starts in the caller's pause cuts in; one who waits for the end of the turn does not."""
    first, second, agent = within(speech[1], 10), within(speech[9], 10), within(speech[6], 10)
    call = Call(16)
    begun = call.says(call.sent, 1.0, first)
    rest = call.says(call.sent, begun.end + 0.7, second)
    call.says(call.heard, begun.end + 0.4, agent)
    marks = Marks(0.0, 0.1)
    turn = Span(begun.start, rest.end)
    for known in (None, (turn,)):
        assert [turn.cut_in for turn in hear(call.sent, call.heard, marks, known).turns] == [True]
    call.heard[:] = 0
    call.says(call.heard, rest.end + 0.5, agent)
    for known in (None, (turn,)):
        measured = hear(call.sent, call.heard, marks, known).turns
        assert [(turn.cut_in, turn.response_ms) for turn in measured] == [(False, pytest.approx(500, abs=20))]


def test_an_aside_that_stops_the_agent(speech: list[Audio]) -> None:
    """A backchannel counts when it silences the agent for good; not when he talks through it, or goes on."""
    agent, aside = np.concatenate((speech[4], speech[6])), within(speech[3], 10)[: RATE // 4]
    marks = Marks(0.0, 0.1)
    for silent_from, again, stopped in ((None, None, False), (1.5, None, True), (1.5, 2.5, False)):
        call = Call(16)
        call.says(call.heard, 1.0, agent)
        sound = call.says(call.sent, 2.0, aside)
        if silent_from is not None:
            call.heard[int((1.0 + silent_from) * RATE) :] = 0
        if again is not None:
            call.says(call.heard, 1.0 + again, agent)
        found = hear(call.sent, call.heard, marks, (), (sound,))
        assert [aside.stopped for aside in found.asides] == [stopped]
        assert found.turns == ()


def test_dropouts_are_told_from_pauses(speech: list[Audio]) -> None:
    """Audio that was cut out of a vowel is a dropout; the pauses that the voice makes itself are not."""
    sound = np.concatenate((speech[6], np.zeros(2000), speech[4]))
    call = Call(14)
    call.says(call.heard, 1.0, sound)
    marks = Marks(0.0, 0.1)
    whole = hear(call.sent, call.heard, marks)
    assert whole.dropouts == ()
    assert any(gap.span.duration > 0.2 for gap in whole.gaps)
    power = envelope(call.heard)
    loud = np.flatnonzero((power[:-1600] > 1e-3) & (power[1600:] > 1e-3))
    cut = int(loud[len(loud) // 2])
    call.heard[cut : cut + 1600] = 0
    holes = hear(call.sent, call.heard, marks).dropouts
    assert [(hole.span.start, hole.span.end) for hole in holes] == [
        (pytest.approx(cut / RATE, abs=0.02), pytest.approx((cut + 1600) / RATE, abs=0.02))
    ]


def test_a_call_without_anything_in_it() -> None:
    """Silence on both sides, and a call that was never answered, measure as nothing."""
    found = hear(np.zeros(8000, np.int16), np.zeros(8000, np.int16), Marks(0.0, None))
    assert (found.invite_to_ok_ms, found.invite_to_greeting_ms) == (None, None)
    assert (found.turns, found.interruptions, found.gaps, found.both_talk_ms) == ((), (), (), 0)
