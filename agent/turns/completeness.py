"""Has the caller finished? Judged from the words alone, as a telephone operator would.

A recogniser puts a full stop after every pause, so punctuation proves little. What proves much is how the
words end: an article, a preposition or "I'd like to" cannot end a sentence, a telephone number has ten
digits, "um" asks for time. Pure text, English; words in, verdict out.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from agent.turns import lexicon as lex
from agent.turns.digits import still_reading, trailing_run


class Level(enum.IntEnum):
    """How sure the words are that the turn is over."""

    INCOMPLETE = 0
    UNCERTAIN = 1
    COMPLETE = 2


BARE = "a bare yes or no"
CLOSING = "thanks, and perhaps a goodbye"
"""Whys of verdicts that `patience` grants a little more time: "Yes, …", "Thank you. … Goodbye." """


@dataclass(frozen=True)
class Verdict:
    """A level and the rule that gave it (for logs and tests)."""

    level: Level
    why: str


_VERBAL = ("'s", "'m", "'re", "'ve", "'ll", "'d", "n't", "ing", "ed")


def words_of(text: str) -> list[str]:
    """Lower-case words and digit groups, without punctuation: "At 7:30, I'd…" → at 7 30 i'd."""
    return lex.WORD.findall(text.lower().replace("’", "'"))


def assess(text: str, asked: str = "") -> Verdict:
    """Judge a caller's turn so far.

    `text` is the transcript of the turn (final and interim parts), `asked` what the agent said last, or
    nothing.
    """
    words = words_of(text)
    if not words:
        return Verdict(Level.UNCERTAIN, "no words")
    asked = asked.lower().replace("’", "'")
    question = _asks(asked)
    said = " ".join(words)
    for rule in (_numbers, _email, _hesitation, _whole, _dangling, _clause):
        verdict = rule(words, said, text, asked)
        if verdict is not None:
            return verdict
    if text.rstrip().endswith("?") or _is_question(words):
        return Verdict(Level.COMPLETE, "a question")
    if question or _has_verb(words):
        return Verdict(Level.COMPLETE, "an answer" if question else "a sentence")
    return Verdict(Level.UNCERTAIN, "no verb yet")


