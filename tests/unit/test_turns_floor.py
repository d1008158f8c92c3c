"""Who has the floor, from the events of both speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.turns.backchannel import Overlap
from agent.turns.completeness import Level
from agent.turns.floor import Floor


@dataclass
class Speech:
    """A speech handle."""

    interrupted: bool = False
    ended: bool = False

    def done(self) -> bool:
        """Whether it is over."""
        return self.ended


@dataclass
class Session:
    """What the floor reads of a session."""

    agent_state: str = "listening"
    current_speech: Any = None


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def talking() -> tuple[Floor, Session, Clock]:
    """A floor that the agent holds."""
    session, clock = Session("speaking", Speech()), Clock()
    return Floor(session=session, clock=clock), session, clock


def test_a_backchannel_is_kept_back_while_the_agent_speaks_and_passes_when_it_does_not() -> None:
    """ "Okay" over the agent is no turn; "okay" after it is one."""
    floor, session, _ = talking()
    assert floor.admit("Okay.", final=True) is Overlap.BACKCHANNEL
    session.agent_state, session.current_speech = "listening", None
    assert floor.admit("Okay.", final=True) is None


def test_a_paused_agent_still_holds_the_floor() -> None:
    """While it is being found out what the caller wants, a backchannel is still none of his turns."""
    floor, session, _ = talking()
    session.agent_state = "listening"
    assert floor.admit("Mm-hm.", final=True) is Overlap.BACKCHANNEL
    session.current_speech.interrupted = True
    assert floor.admit("Mm-hm.", final=True) is None


def test_only_final_words_decide_an_overlap() -> None:
    """Interim words are likely; the final ones are known, and wake whoever waits."""
    floor, _, _ = talking()
    floor.voice_over_agent()
    floor.admit("Okay", final=False)
    assert floor.likely is Overlap.BACKCHANNEL
    assert not floor.known.is_set()
    floor.admit("Okay but stop", final=True)
    assert floor.known.is_set()
    assert floor.over is Overlap.WORDS


def test_words_without_a_voice_are_an_echo() -> None:
    """A recogniser that hears words where our voice detector heard nobody hears the line."""
    floor, _, clock = talking()
    floor.listening = True
    assert floor.admit("nine in the morning", final=True) is Overlap.ECHO
    floor.voice_began(clock.now - 1)
    floor.voiced = 0.5
    assert floor.admit("nine in the morning", final=True) is Overlap.WORDS


def test_a_yes_over_the_end_of_a_question_is_released_as_its_answer() -> None:
    """What was kept back becomes a turn when the agent ends with a question right after it."""
    floor, _, clock = talking()
    released: list[str] = []
    floor.keep("yes", released.append)
    clock.now += 0.8
    floor.agent_ended("Shall I book it?", interrupted=False)
    assert released == ["yes"]


def test_a_yes_long_before_the_end_or_over_a_statement_is_forgotten() -> None:
    """It was a sign of listening; nothing of it is left for the next question."""
    floor, _, clock = talking()
    released: list[str] = []
    floor.keep("yes", released.append)
    clock.now += 3
    floor.agent_ended("Shall I book it?", interrupted=False)
    floor.keep("yes", released.append)
    floor.agent_ended("It is booked.", interrupted=False)
    floor.agent_ended("Anything else?", interrupted=False)
    assert released == []


def test_a_turn_is_not_judged_before_its_last_words_are_recognised() -> None:
    """A whole sentence is uncertain while the recogniser still owes what was said after it."""
    floor, _, clock = talking()
    floor.voice_began(clock.now - 3)
    floor.voice_ended(clock.now - 2)
    floor.words("I'd like a table.", final=True)
    assert floor.verdict("Where are you located?", "").level is Level.COMPLETE
    clock.now += 1
    floor.voice_began(clock.now)
    floor.voice_ended(clock.now + 0.4)
    assert floor.verdict("Where are you located?", "").level is Level.UNCERTAIN


def test_a_whole_sentence_waits_for_its_last_words_to_be_final() -> None:
    """ "555 0192 … 734" is a whole number, but the last part of it would be missing from the turn."""
    floor, _, _ = talking()
    floor.words("734", final=False)
    asked = "What is your phone number?"
    assert floor.verdict("555 0192", asked).level is Level.UNCERTAIN
    floor.words("734", final=True)
    assert floor.verdict("555 0192 734", asked).level is Level.COMPLETE


def test_a_doubtful_last_word_may_be_half_a_word() -> None:
    """ "Please sign it to me" at half confidence was "Please send it to my …"."""
    floor, _, _ = talking()
    floor.words("Please sign it to me.", final=True, certainty=0.5)
    assert floor.verdict("Please sign it to me.", "").level is Level.UNCERTAIN
    floor.words("Please send it to me.", final=True, certainty=0.9)
    assert floor.verdict("Please send it to me.", "").level is Level.COMPLETE


def test_interim_words_count_for_the_end_of_the_turn() -> None:
    """ "Where are you located and" goes on, although only the question is final."""
    floor, _, _ = talking()
    floor.words("and", final=False)
    assert floor.verdict("Where are you located?", "").level is Level.INCOMPLETE
