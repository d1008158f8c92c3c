"""The conversation of a call as a file: one line as each thing happens, on disk before the call ends.

`<stem>.conversation.jsonl` in the records directory (`sip.model.record_stem` of the SIP Call-ID); each line
is `{"t": Unix seconds, "who": "caller"|"agent"|"system", "event": …, "text": …, more fields}`. Events:

| who | event | more |
|---|---|---|
| system | `call` | direction, room, ids; the caller's and the dialled number |
| system | `answered` | the far end can hear us |
| system | `error` | a provider's, with `kind` and whether it is `recoverable` by a further try |
| system | `failure` | `what` cannot go on, and why: the call is about to be ended or transferred |
| system | `hangup`, `summary` | `by`, `reason`; the last two lines |
| caller | `speaking`, `silent` | as the voice activity detector hears it |
| caller | `heard` | text of one final transcript |
| caller | `turn` | text of the whole turn, `metrics` (seconds) |
| agent | `thinking`, `speaking`, `silent` | |
| agent | `said` | text as far as it was spoken, `interrupted`, `metrics` (seconds), `started`, `stopped` |
| agent | `tool` | `name`, `arguments`, `output`, `failed` |

Without a records directory nothing is written.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from livekit.agents import AgentSession
from livekit.agents.llm import ChatMessage
from livekit.agents.voice.events import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    FunctionToolsExecutedEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)

from agent.call import Call
from sip.model import record_stem

_TIMES = ("started_speaking_at", "stopped_speaking_at")


class Record:
    """Writes one call's conversation. Closing twice is safe."""

    def __init__(self, directory: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._directory, self._clock = directory, clock
        self._file: TextIO | None = None
        self._held: list[str] = []
        self._counts: Counter[str] = Counter()
        self._started = clock()
        self._answered: float | None = None
        self._caller_spoke = False
        self._closed = False

    def open(self, call: Call, key: str) -> None:
        """Name the call; `key` is its SIP Call-ID, or what else tells it apart. What was written before
        comes first."""
        if self._directory is not None and self._file is None and not self._closed:
            self._directory.mkdir(parents=True, exist_ok=True)
            path = self._directory / f"{record_stem(key)}.conversation.jsonl"
            self._file = path.open("a", encoding="utf-8")
            self._file.writelines(self._held)
            self._held.clear()
        self.write(
            "system",
            "call",
            direction=call.direction,
            room=call.room,
            caller=call.caller,
            dialled=call.dialled,
            call_id=call.call_id,
            call_id_full=call.call_id_full,
        )

    def write(self, who: str, event: str, text: str = "", **fields: Any) -> None:
        """One line, on disk when this returns."""
        if self._closed or self._directory is None:
            return
        self._counts[f"{who}.{event}"] += 1
        line = json.dumps(
            {"t": round(self._clock(), 3), "who": who, "event": event, "text": text, **fields},
            ensure_ascii=False,
            default=str,
        )
        if self._file is None:
            self._held.append(line + "\n")
            return
        self._file.write(line + "\n")
        self._file.flush()

    def answered(self) -> None:
        """The far end can hear us."""
        self._answered = self._clock()
        self.write("system", "answered")

    def close(self, by: str, reason: str) -> None:
        """The call ended: `by` caller, agent or system. Writes `hangup` and the summary, and nothing
        afterwards."""
        if self._closed:
            return
        self.write("system", "hangup", by=by, reason=reason)
        now = self._clock()
        self.write(
            "system",
            "summary",
            by=by,
            reason=reason,
            duration_s=round(now - self._started, 3),
            talk_s=round(now - self._answered, 3) if self._answered else 0.0,
            caller_turns=self._counts["caller.turn"],
            agent_turns=self._counts["agent.said"],
            interruptions=self._counts["interrupted"],
            tools=self._counts["agent.tool"],
            errors=self._counts["system.error"],
            failures=self._counts["system.failure"],
        )
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def attach(self, session: AgentSession[Any]) -> None:
        """Write what happens in this session from now on."""
        session.on("user_state_changed", self._on_caller_state)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_input_transcribed", self._on_transcript)
        session.on("conversation_item_added", self._on_item)
        session.on("function_tools_executed", self._on_tools)
        session.on("error", self._on_error)

    def _on_caller_state(self, event: UserStateChangedEvent) -> None:
        self._caller_spoke = self._caller_spoke or event.new_state == "speaking"
        self.write("caller", "speaking" if event.new_state == "speaking" else "silent")

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        names = {"speaking": "speaking", "thinking": "thinking", "listening": "silent"}
        if event.new_state == "speaking" and event.old_state != "listening":
            self._caller_spoke = False
        if event.new_state in names:
            self.write("agent", names[event.new_state])

    def _on_transcript(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self.write("caller", "heard", event.transcript)

    def _on_item(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if not isinstance(item, ChatMessage):
            return
        metrics = {k: v for k, v in item.metrics.items() if isinstance(v, int | float) and k not in _TIMES}
        fields: dict[str, Any] = {"metrics": {k: round(v, 4) for k, v in metrics.items()}}
        started, stopped = (item.metrics.get(name) for name in _TIMES)
        if started is not None and stopped is not None:
            fields |= {"started": round(started, 3), "stopped": round(stopped, 3)}
        text = item.text_content or ""
        if item.role == "user":
            self.write("caller", "turn", text, **fields)
        elif item.role == "assistant":
            if item.interrupted and self._caller_spoke:
                self._counts["interrupted"] += 1  # his hanging up into it is none
            self.write("agent", "said", text, interrupted=item.interrupted, **fields)

    def _on_tools(self, event: FunctionToolsExecutedEvent) -> None:
        for call, output in event.zipped():
            self.write(
                "agent",
                "tool",
                name=call.name,
                arguments=call.arguments,
                output=output.output,
                failed=output.is_error,
            )

    def _on_error(self, event: ErrorEvent) -> None:
        kind = str(getattr(event.error, "type", type(event.error).__name__))
        cause = getattr(event.error, "error", event.error)
        recoverable = bool(getattr(event.error, "recoverable", False))
        self.write("system", "error", f"{type(cause).__name__}: {cause}", kind=kind, recoverable=recoverable)
