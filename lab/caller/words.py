"""Whether expected words were heard: without case, punctuation and the difference between "9" and "nine"."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_NUMBERS = [*_UNITS.split(), "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+")


def tokens(text: str) -> tuple[str, ...]:
    """Words in lower case; numbers below 100 as words, longer ones digit by digit."""
    found: list[str] = []
    for token in _TOKEN.findall(text.lower().replace("’", "'")):
        found += _number(token) if token.isdigit() else [token.replace("'", "")]
    return tuple("zero" if token == "oh" else token for token in found)


def hears(phrase: str, text: str) -> bool:
    """Whether the words of `phrase` stand in `text`, one after the other."""
    wanted, found = tokens(phrase), tokens(text)
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


def missing(any_of: Iterable[str], all_of: Iterable[str], text: str) -> str:
    """What of the expectation was not heard, in words; empty when it was met."""
    absent = [phrase for phrase in all_of if not hears(phrase, text)]
    choice = tuple(any_of)
    if choice and not any(hears(phrase, text) for phrase in choice):
        absent.append(" or ".join(choice))
    return ", ".join(absent)


def _number(digits: str) -> list[str]:
    if len(digits) > 2 or (len(digits) == 2 and digits[0] == "0"):
        return [_NUMBERS[int(digit)] for digit in digits]
    value = int(digits)
    if value < 20:
        return [_NUMBERS[value]]
    tens, unit = divmod(value, 10)
    return [_TENS[tens]] + ([_NUMBERS[unit]] if unit else [])
