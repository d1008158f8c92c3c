"""Who has the floor: what detector, recogniser and voice detector know of the two speakers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.turns.backchannel import Overlap, judge
from agent.turns.completeness import Level, Verdict, assess
from agent.turns.patience import Patience

_ANSWER_S = 1.5  # a "yes" so long before the end of the agent's question is its answer
_WORD_S = 0.1
_DOUBTFUL = 0.6
_VOICE_S = 4.0  # words older than the last voice by this are not the caller's


class SpeechState(Protocol):
    """What is read of a `SpeechHandle`."""

    @property
    def interrupted(self) -> bool: ...  # noqa: D102

    def done(self) -> bool: ...  # noqa: D102


class SessionState(Protocol):
    """What is read of an `AgentSession`."""

    @property
    def agent_state(self) -> str: ...  # noqa: D102

    @property
    def current_speech(self) -> Any: ...  # noqa: D102


@dataclass
class Floor:
    """State of one call. Times are Unix seconds (`clock`)."""

    patience: Patience = field(default_factory=Patience)
    session: SessionState | None = None
    listening: bool = False
    """A voice detector of ours reports to this floor, so that words without a voice can be told."""

    heard: str = ""
    """Words of the caller since the last final transcript (interim)."""
    heard_at: float = 0.0
    certainty: float = 1.0
    """The recogniser's confidence in the last final word, 0 to 1 (1 when it does not say)."""
    voice_at: float = 0.0
    """When the caller's voice was last heard, and when it last began."""
    voice_began_at: float = 0.0
    voice_ended_at: float = 0.0
    asked: str = ""

    over: Overlap | None = None
    """What the caller's current speech over the agent is, once known."""
    likely: Overlap | None = None
    """What it is so far, by interim words."""
    voiced: float = 0.0
    """Seconds of clear voice in it."""
    known: asyncio.Event = field(default_factory=asyncio.Event)
    agent_began_at: float = 0.0
    agent_between: bool = False
    """The agent has spoken since the caller's voice last ended."""

    finalize: Callable[[], None] | None = None
    """Asks the recogniser for the final words of what it has heard so far."""

    clock: Callable[[], float] = time.time
    _kept: tuple[float, Any, Callable[[Any], None]] | None = None

    @property
    def agent_audible(self) -> bool:
        """The agent is speaking now (not paused)."""
        return self.session is not None and self.session.agent_state == "speaking"

    @property
    def agent_holds(self) -> bool:
        """The agent has something to say that nobody has stopped: speaking, paused, or about to speak."""
        if self.session is None:
            return False
        speech = self.session.current_speech
        return self.agent_audible or (speech is not None and not speech.done() and not speech.interrupted)

    # --- the caller's voice (from the voice detector) ---

    def voice_over_agent(self) -> None:
        """The caller's voice begins while the agent holds the floor: what it is has to be found out."""
        self.over = self.likely = None
        self.voiced = 0.0
        self.known.clear()

    def decide(self, over: Overlap) -> None:
        """What the caller's speech over the agent is."""
        self.over = over
        if over is Overlap.WORDS:
            self.patience.answered(self.voice_began_at - self.agent_began_at)
        self.known.set()

    def voice_began(self, at: float) -> None:
        """The caller began to speak."""
        if self.voice_ended_at and not self.agent_between and at > self.voice_ended_at:
            self.patience.paused(at - self.voice_ended_at)
        self.agent_between = False
        self.voice_began_at = self.voice_at = at

    def voice_hushed(self) -> None:
        """The caller is silent for a moment: the recogniser need not wait for longer."""
        if self.finalize is not None:
            self.finalize()

    def voice_ended(self, at: float) -> None:
        """The caller fell silent."""
        self.voice_ended_at = self.voice_at = at

    def agent_began(self, at: float) -> None:
        """The agent's voice begins (or goes on after a pause)."""
        self.agent_began_at = at
        self.agent_between = True

    # --- words (from the recogniser) ---

    def words(self, text: str, *, final: bool, certainty: float = 1.0) -> None:
        """A transcript that counts, and how sure the recogniser is of its last word."""
        self.heard = "" if final else text
        if final:
            self.certainty = certainty
        self.heard_at = self.clock()

    def admit(self, text: str, *, final: bool, confidence: float = 1.0) -> Overlap | None:
        """Judge a transcript before anybody acts on it: None when the caller has the floor anyway."""
        if not self.agent_holds:
            return None
        now = self.clock()
        if self.listening and now - max(self.voice_at, self.voice_began_at) > _VOICE_S:
            return Overlap.ECHO  # words, but nobody's voice: the line, not the caller
        over = judge(text, self.asked, confidence)
        if over is Overlap.WORDS and self.listening and self.voiced < _WORD_S:
            over = Overlap.NOTHING  # a bump that the recogniser took for a word
        if final:
            self.decide(over)
        else:
            self.likely = over
        return over

    def keep(self, event: Any, release: Callable[[Any], None]) -> None:
        """Keep a short word said over the agent: it may turn out to be the answer to its question."""
        self._kept = (self.clock(), event, release)

    def agent_ended(self, text: str, *, interrupted: bool) -> None:
        """The agent has said all (`text`), or was stopped: what was kept is an answer, or is forgotten."""
        kept, self._kept = self._kept, None
        self.asked = text
        if not interrupted:
            self.patience.answered(None)
        if (
            kept is not None
            and not interrupted
            and text.rstrip().endswith("?")
            and self.clock() - kept[0] <= _ANSWER_S
        ):
            kept[2](kept[1])

    # --- the end of the turn ---

    def verdict(self, transcript: str, asked: str) -> Verdict:
        """Judge the turn so far: the final transcript, and what the recogniser has on its tongue."""
        if self.voice_began_at > self.heard_at and self.voice_ended_at >= self.voice_began_at:
            return Verdict(Level.UNCERTAIN, "the last words are not recognised yet")
        verdict = assess(f"{transcript} {self.heard}".strip(), asked)
        if self.heard and verdict.level is Level.COMPLETE:
            # The turn that is committed holds final words only: theirs come, and this is asked again.
            return Verdict(Level.UNCERTAIN, "the last words are not final yet")
        if self.certainty < _DOUBTFUL and verdict.level is Level.COMPLETE:
            # Half a word, or a "to" at the end of a breath that was taken for something else.
            return Verdict(Level.UNCERTAIN, "the last word is doubtful")
        return verdict
