"""What counts as a turn while the agent is speaking."""

from __future__ import annotations

import pytest

from agent.turns.backchannel import Overlap, judge


@pytest.mark.parametrize(
    "text", ["Mm-hmm.", "Yeah.", "okay", "Uh-huh.", "Right, right.", "I see.", "Oh, okay, great.", "you"]
)
def test_signs_of_listening_are_no_turn(text: str) -> None:
    """They mean "go on", and so does what recognisers write for breath."""
    assert judge(text) is Overlap.BACKCHANNEL


@pytest.mark.parametrize(
    "text",
    [
        "Stop.",
        "No.",
        "Wait",
        "okay but not on Tuesday",
        "Excuse me",
        "yeah yeah yeah yeah I know",
        "Hold on.",
        "two",
    ],
)
def test_everything_else_is_a_turn(text: str) -> None:
    """A word that is not on the list stops the agent, also when it begins with a "yeah"."""
    assert judge(text) is Overlap.WORDS


def test_short_words_that_the_recogniser_doubts_are_none_unless_they_claim_the_floor() -> None:
    """A cough that became "copy" does not stop the agent; a doubtful "stop wait" does."""
    assert judge("copy", confidence=0.06) is Overlap.NOTHING
    assert judge("Stop wait.", confidence=0.41) is Overlap.WORDS
    assert judge("copy", confidence=0.0) is Overlap.WORDS, "0 means that the recogniser does not say"


def test_the_agents_own_words_are_an_echo() -> None:
    """What comes back word for word is the line, not the caller."""
    saying = "We are open from nine in the morning until six."
    assert judge("from nine in the morning", saying) is Overlap.ECHO
    assert judge("are you open on Sunday", saying) is Overlap.WORDS


def test_nothing_is_nothing() -> None:
    """A transcript without words."""
    assert judge(" ... ") is Overlap.NOTHING