def _numbers(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    del said, text
    reading = still_reading(words, asked)
    if reading is True:
        return Verdict(Level.INCOMPLETE, "a number is being read out")
    if reading is False:
        return Verdict(Level.COMPLETE, "the number has all its digits")
    run = trailing_run(words)
    if len(run.digits) >= 6 or (len(run.digits) >= 4 and run.words >= 2):
        return Verdict(Level.UNCERTAIN, "a number of unknown length")
    letters = len(words) - len(
        "".join(" " if len(w) == 1 and w.isalpha() else "x" for w in words).rstrip(" ")
    )
    if letters >= 2 or (letters and re.search(r"\bspell", asked)):
        return Verdict(Level.INCOMPLETE if letters < 4 else Level.UNCERTAIN, "letters are being spelled")
    return None


def _email(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    del words
    if not (lex.EMAIL_CUE.search(asked) or lex.EMAIL_CUE.search(said)):
        return None
    if lex.EMAIL.search(text.lower()):
        return Verdict(Level.COMPLETE, "the address has its domain")
    if re.search(r"\b(?:at|dot|@)\b|@", text.lower()) or lex.EMAIL_CUE.search(asked):
        return Verdict(Level.INCOMPLETE, "an address is being spelled")
    return None


def _hesitation(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    del text, asked
    if said in ("i think so", "i hope so", "i guess so", "i don't think so", "i believe so") or said.endswith(
        " think so"
    ):
        return None
    if (
        words[-1] in lex.HESITATIONS
        and said not in ("very well", "oh well", "as well")
        and words[-2:] != ["as", "well"]
    ):
        return Verdict(Level.INCOMPLETE, "a filler")
    if any(said.endswith(phrase) for phrase in lex.HESITATION_PHRASES):
        return Verdict(Level.INCOMPLETE, "asks for time")
    return None


def _whole(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    del text
    if lex.CLOSING.search(said):
        return Verdict(Level.COMPLETE, CLOSING)
    if said in lex.GREETINGS:
        return Verdict(Level.UNCERTAIN, "an opening")
    if said in lex.WHOLE or lex.SHORT_ANSWER.match(said) or lex.NEGATED.match(said):
        openers = ("yes", "yeah", "okay", "ok", "right", "no")
        if len(words) == 1 and words[0] in openers and not (_asks(asked) or (said == "no" and "?" in asked)):
            return Verdict(Level.UNCERTAIN, "an opening")
        return Verdict(Level.COMPLETE, BARE if said in ("yes", "yeah", "no") else "a short answer")
    return None


def _dangling(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    asks = words[0] in lex.QUESTION_WORDS
    if lex.STRANDED.search(said):
        return Verdict(Level.COMPLETE, "a stranded preposition")
    if last in lex.PREPOSITIONS | lex.AUXILIARIES and asks and last not in ("like", "as") and len(words) >= 5:
        return Verdict(Level.UNCERTAIN, "a question that may go on")
    if last == "that":
        return _that(before)
    if last == "please":
        unfinished = before in ("you", "i", "we") or len(words) == 1
        return Verdict(Level.INCOMPLETE, "please, and then?") if unfinished else None
    if last in ("this", "these", "those") and before in ("is", "on", "at", "for", "with", "in", "of"):
        return Verdict(Level.UNCERTAIN, f"ends in {last}")
    if (
        last == "to"
        and "?" in asked
        and re.search(r"\b(?:love|happy|like|glad) to$", said)
        and len(words) <= 5
    ):
        return Verdict(Level.UNCERTAIN, "ends in to")
    if lex.REQUEST_FRAME.search(said):
        return Verdict(Level.INCOMPLETE, "a request with no object")
    if lex.POSSIBLE_FRAME.search(said):
        return Verdict(Level.UNCERTAIN, "a request that may go on")
    if lex.INDIRECT.search(said):
        return Verdict(Level.INCOMPLETE, "an indirect question with no clause")
    if last in ("next", "last") and not asks:
        return Verdict(Level.INCOMPLETE, f"ends in {last}")
    if last in lex.QUESTION_WORDS and len(words) > 2 and not asks:
        return Verdict(Level.INCOMPLETE, f"ends in {last}")
    groups = (
        lex.ARTICLES,
        lex.CONJUNCTIONS,
        lex.PREPOSITIONS,
        lex.AUXILIARIES,
        lex.CONTRACTIONS,
        lex.SUBJECTS,
        lex.DEGREES,
    )
    if any(last in group for group in groups) and not (last == "doctor" and before in lex.ARTICLES):
        return Verdict(Level.INCOMPLETE, f"ends in {last}")
    if last == "her" and before in ("to", "with", "for", "is", "about"):
        return Verdict(Level.UNCERTAIN, "ends in her")
    if (
        last in lex.DEMANDING
        and not asks
        and not re.search(r"\b(?:don't|didn't|let me|you|can't|i) (?:know|have|need|want|see)$", said)
    ):
        return Verdict(Level.INCOMPLETE, f"ends in {last}")
    if re.search(r"^(?:i|we) (?:need|want|have)$", said) or re.search(
        r"(?:can|could|do|may) (?:you|i|we) (?:have|need)$", said
    ):
        return Verdict(Level.INCOMPLETE, f"ends in {last}")
    if last in lex.MAY_END and not asks:
        return Verdict(Level.UNCERTAIN, f"ends in {last}")
    if before and before not in lex.SOUND_ALIKES.get(last, frozenset({before})):
        return Verdict(Level.UNCERTAIN, f"ends in {last}, or what sounds like it")
    if lex.BARE_SUBJECT.search(said) and not asks:
        return Verdict(Level.INCOMPLETE, f"ends in {before} {last}")
    if lex.LABEL_ONLY.match(said):
        return Verdict(Level.INCOMPLETE, "a label with no value")
    if (
        last in lex.MONTHS
        and before not in ("in", "of", "next", "last", "this", "until", "by")
        and not re.search(r"\d", said)
    ):
        return Verdict(Level.UNCERTAIN, "a month with no day")
    if before == "a" and last in ("couple", "few", "little", "bit"):
        return Verdict(Level.UNCERTAIN, f"ends in a {last}")
    if lex.TRAILS_OFF.search(text):
        return Verdict(Level.INCOMPLETE, "trails off")
    return None


def _that(before: str) -> Verdict:
    if before in lex.words(
        "say saying said think thought mean sure so hope tell told hear believe guess such now is wondering"
    ):
        return Verdict(Level.INCOMPLETE, "ends in that")
    if before in lex.words("like about do know want take need with for on all of see hear get have love"):
        return Verdict(Level.COMPLETE, "that is the object")
    return Verdict(Level.UNCERTAIN, "ends in that")


def _clause(words: list[str], said: str, text: str, asked: str) -> Verdict | None:
    head = list(words)
    while head and head[0] in ("so", "and", "but", "well", "okay", "yes", "no", "yeah"):
        head.pop(0)
    subordinate = bool(head) and (
        head[0] in ("if", "because", "since", "although", "unless", "once", "while", "after", "before")
        or (head[0] == "when" and len(head) > 1 and head[1] not in lex.ASKING)
        or head[:3] == ["as", "soon", "as"]
    )
    if subordinate and not _second_clause(head, text):
        return Verdict(Level.INCOMPLETE, "a condition with no main clause")
    if lex.OPEN_REQUEST.search(said) or (not _asks(asked) and lex.BARE_REQUEST.search(said)):
        return Verdict(Level.UNCERTAIN, "a request with no details")
    if lex.BARE_OBJECT.search(said):
        return Verdict(Level.UNCERTAIN, "a request for a pronoun")
    if len(words) == 1 and words[0] in lex.PRONOUNS:
        return Verdict(Level.INCOMPLETE, "a subject with no verb")
    return None


def _asks(asked: str) -> bool:
    """Whether the agent asked for something; "How can I help you?" asks for anything."""
    return "?" in asked and not lex.OPEN_QUESTION.search(asked)


def _second_clause(head: list[str], text: str) -> bool:
    """Whether a main clause follows "if …": a comma with words after it, or a second subject."""
    tail = text.split(",")[-1] if "," in text else ""
    if len(words_of(tail)) >= 2:
        return True
    return any(word in lex.PRONOUNS | lex.ASKING | {"what", "please", "then"} for word in head[4:])


def _is_question(words: list[str]) -> bool:
    head = [
        w
        for w in words
        if w not in ("so", "and", "but", "well", "okay", "yes", "hi", "hello", "um", "uh", "yeah", "no")
    ]
    if len(head) < 3:
        return False
    return head[0] in lex.QUESTION_WORDS or (
        head[0] in lex.ASKING and head[1] in lex.PRONOUNS | lex.ARTICLES | {"any", "anyone"}
    )


def _has_verb(words: list[str]) -> bool:
    """Whether a clause is there: a verb with something before it, or a command with something after it."""
    if len(words) < 3:
        return False
    if words[0] in lex.IMPERATIVES or words[0] in lex.PRONOUNS:
        return True
    known = lex.AUXILIARIES | lex.CONTRACTIONS | lex.ASKING | lex.DEMANDING | lex.MAY_END | lex.VERBS
    return (
        any(word in known or word.endswith(_VERBAL) for word in words[:-1])
        or (len(words) >= 4 and words[-1].endswith(("ed", "ing")))
        or words[-1] in ("arrived", "opened", "closed", "works", "happened", "stopped", "started", "failed")
    )
