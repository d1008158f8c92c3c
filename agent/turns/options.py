"""Everything an `AgentSession` needs for turns on the telephone, as one value."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    UserInputTranscribedEvent,
    llm,
    stt,
    vad,
)

from agent.turns.completeness import Level
from agent.turns.detector import PhoneTurnDetector
from agent.turns.floor import Floor
from agent.turns.patience import Patience, Waits
from agent.turns.recognizer import PhoneSTT
from agent.turns.voice import OverlapWaits, PhoneVAD

log = logging.getLogger("agent.turns")

Ahead = Literal["speech", "text", "nothing"]


@dataclass(frozen=True)
class TurnOptions:
    """One call's turn-taking: make one for each session, with `turn_options()`.

    waits: seconds to wait for the end of a turn, by what was said.
    overlap: seconds within which the caller's speech over the agent is resolved.
    interrupt_after: seconds of clear voice that pause the agent.
    ahead: what is prepared while the end of the turn is awaited: the reply's speech, its text, or nothing.
        Preparing costs tokens (and characters of synthesis) for the turns that go on after all; unfinished
        sentences are never prepared.
    """

    waits: Waits = field(default_factory=Waits)
    overlap: OverlapWaits = field(default_factory=OverlapWaits)
    interrupt_after: float = 0.05
    ahead: Ahead = "speech"
    _floor: Floor = field(default_factory=Floor, repr=False)

    def __post_init__(self) -> None:
        self._floor.patience = Patience(self.waits)
        object.__setattr__(self, "detector", PhoneTurnDetector(self._floor))

    detector: PhoneTurnDetector = field(init=False, repr=False)

    def vad_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for `silero.VAD.load`: 8 kHz is all that a telephone line carries."""
        return {
            "sample_rate": 8000,
            "min_speech_duration": 0.064,
            "min_silence_duration": 0.2,
            "prefix_padding_duration": 0.3,
            "activation_threshold": 0.5,
            "deactivation_threshold": 0.35,
        }

    def session_kwargs(
        self, *, stt: stt.STT[Any] | None = None, vad: vad.VAD | None = None
    ) -> dict[str, Any]:
        """Keyword arguments for `AgentSession`.

        With `stt` and `vad` given, the result holds both, wrapped: only then are backchannels and the agent's
        echo kept from stopping the agent. Without them the framework's own rules hold for interruptions.
        """
        kwargs: dict[str, Any] = {
            "turn_handling": {
                "turn_detection": self.detector,
                "endpointing": {
                    "mode": "fixed",
                    "min_delay": self.waits.complete,
                    "max_delay": self.waits.uncertain,
                },
                "interruption": {
                    "enabled": True,
                    "mode": "vad",
                    # Plain Silero's voice is not weighted: it needs longer to tell one from a bump.
                    "min_duration": self.interrupt_after if vad is not None else 0.2,
                    "min_words": 0,
                    "resume_false_interruption": True,
                    # The wrapped voice detector reports the end of an overlap when it is known to be none.
                    "false_interruption_timeout": 0.0 if vad is not None else 0.6,
                    "backchannel_boundary": None,
                },
                "preemptive_generation": {
                    "enabled": self.ahead != "nothing",
                    "preemptive_tts": self.ahead == "speech",
                    "max_speech_duration": 30.0,
                    "max_retries": 6,
                },
            },
            "aec_warmup_duration": None,  # the first three seconds of a call must be interruptible, too
        }
        if stt is not None:
            kwargs["stt"] = PhoneSTT(stt, self._floor)
        if vad is not None:
            kwargs["vad"] = PhoneVAD(vad, self._floor, self.overlap)
        return kwargs

    def attach(self, session: AgentSession[Any]) -> None:
        """Let the session tell what happens. Call it once, before `session.start`."""
        floor = self._floor
        floor.session = cast("Any", session)

        def on_agent_state(event: AgentStateChangedEvent) -> None:
            if event.new_state == "speaking":
                floor.agent_began(time.time())

        def on_item(event: ConversationItemAddedEvent) -> None:
            item = event.item
            if isinstance(item, llm.ChatMessage) and item.role == "assistant":
                floor.agent_ended(item.text_content or "", interrupted=item.interrupted)

        def on_words(event: UserInputTranscribedEvent) -> None:
            if not event.is_final:
                return
            # The framework starts the reply right after this event: not for half a sentence.
            verdict = floor.verdict(event.transcript, floor.asked)
            ahead = self.ahead != "nothing" and verdict.level is not Level.INCOMPLETE
            session.options.preemptive_generation["enabled"] = ahead

        session.on("agent_state_changed", on_agent_state)
        session.on("conversation_item_added", on_item)
        session.on("user_input_transcribed", on_words)


def turn_options(**changes: Any) -> TurnOptions:
    """The options that the bench chose, with `changes` to single fields of `TurnOptions`."""
    return TurnOptions(**changes)
