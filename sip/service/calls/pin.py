"""What a caller types when a PIN is asked for: keys in, verdict out. No I/O; all times are given.

`#` ends a PIN. Ten seconds without a key end it too, for callers who forget the `#`; with nothing typed they
end the call. As in livekit-sip every other key belongs to the PIN, and one has at most 16 keys.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

LONGEST = 16
"""Keys of the longest PIN."""
TRIES = 3
KEY_TIMEOUT = 10.0
"""Seconds without a key, from the end of what is played or from the last key."""
PIN_TIMEOUT = 60.0
"""Seconds from the first key of a PIN, so that nobody can go on for ever."""
END = "#"
NO_PIN, WRONG_PIN = "no pin", "wrong pin"


@dataclass(frozen=True)
class Wait:
    """Ask again at this time, or after the next key; `inf` while something is played."""

    until: float


@dataclass(frozen=True, repr=False)
class Try:
    """This was typed. Empty: `#` alone, which wants a room without a PIN; None: longer than any PIN."""

    pin: str | None


@dataclass(frozen=True)
class GiveUp:
    """The caller gets into no room: `NO_PIN` or `WRONG_PIN`."""

    reason: str


Verdict = Wait | Try | GiveUp


class Collector:
    """One caller's keys. `verdict` says what to do now; a `Try` that opens no room is answered by `wrong`."""

    def __init__(self) -> None:
        self.wrong_tries = 0
        self._typed: deque[str] = deque(maxlen=TRIES)
        """PINs that are complete; the caller may be faster than we are."""
        self._keys = ""
        self._first = self._last = 0.0
        self._listening_since = inf

    def listen(self, now: float) -> None:
        """What was played is over: the caller's time begins."""
        self._listening_since = now

    def press(self, key: str, now: float) -> None:
        """One key, at any time."""
        if key == END:
            self._typed.append(self._keys)
            self._keys = ""
            return
        if not self._keys:
            self._first = now
        self._last = now
        self._keys = (self._keys + key)[: LONGEST + 1]

    def wrong(self) -> None:
        """What was tried opens no room; the caller will be told so."""
        self.wrong_tries += 1
        self._listening_since = inf

    def verdict(self, now: float) -> Verdict:
        """What to do now. A `Try` is given once."""
        if self.wrong_tries >= TRIES:
            return GiveUp(WRONG_PIN)
        if self._typed:
            return _try(self._typed.popleft())
        deadline = self._deadline()
        if now < deadline:
            return Wait(deadline)
        keys, self._keys = self._keys, ""
        return _try(keys) if keys else GiveUp(NO_PIN)

    def _deadline(self) -> float:
        if self._keys:
            return min(self._last + KEY_TIMEOUT, self._first + PIN_TIMEOUT)
        return self._listening_since + KEY_TIMEOUT


def _try(keys: str) -> Try:
    return Try(keys if len(keys) <= LONGEST else None)
