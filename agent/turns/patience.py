"""How long to wait after the caller's last sound before answering, in seconds.

The wait depends on what was said (`completeness`) and on this caller: somebody who pauses for long in the
middle of sentences gets more time, and so does one whom the agent has just talked into.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from agent.turns.completeness import BARE, CLOSING, Level, Verdict


@dataclass(frozen=True)
class Waits:
    """Seconds from the caller's last voiced sound, as the agent hears it, to the end of the turn.

    `complete`: the words are a whole sentence. `bare`: so much more after nothing but "yes" or "no",
    `closing` after thanks, which a goodbye often follows.
    `uncertain`: they may be one; above 0.9 s a pause of 0.7 s passes, since it takes 0.1-0.2 s to know that
    the caller has gone on. `incomplete`: they cannot be one. `reading`: a number or an address is being read
    out. `longest` bounds all of them, whatever the caller's habits.
    """

    complete: float = 0.25
    bare: float = 0.2
    closing: float = 0.35
    uncertain: float = 0.95
    incomplete: float = 1.45
    reading: float = 1.6
    longest: float = 2.2


_READING = (
    "a number is being read out",
    "letters are being spelled",
    "an address is being spelled",
    "a number of unknown length",
)
_ANSWERED_TOO_SOON = 1.2  # the caller went on within this time after the agent took the turn


@dataclass
class Patience:
    """One caller's habits in one call. All times in seconds."""

    waits: Waits = field(default_factory=Waits)
    _pauses: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    _caution: float = 0.0

    def paused(self, seconds: float) -> None:
        """The caller paused for so long inside a turn and went on."""
        if 0.2 <= seconds <= 3.0:
            self._pauses.append(seconds)

    def answered(self, resumed_after: float | None) -> None:
        """A turn was taken; `resumed_after`: the caller spoke again so many seconds later (None: did not)."""
        too_soon = resumed_after is not None and resumed_after < _ANSWERED_TOO_SOON
        self._caution = min(self._caution + 0.15, 0.3) if too_soon else max(self._caution - 0.05, 0.0)

    def wait(self, verdict: Verdict) -> float:
        """The wait for this verdict and this caller."""
        habit = self._usual_pause()
        if verdict.level is Level.COMPLETE:
            slow = min(0.15, max(0.0, (habit - 0.8) * 0.25))
            more = {BARE: self.waits.bare, CLOSING: self.waits.closing}.get(verdict.why, 0.0)
            return self.waits.complete + more + slow + self._caution
        if verdict.level is Level.UNCERTAIN:
            base = max(self.waits.uncertain, habit + 0.25)
            return min(base + self._caution, self.waits.incomplete)
        base = self.waits.reading if verdict.why in _READING else self.waits.incomplete
        return min(max(base, habit * 1.5) + self._caution, self.waits.longest)

    def _usual_pause(self) -> float:
        """The second longest of the last eight pauses, so that a single one counts little."""
        if not self._pauses:
            return 0.0
        return sorted(self._pauses)[-2] if len(self._pauses) > 2 else min(self._pauses)
