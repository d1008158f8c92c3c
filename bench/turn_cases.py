"""One case of the turn-taking bench, played to a real session in this process, and what came of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from livekit.agents import Agent, AgentSession, inference, llm
from livekit.plugins import cartesia, deepgram, openai, silero

from agent.turns import TurnOptions
from bench.corpus import Case, Spoken, speak
from bench.phone_line import WAY_OUT_S, Line, Mouth, audible

LEAD_S = 0.4
PATIENCE_S = 5.0
OVERLAP_AT_S = 1.6
"""The caller speaks over the agent so long after its first sound at the ear."""
WATCH_S = 3.6
"""An aside is watched for so long after its end: the framework resumes after two seconds."""


@dataclass(frozen=True)
class Servers:
    """Base URLs of the speech servers."""

    deepgram: str
    openai: str
    cartesia: str


@dataclass
class Outcome:
    """What happened in one case; times in milliseconds, None where the case has no such time.

    talked_into: the agent was audible while the caller had not finished. answered: it spoke after the
    caller's last sound.
    stopped: its speech was ended for good. held_ms: how long it was paused. heard: what it took the caller to
    have said.
    """

    case: str
    kind: str
    held_out: bool
    pause_ms: int = 0
    response_ms: float | None = None
    talked_into: bool = False
    answered: bool = False
    barge_in_ms: float | None = None
    stopped: bool = False
    held_ms: float = 0.0
    heard: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    error: str = ""


Policy = Callable[[dict[str, Any]], tuple[AgentSession[Any], TurnOptions | None]]


class Policies:
    """Ways to configure a session, by name; voice detectors are loaded once."""

    def __init__(self, options: Callable[[], TurnOptions]) -> None:
        self._options = options
        self._silero = silero.VAD.load()
        self._short_silero = silero.VAD.load(min_silence_duration=0.25, sample_rate=8000)
        self._phone_silero = silero.VAD.load(**options().vad_kwargs())

    def session(self, name: str, parts: dict[str, Any]) -> tuple[AgentSession[Any], TurnOptions | None]:
        """A session under the policy `name` with these `stt`, `llm` and `tts`."""
        if name == "ours":
            turns = self._options()
            parts = dict(parts)
            session: AgentSession[Any] = AgentSession(
                **turns.session_kwargs(stt=parts.pop("stt"), vad=self._phone_silero), **parts
            )
            turns.attach(session)
            return session, turns
        if name == "framework":
            return (
                AgentSession(
                    vad=self._silero,
                    turn_handling={
                        "turn_detection": inference.TurnDetector(version="v1-mini"),
                        "interruption": {"mode": "vad"},
                    },
                    aec_warmup_duration=None,
                    **parts,
                ),
                None,
            )
        if name == "short":
            return (
                AgentSession(
                    vad=self._short_silero,
                    turn_handling={
                        "turn_detection": "vad",
                        "endpointing": {"min_delay": 0.3},
                        "interruption": {"mode": "vad", "min_duration": 0.2},
                        "preemptive_generation": {"preemptive_tts": True},
                    },
                    aec_warmup_duration=None,
                    **parts,
                ),
                None,
            )
        raise ValueError(f"no policy {name!r}; there are: ours, framework, short")


async def run_case(
    case: Case, policy: str, policies: Policies, servers: Servers, http: aiohttp.ClientSession
) -> Outcome:
    """Play one case to a fresh session."""
    outcome = Outcome(case.name, case.kind, case.held_out, pause_ms=round(case.pause_s * 1000))
    session, turns = policies.session(
        policy,
        {
            "stt": deepgram.STT(base_url=servers.deepgram, api_key="local", http_session=http),
            "llm": openai.LLM(base_url=servers.openai, api_key="local", model="local"),
            "tts": cartesia.TTS(base_url=servers.cartesia, api_key="local", http_session=http),
        },
    )
    mouth = Mouth()
    line = Line(mouth, snr_db=case.snr_db, echo=case.echo, seed=case.name)
    session.input.audio, session.output.audio = line, mouth
    _watch(session, turns, outcome)
    context = llm.ChatContext.empty()
    talks = case.kind in ("finished", "pause")
    if case.asked and talks:
        context.add_message(role="assistant", content=case.asked)
    spoken = speak(case)
    await session.start(Agent(instructions="You answer the telephone.", chat_ctx=context))
    line.open()
    try:
        if talks:
            await _turn(session, line, mouth, spoken, outcome)
        else:
            await _overlap(session, line, mouth, case, spoken, outcome)
    finally:
        await session.aclose()
        await mouth.aclose()
    return outcome


def _watch(session: AgentSession[Any], turns: TurnOptions | None, outcome: Outcome) -> None:
    def on_item(event: Any) -> None:
        if event.item.type == "message" and event.item.role == "user":
            outcome.heard.append(event.item.text_content or "")
            if turns is not None and turns.detector.last is not None:
                said, verdict, wait = turns.detector.last
                outcome.waits.append(f"{said!r}: {verdict.why}: {wait:.2f}")

    session.on("conversation_item_added", on_item)


async def _turn(
    session: AgentSession[Any], line: Line, mouth: Mouth, spoken: Spoken, outcome: Outcome
) -> None:
    begin = time.time() + LEAD_S
    line.say(spoken.audio, begin)
    first, last = begin + spoken.parts[0][0], begin + spoken.parts[-1][1]
    while time.time() < last + PATIENCE_S:
        await asyncio.sleep(0.05)
        if any(end > last for _, end in audible(mouth.source.played)) and time.time() > last + 0.5:
            break
    heard = audible(mouth.source.played)
    outcome.talked_into = any(start < last and end > first for start, end in heard)
    after = [start for start, _ in heard if start >= last]
    if after:
        outcome.answered = True
        outcome.response_ms = round((min(after) - last) * 1000, 1)


async def _overlap(
    session: AgentSession[Any], line: Line, mouth: Mouth, case: Case, spoken: Spoken, outcome: Outcome
) -> None:
    speech = session.say(case.asked)
    done_at: list[float] = []
    speech.add_done_callback(lambda _: done_at.append(time.time()))
    while not audible(mouth.source.played):  # noqa: ASYNC110 (the level of what was played, not an event)
        await asyncio.sleep(0.02)
    begin = audible(mouth.source.played)[0][0] + OVERLAP_AT_S
    first = begin + (spoken.parts[0][0] if spoken.parts else 0.0)
    last = begin + (spoken.parts[-1][1] if spoken.parts else 1.0)
    line.say(spoken.audio, begin)
    await asyncio.sleep(max(0.0, last + WATCH_S - time.time()))
    outcome.stopped = speech.interrupted
    now = time.time()
    outcome.held_ms = round(
        sum((pause[1] if len(pause) == 2 else now) - pause[0] for pause in mouth.pauses) * 1000, 1
    )
    if case.kind == "stop":
        until = (done_at[0] if done_at else now) + WAY_OUT_S
        own = [end for _, end in audible(mouth.source.played) if end <= until]
        outcome.barge_in_ms = round(max(0.0, own[-1] - first) * 1000, 1)


def understood(case: Case, outcome: Outcome) -> bool:
    """Whether the agent answered to what was said: half of its words, the last turn included."""
    said = re.findall(r"[a-z0-9']+", case.text.lower().replace("|", " "))
    heard = " ".join(outcome.heard).lower()
    digits = re.sub(r"\D", "", heard)
    found = sum(word in heard or (word in _DIGITS and _DIGITS[word] in digits) for word in said)
    return found >= len(said) / 2


_DIGITS = {"oh": "0"} | {
    w: str(n)
    for n, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
}
