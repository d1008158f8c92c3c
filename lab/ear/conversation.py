"""Who spoke when in a call, how fast the other one answered or fell silent. Pure functions on two channels.

Times are seconds from the start of the recording, durations in milliseconds where a name ends in `_ms`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .activity import FLOOR, RATE, Samples, Span, as_samples, voice_activity

TURN_PAUSE = 1.2
"""A caller who says nothing for longer has finished; nobody plans longer pauses inside a sentence."""
FOOTHOLD = 0.6
"""A caller who speaks up after the agent has talked for so long interrupts; sooner, he was cut into."""
STOPPED = 0.3
"""An agent who says nothing for longer has fallen silent; pauses between words are shorter."""
UTTERANCE_PAUSE = 0.7
"""Pauses up to this are inside one utterance of the agent (end of a sentence, a breath)."""
GAP = 0.08
"""Shortest silence inside the agent's speech that is a gap."""
LOUD = 10.0
"""Lost audio is cut out of speech within so many dB of the loudest beside it; lips close on less."""
FOR_GOOD = 1.5
"""An agent who is silent for longer after an aside of the caller has been stopped by it."""


@dataclass(frozen=True)
class Marks:
    """When the INVITE left and when its 200 came; None for a call that was not answered."""

    invite: float
    answered: float | None


@dataclass(frozen=True)
class Turn:
    """What the caller said in one go, and the agent's answer."""

    caller: Span
    """From his first voiced frame to his last."""
    agent: Span | None
    """The answer up to its first long pause; None if there was none before the caller spoke again."""
    response_ms: float | None
    """From the caller's last voiced frame to the agent's first; None without an answer, or when cut into."""
    cut_in: bool
    """The agent began to speak before the caller had finished."""


@dataclass(frozen=True)
class Interruption:
    """The caller began to speak while the agent spoke."""

    at: float
    """The caller's first voiced frame."""
    silence_ms: float
    """From there to the agent's last voiced frame."""


@dataclass(frozen=True)
class Aside:
    """A sound of the caller that claims no turn (backchannel, cough, noise, echo) over the agent's speech."""

    sound: Span
    stopped: bool
    """The agent fell silent within a second and did not go on by himself."""


@dataclass(frozen=True)
class Gap:
    """Silence inside an utterance of the agent."""

    span: Span
    dropout: bool
    """Cut out of running speech (lost audio); a pause of the speaker otherwise."""


@dataclass(frozen=True)
class Conversation:
    """Everything measured on one recording."""

    caller: tuple[Span, ...]
    agent: tuple[Span, ...]
    invite_to_ok_ms: float | None
    invite_to_greeting_ms: float | None
    """To the agent's first voiced frame; None if the caller spoke first or nothing was heard."""
    turns: tuple[Turn, ...]
    interruptions: tuple[Interruption, ...]
    asides: tuple[Aside, ...]
    gaps: tuple[Gap, ...]
    both_talk_ms: float

    @property
    def dropouts(self) -> tuple[Gap, ...]:
        """Gaps that are lost audio."""
        return tuple(gap for gap in self.gaps if gap.dropout)


def hear(
    sent: NDArray[np.generic],
    heard: NDArray[np.generic],
    marks: Marks,
    turns: Sequence[Span] | None = None,
    asides: Sequence[Span] = (),
) -> Conversation:
    """Measure a call: `sent` is the caller's channel, `heard` the agent's, both at 8 kHz and on one clock.

    `turns` are the stretches in which the caller says one thing, pauses included, where he knows them (his
    script); otherwise they are guessed from his pauses. `asides` are the caller's sounds that claim no turn.
    """
    caller, agent = voice_activity(sent), voice_activity(heard)
    own = tuple(span for span in caller if not any(span.overlaps(aside) for aside in asides))
    spoken = _guessed_turns(own, agent) if turns is None else _known_turns(own, turns)
    measured: list[Turn] = []
    interruptions: list[Interruption] = []
    for index, turn in enumerate(spoken):
        following = spoken[index + 1].start if index + 1 < len(spoken) else float("inf")
        quiet_from = _agent_stops(agent, turn)
        if quiet_from is not None:
            interruptions.append(Interruption(turn.start, (quiet_from - turn.start) * 1000))
        measured.append(_answered(turn, agent, quiet_from or turn.start, following))
    greeting = agent[0].start if agent and (not spoken or agent[0].start < spoken[0].end) else None
    return Conversation(
        caller=caller,
        agent=agent,
        invite_to_ok_ms=None if marks.answered is None else (marks.answered - marks.invite) * 1000,
        invite_to_greeting_ms=None if greeting is None else (greeting - marks.invite) * 1000,
        turns=tuple(measured),
        interruptions=tuple(interruptions),
        asides=tuple(found for aside in asides if (found := _aside(aside, agent, spoken)) is not None),
        gaps=_gaps(as_samples(heard), agent),
        both_talk_ms=1000 * sum(_shared(a, b) for a in caller for b in agent),
    )


