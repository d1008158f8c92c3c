"""The end-of-turn detector that `AgentSession(turn_handling={"turn_detection": …})` takes.

The framework asks it once the caller has fallen silent and a transcript is there, and again with every new
transcript; a caller who goes on cancels the question. It offers two waits, `min_delay` and `max_delay`; this
detector sets the second one anew for each turn, through `AgentSession.update_options`, and always asks for
it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from livekit.agents import llm

from agent.turns.completeness import Level, Verdict
from agent.turns.floor import Floor

if TYPE_CHECKING:
    from livekit.agents import AgentSession
    from livekit.agents.language import LanguageCode

log = logging.getLogger("agent.turns")

_PROBABILITY = {Level.INCOMPLETE: 0.05, Level.UNCERTAIN: 0.5, Level.COMPLETE: 0.95}


class PhoneTurnDetector:
    """Text and habit decide how long to wait. Without `attach` it knows two waits only, the framework's."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.last: tuple[str, Verdict, float] | None = None
        """What was judged last, the verdict, and the wait in seconds that it got: for benches."""

    @property
    def model(self) -> str:
        """Name in metrics."""
        return "phone-turns"

    @property
    def provider(self) -> str:
        """Name in metrics."""
        return "local"

    async def supports_language(self, language: LanguageCode | None) -> bool:
        """Any language; words that are no English are mostly UNCERTAIN or COMPLETE."""
        del language
        return True

    async def unlikely_threshold(self, language: LanguageCode | None) -> float | None:
        """Probability below which the framework waits `max_delay`: any once attached (see the module)."""
        del language
        return 1.0 if self._floor.session is not None else 0.9

    async def predict_end_of_turn(self, chat_ctx: llm.ChatContext, *, timeout: float | None = None) -> float:
        """Probability that the caller's turn, the last message, is over."""
        del timeout
        said, asked = _last_exchange(chat_ctx)
        verdict = self._floor.verdict(said, asked)
        wait = self._floor.patience.wait(verdict)
        self.last = (said, verdict, wait)
        if self._floor.session is not None:
            session = cast("AgentSession[None]", self._floor.session)
            session.update_options(endpointing_opts={"max_delay": wait})
        log.debug(
            "end of turn", extra={"level": verdict.level.name, "why": verdict.why, "wait_s": round(wait, 3)}
        )
        return _PROBABILITY[verdict.level]


def _last_exchange(chat_ctx: llm.ChatContext) -> tuple[str, str]:
    """What the caller has said since the agent spoke, and what the agent said last."""
    said: list[str] = []
    for item in reversed(chat_ctx.items):
        if not isinstance(item, llm.ChatMessage):
            continue
        text = item.text_content or ""
        if item.role == "user":
            said.append(text)
        elif item.role == "assistant":
            return " ".join(reversed(said)), text
    return " ".join(reversed(said)), ""
