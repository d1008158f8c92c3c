"""The voices of the synthesizer: one trained voice, and others made from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """How a voice differs from the trained one.

    `formants` scales the whole spectrum (a longer vocal tract is below 1), `pitch` the fundamental frequency
    on top of that, `pace` the speed of speech. 1 leaves each as it is.
    """

    name: str
    formants: float = 1.0
    pitch: float = 1.0
    pace: float = 1.0


AGENT = Voice("agent")
CALLER = Voice("caller", formants=0.86, pitch=0.72, pace=1.0)
"""A lower voice with a longer vocal tract, plainly another person than `AGENT`."""

VOICES: dict[str, Voice] = {voice.name: voice for voice in (AGENT, CALLER)}


def voice_named(name: str) -> Voice:
    """The voice of this name; any unknown name (a provider's voice id) is the agent's."""
    return VOICES.get(name, AGENT)