def _guessed_turns(caller: Sequence[Span], agent: Sequence[Span]) -> list[Span]:
    """Join what a caller says with short pauses, unless the agent has meanwhile got a foothold."""
    turns: list[Span] = []
    for span in caller:
        if turns and span.start - turns[-1].end <= TURN_PAUSE:
            since = turns[-1].end
            began = next((a.start for a in agent if since <= a.start < span.start), None)
            if began is None or span.start - began < FOOTHOLD:
                turns[-1] = Span(turns[-1].start, span.end)
                continue
        turns.append(span)
    return turns


def _known_turns(caller: Sequence[Span], turns: Sequence[Span]) -> list[Span]:
    """The voiced part of every stretch that was meant as a turn; stretches without voice are left out."""
    found: list[Span] = []
    for turn in turns:
        inside = [span for span in caller if span.overlaps(turn)]
        if inside:
            found.append(Span(inside[0].start, inside[-1].end))
    return found


def _joined(spans: Sequence[Span], pause: float) -> list[Span]:
    """The spans with pauses below `pause` closed."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end < pause:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _agent_stops(agent: Sequence[Span], turn: Span) -> float | None:
    """The agent's last voiced frame, when the caller's turn began over the agent's speech; else None.

    Between two sentences of an utterance the agent is speaking, too, if the next sentence follows.
    """
    last = -UTTERANCE_PAUSE
    for breath in _joined(agent, STOPPED):
        if breath.start < turn.start < breath.end:
            return breath.end
        if last < turn.start <= breath.start < min(turn.end, last + UTTERANCE_PAUSE):
            return breath.end
        last = breath.end
    return None


def _answered(turn: Span, agent: Sequence[Span], after: float, before: float) -> Turn:
    """The agent's first speech that begins after `after` (and before the caller's next turn)."""
    begun = [span for span in agent if after <= span.start < before]
    if not begun:
        return Turn(turn, None, None, False)
    answer = _joined(begun, UTTERANCE_PAUSE)[0]
    if answer.start < turn.end:
        return Turn(turn, answer, None, True)
    return Turn(turn, answer, (answer.start - turn.end) * 1000, False)


def _aside(sound: Span, agent: Sequence[Span], turns: Sequence[Span]) -> Aside | None:
    """What an aside did to the agent; None when the agent was not speaking."""
    breaths = _joined(agent, STOPPED)
    if not any(span.start < sound.start < span.end for span in breaths):
        return None
    last = max(span.end for span in breaths if span.start < sound.start)
    later = [span.start for span in breaths if span.start >= sound.start]
    goes_on = later[0] if later else float("inf")
    asked = min((turn.start for turn in turns if turn.start > last), default=float("inf"))
    stopped = last - sound.start < 1.0 and goes_on - last > FOR_GOOD and asked - last > FOR_GOOD
    return Aside(sound, stopped)


def _gaps(heard: Samples, agent: Sequence[Span]) -> tuple[Gap, ...]:
    """Silences of 80 ms and more inside the agent's utterances."""
    gaps: list[Gap] = []
    for before, after in itertools.pairwise(agent):
        if GAP <= after.start - before.end <= UTTERANCE_PAUSE:
            span = Span(before.end, after.start)
            gaps.append(Gap(span, _cut_out(heard, span)))
    return tuple(gaps)


def _cut_out(heard: Samples, gap: Span) -> bool:
    """Whether loud speech breaks off and starts again within 10 ms on both sides: a speaker's voice fades."""
    step = RATE // 200
    first, last = round(gap.start * 200) - 6, round(gap.end * 200) + 7
    pieces = heard[max(0, first) * step : last * step]
    levels = 10 * np.log10(
        np.mean(pieces[: len(pieces) // step * step].reshape(-1, step) ** 2, axis=1) + FLOOR
    )
    floor = float(np.median(levels[8:-8]))
    edges = max(levels[:6].max(), levels[-6:].max())
    loud = np.flatnonzero(levels > max(edges - LOUD, floor + 6))
    quiet = np.flatnonzero(levels <= floor + 3)
    if not len(quiet) or not len(loud) or loud[0] > quiet[0] or loud[-1] < quiet[-1]:
        return False
    falls = quiet[0] - loud[loud < quiet[0]][-1]
    rises = loud[loud > quiet[-1]][0] - quiet[-1]
    return bool(falls <= 2 and rises <= 2)


def _shared(a: Span, b: Span) -> float:
    return max(0.0, min(a.end, b.end) - max(a.start, b.start))
