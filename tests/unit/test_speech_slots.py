"""Days, times, numbers and names in recognised speech."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.speech.slots import find_day, find_digits, find_guests, find_name, find_nights, find_time, say_digits


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("on Friday at 7.30", "seven thirty"),
        ("at 730.", "seven thirty"),
        ("7:05 p.m.", "seven oh five in the evening"),
        ("half past eight", "eight thirty"),
        ("a quarter to nine please", "eight forty five"),
        ("at eight", "eight o'clock"),
        ("8 o'clock", "eight o'clock"),
        ("seven fifteen", "seven fifteen"),
        ("19:30", "seven thirty in the evening"),
        ("at noon", "noon"),
        ("for four people", ""),
        ("my number is 555-0192", ""),
    ],
)
def test_times(text: str, time: str) -> None:
    """A time is found however it was written."""
    assert find_time(text) == time


def test_a_bare_number_is_a_time_only_when_asked_for() -> None:
    """ "Eight." answers "at what time?" and nothing else."""
    assert find_time("Eight.", expected=True) == "eight o'clock"
    assert find_time("830", expected=True) == "eight thirty"
    assert find_time("Eight.") == ""


@pytest.mark.parametrize(
    ("text", "guests"),
    [
        ("a table for 4 on Friday", 4),
        ("we are six", 6),
        ("two of us", 2),
        ("just me", 1),
        ("for two nights", 0),
        ("at 7.30", 0),
        ("for 7.30", 0),
        ("table for to", 2),
    ],
)
def test_guests(text: str, guests: int) -> None:
    """How many people, and no other number."""
    assert find_guests(text) == guests


def test_days_nights_and_names() -> None:
    """The other parts of a reservation."""
    assert find_day("next friday then") == "next Friday"
    assert find_day("on the 5th of June") == "June 5"
    assert find_day("I do not know") == ""
    assert find_nights("for two nights") == 2 and find_nights("a week") == 7
    assert find_name("My name is Anna Schmidt.") == "Anna Schmidt"
    assert find_name("I'm Calling about a table") == ""
    assert find_name("Uh, it's miller", expected=True) == ""
    assert find_name("Smith.", expected=True) == "Smith"


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("My number is 555-0192.", ["555", "0192"]),
        ("five five five, oh one nine two", ["555", "0192"]),
        ("5 5 5", ["555"]),
        ("it is nothing", []),
    ],
)
def test_digits(text: str, groups: list[str]) -> None:
    """Digits keep the groups in which they were said."""
    assert find_digits(text) == groups


@given(st.lists(st.text("0123456789", min_size=2, max_size=5), min_size=1, max_size=4))
def test_digits_survive_being_said(groups: list[str]) -> None:
    """Digits that are read out and heard again are the same digits."""
    assert find_digits(say_digits(groups)) == groups
