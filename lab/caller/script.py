"""What a scripted caller does: steps, as frozen values. `reading` makes them from YAML.

Times are seconds in names without a unit, milliseconds in names that end in `_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Utterance = tuple[str | int, ...]
"""Texts, and between them pauses in milliseconds: one turn of the caller."""


@dataclass(frozen=True)
class Step:
    """Something that the caller does or waits for; `line` is its line in the script."""

    line: int

    @property
    def name(self) -> str:
        """The step's word in a script."""
        return next(word for word, kind in STEPS.items() if kind is type(self))

    def __str__(self) -> str:
        return f"{self.name} (line {self.line})"


@dataclass(frozen=True)
class Say(Step):
    """Say a text. A `backchannel` ("mm-hm") claims no turn."""

    utterance: Utterance
    backchannel: bool = False

    @property
    def text(self) -> str:
        """The words without the pauses."""
        return spoken_text(self.utterance)


@dataclass(frozen=True)
class Play(Step):
    """Play a WAV file as if the caller spoke it; `aside`: it claims no turn (a cough)."""

    file: Path
    aside: bool = False


@dataclass(frozen=True)
class WaitForSpeech(Step):
    """Until the agent begins to speak."""

    within: float = 10.0


@dataclass(frozen=True)
class WaitForSilence(Step):
    """Until the agent has been silent for `silence_ms`."""

    silence_ms: int = 600
    within: float = 30.0


@dataclass(frozen=True)
class Interrupt(Step):
    """Say a text `after_ms` after the agent began to speak (at once, if he has spoken for longer)."""

    utterance: Utterance
    after_ms: int = 1000
    within: float = 10.0
    backchannel: bool = False

    @property
    def text(self) -> str:
        """The words without the pauses."""
        return spoken_text(self.utterance)


@dataclass(frozen=True)
class Press(Step):
    """Press keys of the keypad (RFC 4733 events)."""

    digits: str


@dataclass(frozen=True)
class Expect(Step):
    """Hear words, since the caller last began to speak: one of `any_of` and all of `all_of`."""

    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    within: float = 10.0


@dataclass(frozen=True)
class Echo(Step):
    """Send back what is heard, as bad speaker phones do. `seconds` None: meanwhile go on, to the end."""

    down_db: float = 20.0
    late_ms: int = 200
    seconds: float | None = None


@dataclass(frozen=True)
class Noise(Step):
    """Noise at `level_db` of full scale (RMS). `seconds` None: until the end, going on meanwhile."""

    level_db: float = -45.0
    kind: str = "pink"
    seconds: float | None = None


@dataclass(frozen=True)
class Pause(Step):
    """Do nothing."""

    pause_ms: int


@dataclass(frozen=True)
class HangUp(Step):
    """End the call."""


@dataclass(frozen=True)
class ExpectHangUp(Step):
    """The call ends; `by` whom ("agent", "caller", "" for anybody), `code` of the final response (0: any)."""

    within: float = 15.0
    by: str = ""
    code: int = 0


STEPS: dict[str, type[Step]] = {
    "say": Say,
    "play": Play,
    "wait_for_speech": WaitForSpeech,
    "wait_for_silence": WaitForSilence,
    "interrupt": Interrupt,
    "press": Press,
    "expect": Expect,
    "echo": Echo,
    "noise": Noise,
    "pause": Pause,
    "hang_up": HangUp,
    "expect_hang_up": ExpectHangUp,
}


@dataclass(frozen=True)
class Script:
    """A caller's script: `source` is the file (or a name), `about` one sentence on what it shows."""

    source: str
    steps: tuple[Step, ...]
    about: str = ""


def spoken_text(utterance: Utterance) -> str:
    """The words of an utterance without its pauses."""
    return " ".join(part for part in utterance if isinstance(part, str))
