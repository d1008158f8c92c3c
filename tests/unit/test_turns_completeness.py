"""The text policy: which words can end a turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.turns import Level, assess
from agent.turns.digits import trailing_run
from agent.turns.lexicon import ARTICLES, CONJUNCTIONS

COMPLETE = [
    ("What time do you open on Sundays?", ""),
    ("I'd like to book a table for four people.", ""),
    ("Can I speak to somebody about my bill?", ""),
    ("Who am I speaking with?", ""),
    ("The package never arrived.", ""),
    ("Please transfer me to the sales department.", ""),
    ("I don't think so.", "Do you have an account with us?"),
    ("Yes.", "Shall I book it?"),
    ("Four.", "How many people will there be?"),
    ("Yes, I do.", "Do you have an appointment?"),
    ("I'd like that.", "Shall I send you one?"),
    ("My number is 555-019-2734.", ""),
    ("oh one five five five double nine three two one", "What is your phone number?"),
    ("john at example dot com", "What's your email address?"),
    ("If I come on Tuesday, can I still get it?", ""),
    ("Can you tell me where it is?", ""),
    ("I'd like a double room.", "Which room would you like?"),
    ("It's room 12.", "Which room are you in?"),
    ("No, thank you.", "Is there anything else?"),
]
INCOMPLETE = [
    ("Could you tell me?", "For which day would you like the table?"),
    ("Could you please tell me", ""),
    ("Hello, I'd like to know", ""),
    ("Please let me know.", "What can I do for you?"),
    ("I'd like to book a table for", ""),
    ("I'd like to book a table for...", ""),
    ("My name is.", ""),
    ("Can you tell me if", ""),
    ("I was wondering whether you", ""),
    ("I need to change my appointment to.", ""),
    ("If I come on Tuesday.", ""),
    ("Um.", "Which day would you like?"),
    ("Let me see.", "When did you order?"),
    ("555", "What is your phone number?"),
    ("My number is five five five.", ""),
    ("My number is 555 0", ""),
    ("021", "What is your zip code?"),
    ("My account number is 42", ""),
    ("john at example", "What's your email address?"),
    ("My phone number.", ""),
    ("I ordered a lamp and", ""),
    ("Could I speak to the", ""),
    ("S M I", "Could you spell that?"),
    ("So what I need is", ""),
    ("I'd like to look at a table for", ""),
    ("I would like to know how much.", ""),
]


@pytest.mark.parametrize(("said", "asked"), COMPLETE)
def test_a_whole_sentence_or_answer_is_complete(said: str, asked: str) -> None:
    """What a caller may end a turn with is answered without a long wait."""
    assert assess(said, asked).level is Level.COMPLETE


@pytest.mark.parametrize(("said", "asked"), INCOMPLETE)
def test_words_that_cannot_end_a_sentence_are_incomplete(said: str, asked: str) -> None:
    """What no caller ends a turn with is waited for, whatever full stop the recogniser wrote."""
    assert assess(said, asked).level is Level.INCOMPLETE


@pytest.mark.parametrize(
    "said",
    [
        "Hello.",
        "Yes.",
        "I'd like to book a table.",
        "555 0192 is my",
        "My number is 5550192",
        "I need a taxi.",
        "Can I get them?",
    ],
)
def test_openings_and_ambiguous_ends_are_not_complete(said: str) -> None:
    """What is often followed by more gets time."""
    assert assess(said).level is not Level.COMPLETE


def test_an_open_question_is_not_answered_by_a_request_without_details() -> None:
    """ "How can I help you?" asks for anything, "What may I bring you?" for one thing."""
    assert assess("I need a taxi.", "How can I help you?").level is Level.UNCERTAIN
    assert assess("Yes.", "How can I help you?").level is Level.UNCERTAIN
    assert assess("I need a taxi.", "What do you need?").level is Level.COMPLETE


@given(st.sampled_from([said for said, _ in COMPLETE]), st.sampled_from(sorted(ARTICLES | CONJUNCTIONS)))
def test_an_article_or_conjunction_at_the_end_undoes_any_sentence(said: str, word: str) -> None:
    """No sentence ends in "the" or "and", whatever stands before it."""
    assert assess(f"{said} {word}").level is not Level.COMPLETE


@given(st.text(), st.text())
def test_any_text_gets_a_verdict(said: str, asked: str) -> None:
    """Recognisers may write anything."""
    assert assess(said, asked).why


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("my number is 555 oh one", "55501"),
        ("double five triple nine", "55999"),
        ("twenty five", "25"),
        ("nineteen eighty", "1980"),
        ("call me at 5", "5"),
        ("oh", ""),
        ("no digits here", ""),
    ],
)
def test_digits_at_the_end_are_counted_as_callers_say_them(text: str, digits: str) -> None:
    """Words, figures, "oh" and "double" make one number."""
    assert trailing_run(text.split()).digits == digits
