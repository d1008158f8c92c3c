"""What a persona knows, read from its instructions: what stands under "What you know", and `Key: value`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADING = re.compile(r"^(#+\s*(?P<a>.+?)|(?P<b>[^.:!?]{2,60}):|\*\*(?P<c>[^*]+)\*\*:?)$")
_KNOWN = re.compile(r"\b(know|knowledge|facts?|about us|information|hours|prices|address)\b", re.IGNORECASE)
_FACT = re.compile(r"^(?P<key>[A-Z][\w /&'-]{1,39}):\s+(?P<value>\S.*)$")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ORDERS = re.compile(
    r"^(you|never|always|do|don't|ask|say|speak|keep|use|if|when|for|be|read|repeat|answer|tell|offer|call"
    r"|put|let|make|please|only|avoid|greet)\b",
    re.IGNORECASE,
)

_CONCEPTS: dict[str, str] = {
    "open": "open opening opens close closes closed closing shut",
    "time": "hour hours until",
    "checkin": "checkin arrive arrival",
    "checkout": "checkout leave departure",
    "price": "price prices cost costs rate rates charge fee euro euros dollar dollars pounds cheap expensive",
    "park": "park parking car garage",
    "pet": "dog dogs pet pets cat animal",
    "where": "where address located location street directions find",
    "restaurant": "restaurant dinner eat kitchen lunch supper food",
    "room": "room rooms stay overnight",
    "wifi": "wifi internet wireless wlan",
    "diet": "vegetarian vegan allergy allergies allergic gluten menu",
    "pay": "pay payment card cash credit",
    "phone": "phone telephone",
    "mail": "email mail",
}
_CONCEPT_OF = {word: concept for concept, words in _CONCEPTS.items() for word in words.split()}
_COMMON_WORDS = (
    "a an and are as at be by can could did do does for from had has have hello hi how i if in is it its just"
    " me my of on or our please so some tell thank thanks that the there they this to too us was we what when"
    " which who will with would you your know like need want get one about any time also yes no not okay ok"
    " well uh um then many may might am im id ill wanted question ask asking wondering sure let lets got"
    " much something anything really"
)
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True)
class Fact:
    """One sentence that can be said as it stands, and the terms that it is found by."""

    sentence: str
    terms: frozenset[str]


@dataclass(frozen=True)
class Knowledge:
    """All facts of a persona, and the whole text of its instructions."""

    facts: tuple[Fact, ...]
    text: str

    def answer(self, question: str) -> str:
        """The one or two facts that match a question best; empty when none does."""
        asked = terms(question)
        scored = [(self._score(asked, fact.terms), fact) for fact in self.facts]
        best = max((score for score, _ in scored), default=0.0)
        if best < 1.0:
            return ""
        return " ".join([fact.sentence for score, fact in scored if score >= best - 1e-9][:2])

    def closed_on(self, day: str) -> str:
        """The fact that says something is closed on this weekday; empty when none does."""
        for fact in self.facts:
            if re.search(rf"\bclosed\b[^.]*\b{re.escape(day)}s?\b", fact.sentence, re.IGNORECASE):
                return fact.sentence
        return ""

    def speaks_of(self, word: str) -> bool:
        """Whether the instructions hold this word."""
        return re.search(rf"\b{re.escape(word)}s?\b", self.text, re.IGNORECASE) is not None

    @staticmethod
    def _score(asked: frozenset[str], known: frozenset[str]) -> float:
        shared = asked & known
        # That a time is asked for says little about of what.
        return sum(0.4 if term == "=time" else 1.5 if term.startswith("=") else 1.0 for term in shared)


def read_knowledge(instructions: str) -> Knowledge:
    """Facts of a system prompt; where no heading promises facts, every sentence that is no order is one."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for raw in instructions.splitlines():
        line = raw.strip()
        if not line:
            continue
        heading = _HEADING.match(line)
        if heading and not line.startswith(("-", "*  ", "* ")):
            sections.append((next(part for part in heading.group("a", "b", "c") if part), []))
            continue
        sections[-1][1].append(re.sub(r"^([-*•]|\d+[.)])\s+", "", line))
    promised = [lines for heading, lines in sections if heading and _KNOWN.search(heading)]
    facts: list[Fact] = []
    for lines in promised or [lines for _, lines in sections]:
        for line in lines:
            facts += _facts(line, strict=not promised)
    if promised:
        # `Key: value` lines are facts wherever they stand.
        for heading, lines in sections:
            if not (heading and _KNOWN.search(heading)):
                facts += [fact for line in lines if _FACT.match(line) for fact in _facts(line, strict=True)]
    return Knowledge(tuple(facts), instructions)


def terms(text: str) -> frozenset[str]:
    """Content words of a text, cut to their stems, and the concepts that they stand for."""
    plain = text.lower().replace("’", "'")
    plain = re.sub(r"\bcheck(ed|ing)?[- ](in|out)\b", r"check\2", plain)
    plain = re.sub(r"\bwi-?\s?fi\b", "wifi", plain)
    plain = re.sub(r"\bhow much\b", "price", plain)
    plain = re.sub(r"\b(when|what time|how late|how early|until when)\b", "hours", plain)
    plain = re.sub(r"\bfrom \w+ (to|until|till) \w+\b", r"hours \g<0>", plain)
    found: set[str] = set()
    for word in re.findall(r"[a-z]+", plain.replace("'", "")):
        concept = _CONCEPT_OF.get(word)
        if concept:
            found.add("=" + concept)
        elif word not in _COMMON and len(word) > 2:
            found.add(_stem(word))
    return frozenset(found)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e")


def _facts(line: str, strict: bool) -> list[Fact]:
    pair = _FACT.match(line)
    if pair:
        key, value = pair.group("key"), pair.group("value")
        if strict and (_ORDERS.match(key) or _ORDERS.match(value)):
            return []
        sentence = value if len(value.split()) > 6 else f"The {key[0].lower()}{key[1:]} is {value}"
        return [Fact(_ended(sentence), terms(f"{key} {value}"))]
    if strict and ":" in line:
        return []
    return [
        Fact(_ended(sentence), terms(sentence))
        for sentence in _SENTENCE.split(line)
        if not _ORDERS.match(sentence) and len(sentence.split()) > 1
    ]


def _ended(sentence: str) -> str:
    return sentence if sentence[-1] in ".!?" else sentence + "."
