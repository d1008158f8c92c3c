"""Numbers as callers read them out: how many digits have been said, and how many are to come.

Pure text. A caller groups a number ("five five five … oh one nine two"), so a pause in the middle of one is
no end of turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_DIGITS = "zero one two three four five six seven eight nine"
_DIGIT_WORDS = {
    **{word: str(n) for n, word in enumerate(_DIGITS.split(" "))},
    "oh": "0",
    "o": "0",
    "nought": "0",
}
_TEENS_FROM_TEN = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TEENS = {word: str(10 + n) for n, word in enumerate(_TEENS_FROM_TEN.split(" "))}
_TENS_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: str(2 + n) for n, word in enumerate(_TENS_FROM_TWENTY.split(" "))}
_REPEAT = {"double": 2, "triple": 3}
_SPOKEN = {*_DIGIT_WORDS, *_TEENS, *_TENS, *_REPEAT, "hundred", "thousand"}

# Words before a number that say how long it will be; no length is known of the last ones.
_PHONE = re.compile(
    r"\b(phone|mobile|cell|telephone|call(ing)? (me|us|you)|reach (me|us)|call back|callback|dial|text me)\b"
)
_KINDS: tuple[tuple[re.Pattern[str], frozenset[int]], ...] = (
    (re.compile(r"\b(zip|postal)\b"), frozenset({5, 9})),
    (re.compile(r"\b(credit|debit|card)\b"), frozenset({15, 16})),
    (re.compile(r"\b(pin|passcode)\b"), frozenset({4, 6})),
    (re.compile(r"\b(extension|room|table|suite|apartment|flight)\b"), frozenset()),
)
_NUMBER = re.compile(r"\b(number|code|reference|digits?|account|confirmation|order|i\.?d)\b")


@dataclass(frozen=True)
class Run:
    """Digits at the end of what was said: the digits themselves and how many words were taken for them."""

    digits: str
    words: int


def trailing_run(words: Sequence[str]) -> Run:
    """The run of digits that ends `words` (lower case, no punctuation): "my number is 555 oh one" → 55501."""
    start = len(words)
    while start > 0 and (words[start - 1].isdigit() or words[start - 1] in _SPOKEN):
        start -= 1
    if start < len(words) and words[start] in {"oh", "o"} and start + 1 == len(words) and start == 0:
        start = len(words)  # a lone "oh" is no number
    out: list[str] = []
    repeat, tens = 1, ""
    for word in words[start:]:
        if tens and word in _DIGIT_WORDS:
            out.append(tens + _DIGIT_WORDS[word])
            tens = ""
            continue
        if tens:
            out.append(tens + "0")
            tens = ""
        if word in _REPEAT:
            repeat = _REPEAT[word]
        elif word in _TENS:
            tens = _TENS[word]
        elif word in ("hundred", "thousand"):
            out.append("00" if word == "hundred" else "000")
        else:
            out.append((_DIGIT_WORDS.get(word) or _TEENS.get(word) or word) * repeat)
            repeat = 1
    if tens:
        out.append(tens + "0")
    return Run("".join(out), len(words) - start)


def still_reading(words: Sequence[str], asked: str) -> bool | None:
    """Whether a number is still being read out at the end of `words`.

    `asked` is the agent's last question (lower case). True: digits are missing; False: the number has a
    length at which such numbers end; None: no number is being read out, or its length is not known.
    """
    run = trailing_run(words)
    if not run.digits:
        return None
    said = " ".join(words[: len(words) - run.words])
    count = len(run.digits)
    cue = f"{said} | {asked}"
    alone = run.words == len(words) or run.words >= 3
    if _PHONE.search(cue) or (_NUMBER.search(cue) and not _other_kind(cue)):
        if not _PHONE.search(cue) and _unsized(cue):
            return True if count < 4 else None
        return _phone(run.digits)
    for pattern, complete in _KINDS:
        if pattern.search(cue):
            return (count not in complete and count < max(complete)) if complete else None
    if alone and run.words >= 3 and count >= 3:
        return _phone(run.digits)  # nothing but digits, one by one: read as a telephone number
    return None


def _phone(digits: str) -> bool | None:
    """North American numbers have 10 digits, 11 with the leading 1; 7 may be a local one."""
    count = len(digits)
    wanted = 11 if digits.startswith("1") else 10
    if count >= wanted:
        return False
    return None if count == 7 else True


def _other_kind(cue: str) -> bool:
    return any(pattern.search(cue) for pattern, _ in _KINDS)


def _unsized(cue: str) -> bool:
    return re.search(r"\b(code|reference|account|confirmation|order|i\.?d)\b", cue) is not None
