"""What a caller said while the agent was speaking: words to stop for, or a sign of listening.

"mm-hm" and "okay" in the middle of the agent's sentence mean "go on"; "stop", "no" and everything that is not
in the list below mean "my turn". Pure text, English.
"""

from __future__ import annotations

import enum
from itertools import pairwise

from agent.turns.completeness import words_of
from agent.turns.lexicon import phrases, words


class Overlap(enum.Enum):
    """What words over the agent's speech are."""

    NOTHING = "nothing"
    BACKCHANNEL = "backchannel"
    ECHO = "echo"
    WORDS = "words"


_SIGNS = words(
    """
    mm mmm mhm mmhm mmhmm hm hmm hmmm uh um huh uhhuh ah aha oh ooh wow yeah yea yep yup yes ya okay ok
    okey kay right sure great good cool nice fine alright perfect exactly true really interesting lovely
    super wonderful
    """
)
_PHRASES = tuple(
    phrase.split()
    for phrase in phrases(
        """
        i see | got it | all right | of course | sounds good | makes sense | go on | i understand |
        thank you | thanks | i got it | that's right | that's good | that's great | very good | uh
        huh | mm hm | m hm | a ha
        """
    )
)
# What recognisers write for breath, coughs and line noise.
_ARTEFACTS = frozenset(phrases("you | bye | the | a | i | so | thanks for watching | h | m | hum"))
_CLAIMS = words(
    """
    stop wait no hold hang hey excuse sorry listen what help cancel actually question please but hello pardon
    why who when where how which operator agent person human enough quiet wrong
    """
)
_DOUBTED = 0.5
_ECHO_SHARE = 0.75
_MOST_WORDS = 4


def judge(text: str, saying: str = "", confidence: float = 1.0) -> Overlap:
    """Judge a transcript (interim or final) of what was said over the agent.

    `confidence` is the recogniser's own, 0 to 1: one or two words that it doubts, and that nobody stops an
    agent with, are a cough or an "uh-huh" that it could not spell. `saying` is what the agent has been
    saying, as far as it is known: its own words coming back are an echo.
    """
    said = words_of(text)
    if not said:
        return Overlap.NOTHING
    if " ".join(said) in _ARTEFACTS:
        return Overlap.BACKCHANNEL
    if len(said) <= _MOST_WORDS and _all_signs(said):
        return Overlap.BACKCHANNEL
    if 0 < confidence < _DOUBTED and len(said) <= 2 and not any(word in _CLAIMS for word in said):
        return Overlap.NOTHING
    spoken = words_of(saying)
    if len(said) >= 3 and spoken and _shared(said, spoken) >= _ECHO_SHARE:
        return Overlap.ECHO
    return Overlap.WORDS


def _all_signs(said: list[str]) -> bool:
    at = 0
    while at < len(said):
        for phrase in _PHRASES:
            if said[at : at + len(phrase)] == phrase:
                at += len(phrase)
                break
        else:
            if said[at] not in _SIGNS:
                return False
            at += 1
    return True


def _shared(said: list[str], spoken: list[str]) -> float:
    """The share of neighbouring word pairs of the caller's that the agent has said, too."""
    pairs = set(pairwise(spoken))
    own = list(pairwise(said))
    return sum(pair in pairs for pair in own) / len(own)
