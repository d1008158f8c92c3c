"""Days, times, numbers and names in what a caller said, as a recogniser writes them ("7.30", "555-0192")."""

from __future__ import annotations

import re

_ONE_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen"
)
_ONES = _ONE_TO_NINETEEN.split()
_TENS = ("twenty", "thirty", "forty", "fifty")
NUMBERS: dict[str, int] = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 20 + 10 * index for index, word in enumerate(_TENS)},
}
_DIGIT_WORDS = {**{word: str(value) for word, value in NUMBERS.items() if value < 10}, "oh": "0", "o": "0"}

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_YEAR = "January February March April May June July August September October November December"
_MONTHS = _YEAR.split()
_NUMBER = r"(?:\d{1,2}|" + "|".join(sorted(NUMBERS, key=len, reverse=True)) + r")"
_HALF = r"(?:\s*(?P<half>a\.?m\.?|p\.?m\.?)(?!\w))"
_CLOCK = re.compile(rf"\b(?P<hour>\d{{1,2}})[:.](?P<minute>[0-5]\d)\b{_HALF}?", re.IGNORECASE)
_COMPACT = re.compile(
    rf"\b(?:at|around|about|by|say|make it|to)\s+(?P<hour>\d{{1,2}})(?P<minute>[0-5]\d)\b(?!-){_HALF}?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"\b(?P<hour>{_NUMBER})\s*(?:{_HALF}|o'?\s?clock)", re.IGNORECASE)
_SPOKEN = re.compile(
    rf"\b(?P<hour>{_NUMBER})\s+"
    rf"(?P<minute>thirty|fifteen|forty[- ]five|twenty|ten|forty|fifty|45|30|15){_HALF}?\b",
    re.IGNORECASE,
)
_PAST = re.compile(
    rf"\b(?P<part>half|a?\s?quarter|ten|twenty|five)\s+(?P<way>past|to|after)\s+(?P<hour>{_NUMBER})\b",
    re.IGNORECASE,
)
_AT = re.compile(
    rf"\b(?:at|around|about|by)\s+(?P<hour>{_NUMBER})\b(?!\s*(?:people|guests|of us))", re.IGNORECASE
)
_GUESTS = (
    re.compile(rf"\b(?P<n>{_NUMBER})\s+(?:people|persons|guests|adults|of us|pax|diners)\b", re.IGNORECASE),
    re.compile(rf"\b(?:party|group|table)\s+(?:of|for)\s+(?P<n>{_NUMBER}|to)\b(?!\s?[:.]\d)", re.IGNORECASE),
    re.compile(rf"\b(?:we are|we're|we'll be|there are|there will be)\s+(?P<n>{_NUMBER})\b", re.IGNORECASE),
    re.compile(
        rf"\bfor\s+(?P<n>{_NUMBER})\b(?!\s*(?:[:.]\d|a\.?m|p\.?m|o'?\s?clock|nights?|thirty|fifteen|days?))",
        re.IGNORECASE,
    ),
)
_NIGHTS = re.compile(rf"\b(?P<n>{_NUMBER}|an?|one)\s+nights?\b", re.IGNORECASE)
_NAME = re.compile(
    r"\b(?:my name is|my name's|the name is|name is|name's|this is|under the name(?: of)?|under|call me"
    r"|i am called|i'm called|speaking with|in the name of|on the name of)"
    r"\s+(?P<name>[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)?)"
)
_I_AM = re.compile(r"\bI(?:'m| am)\s+(?P<name>[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)?)")
_NO_NAME_WORDS = (
    "yes no it it's its the a my is that this please thanks thank okay ok sorry uh um well hello hi just and"
    " for i i'm im under name on right great perfect sure actually what when where how monday tuesday"
    " wednesday thursday friday saturday sunday good fine yeah you me calling looking not very in at here"
)
_NO_NAME = frozenset(_NO_NAME_WORDS.split())


def number(word: str) -> int:
    """The value of "4", "four" or "a"."""
    word = word.lower()
    if word.isdigit():
        return int(word)
    return {"a": 1, "an": 1, "to": 2}.get(word, NUMBERS.get(word, 0))


def find_day(text: str) -> str:
    """A day as it should be said back ("Friday", "tomorrow", "June 5"); empty when there is none."""
    plain = text.lower()
    for phrase in ("the day after tomorrow", "tomorrow", "tonight", "today"):
        if phrase in plain:
            return phrase
    for day in DAYS:
        if re.search(rf"\b{day}s?\b", text, re.IGNORECASE):
            following = re.search(rf"\bnext {day}\b", text, re.IGNORECASE)
            return f"next {day}" if following else day
    for month in _MONTHS:
        dated = re.search(
            rf"\b{month}\s+(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?\b"
            rf"|\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{month}\b",
            text,
            re.IGNORECASE,
        )
        if dated:
            return f"{month} {dated.group(1) or dated.group(2)}"
    bare = re.search(r"\bthe (\d{1,2})(st|nd|rd|th)\b", plain)
    return f"the {bare.group(1)}{bare.group(2)}" if bare else ""


def find_time(text: str, expected: bool = False) -> str:
    """A time of day in words ("seven thirty"); empty when there is none. `expected` takes a bare number."""
    if re.search(r"\b(noon|midday)\b", text, re.IGNORECASE):
        return "noon"
    past = _PAST.search(text)
    if past:
        part, hour = past.group("part").lower(), number(past.group("hour"))
        minutes = 30 if part == "half" else 15 if "quarter" in part else number(part)
        if past.group("way").lower() == "to":
            hour, minutes = (hour - 2) % 12 + 1, 60 - minutes
        return _spoken(hour, minutes)
    for pattern in (_CLOCK, _COMPACT, _SPOKEN, _HOUR, _AT):
        found = pattern.search(text)
        if found:
            groups = found.groupdict()
            hour, minute = number(groups["hour"]), groups.get("minute") or "0"
            if hour <= 24:
                return _spoken(hour, _minutes(minute), groups.get("half") or "")
    if expected:
        bare = re.search(rf"\b(?P<hour>{_NUMBER})(?P<minute>[0-5]\d)?\b", text, re.IGNORECASE)
        if bare and 0 < number(bare.group("hour")) <= 24:
            return _spoken(number(bare.group("hour")), int(bare.group("minute") or 0))
        compact = re.fullmatch(r"\D*(\d{1,2})([0-5]\d)\D*", text)
        if compact:
            return _spoken(int(compact.group(1)), int(compact.group(2)))
    return ""


def find_guests(text: str, expected: bool = False) -> int:
    """How many people; 0 when it was not said. `expected` takes a bare number too."""
    if re.search(r"\b(just me|only me|for myself|by myself|alone)\b", text, re.IGNORECASE):
        return 1
    if re.search(r"\b(a couple|my (wife|husband|partner|girlfriend|boyfriend) and)\b", text, re.IGNORECASE):
        return 2
    for pattern in _GUESTS:
        found = pattern.search(text)
        if found and 0 < number(found.group("n")) <= 40:
            return number(found.group("n"))
    if expected:
        bare = re.search(rf"\b({_NUMBER})\b(?!\s?[:.]\d)", text, re.IGNORECASE)
        if bare:
            return number(bare.group(1))
        # "Four." and "Two people." are also heard as these.
        alone = re.fullmatch(r"\W*(for|fore|to|too)(?: people| persons| of us)?\W*", text, re.IGNORECASE)
        if alone:
            return 4 if alone.group(1).lower().startswith("fo") else 2
    return 0


def find_nights(text: str, expected: bool = False) -> int:
    """How many nights; 0 when it was not said."""
    if re.search(r"\ba week\b", text, re.IGNORECASE):
        return 7
    found = _NIGHTS.search(text)
    if found:
        return number(found.group("n"))
    return find_guests(text, expected=True) if expected else 0


def find_name(text: str, expected: bool = False) -> str:
    """A name; empty when there is none. `expected` takes the capitalised words of a short answer."""
    for pattern in (_NAME, _I_AM):
        found = pattern.search(text)
        if found and found.group("name").split()[0].lower() not in _NO_NAME:
            return found.group("name")
    if not expected:
        return ""
    words = [word.strip(".,!?;:") for word in text.split()]
    named = [word for word in words if word and word[0].isupper() and word.lower() not in _NO_NAME]
    if named and len(words) <= 8:
        return " ".join(named[:2])
    plain = [word for word in words if word.isalpha() and word.lower() not in _NO_NAME]
    return plain[0].capitalize() if len(words) <= 2 and plain else ""


def find_digits(text: str) -> list[str]:
    """Groups of digits that were read out, as they were grouped; a pause or a hyphen parts them."""
    groups: list[str] = []
    current = ""
    for token in re.findall(r"\d+|[A-Za-z]+|[-,.;()]", text):
        word = token.lower()
        if token.isdigit():
            if current and len(token) > 1:
                groups.append(current)
                current = ""
            current += token
        elif word in ("double", "triple") or word in _DIGIT_WORDS:
            current += _DIGIT_WORDS.get(word, "")
        elif current:
            groups.append(current)
            current = ""
    if current:
        groups.append(current)
    return groups


def say_digits(groups: list[str]) -> str:
    """Digits to be read out one by one, with a pause between groups."""
    return ", ".join(" ".join(_ONES[int(digit)] for digit in group) for group in groups)


def say_number(value: int) -> str:
    """A small number in words."""
    if value < 20:
        return _ONES[value]
    if value < 60:
        rest = value % 10
        return _TENS[value // 10 - 2] + (f" {_ONES[rest]}" if rest else "")
    return str(value)


def _minutes(text: str) -> int:
    if text.isdigit():
        return int(text)
    return sum(number(word) for word in re.split(r"[- ]", text))


def _spoken(hour: int, minute: int, half: str = "") -> str:
    letters = half.lower().replace(".", "")
    if hour > 12:
        hour, letters = hour - 12, letters or "pm"
    if hour == 0:
        hour = 12
    later = " in the afternoon" if hour in (12, 1, 2, 3, 4) else " in the evening"
    tail = {"am": " in the morning", "pm": later}.get(letters, "")
    if minute == 0:
        return f"{say_number(hour)} o'clock{tail}"
    spoken = f"oh {say_number(minute)}" if minute < 10 else say_number(minute)
    return f"{say_number(hour)} {spoken}{tail}"
