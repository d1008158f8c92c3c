"""How long the agent waits, and how that follows the caller."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.turns.completeness import Level, Verdict, assess
from agent.turns.patience import Patience, Waits

DONE, MAYBE, GOING_ON = (Verdict(level, "") for level in (Level.COMPLETE, Level.UNCERTAIN, Level.INCOMPLETE))


def test_a_whole_sentence_waits_least_and_half_of_one_most() -> None:
    """The order of the three waits, before anything is known of the caller."""
    patience = Patience()
    assert patience.wait(DONE) < patience.wait(MAYBE) < patience.wait(GOING_ON)


def test_only_a_whole_sentence_is_answered_within_a_pause_of_700_ms() -> None:
    """A pause of 0.7 s, and the 0.2 s in which its end is noticed, fit into the other waits."""
    assert Patience().wait(MAYBE) >= 0.9
    assert Patience().wait(DONE) <= 0.3


def test_after_thanks_there_is_time_for_a_goodbye() -> None:
    """Thanks wait longer than another whole sentence, and a goodbye does not."""
    thanks = Patience().wait(assess("That is all. Thank you."))
    assert Patience().wait(DONE) + 0.3 <= thanks <= 0.7
    assert Patience().wait(assess("Thank you, goodbye.")) == Patience().wait(DONE)


def test_a_caller_who_pauses_for_long_gets_more_time() -> None:
    """Three pauses of 1.1 s lengthen the wait for words that may go on beyond such a pause."""
    patience = Patience()
    for _ in range(3):
        patience.paused(1.1)
    assert patience.wait(MAYBE) > 1.1 + 0.2
    assert patience.wait(DONE) > Patience().wait(DONE)


def test_talking_into_a_caller_makes_the_agent_careful_and_good_turns_make_it_quick_again() -> None:
    """The wait grows after a turn that was taken too early, and comes back."""
    patience = Patience()
    before = patience.wait(DONE)
    patience.answered(0.4)
    careful = patience.wait(DONE)
    for _ in range(10):
        patience.answered(None)
    assert careful > before == patience.wait(DONE)


@given(st.lists(st.one_of(st.floats(0, 30), st.none()), max_size=30), st.lists(st.floats(0, 30), max_size=30))
def test_no_habit_makes_the_wait_endless(answers: list[float | None], pauses: list[float]) -> None:
    """Whatever a caller did, the agent answers within the longest wait."""
    waits = Waits()
    patience = Patience(waits)
    for resumed in answers:
        patience.answered(resumed)
    for pause in pauses:
        patience.paused(pause)
    for verdict in (DONE, MAYBE, GOING_ON):
        assert waits.complete <= patience.wait(verdict) <= waits.longest
