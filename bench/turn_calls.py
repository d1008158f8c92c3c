"""Cases of the turn-taking bench as real calls, measured on the caller's recording.

The agent is the demo's receptionist, so what it asks cannot be chosen: cases that answer a question are left
out, and what it says when it is interrupted is its own.
"""

from __future__ import annotations

import asyncio
import tempfile
import wave
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.corpus import RATE, Case, Spoken, line_noise, speak, through_g711
from bench.turn_cases import Outcome
from lab.caller import Script, place_call
from lab.caller.script import Echo, HangUp, Pause, Play, Say, Step, WaitForSilence, WaitForSpeech
from lab.demo import standing
from lab.ear import Recording, read_recording

QUESTION = "How much does a double room cost?"
"""Its answer takes the receptionist several seconds."""
OVERLAP_MS = 1200
_ANSWER_WITHIN = 8.0


def possible(case: Case) -> bool:
    """Whether a call can play this case: the agent's own question cannot be chosen."""
    return case.sound != "echo" and (case.kind in ("stop", "aside") or not case.asked)


async def run_calls(chosen: list[Case], stack: str) -> list[Outcome]:
    """One call after the other through `stack` (empty: one is started)."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as scratch:
        async with standing(stack, Path(scratch), Console(stderr=True, quiet=True)) as local:
            models: dict[str, Any] = _models()
            to = f"sip:{local.numbers[0]}@{local.sip_address}"
            for case in chosen:
                outcome = await _call(case, to, Path(scratch) / case.name, models)
                outcomes.append(outcome)
    return outcomes


def _models() -> dict[str, Any]:
    """Loaded once for all calls."""
    from lab.speech.recognizer import Recognizer
    from lab.speech.synthesizer import Synthesizer

    return {"speaker": Synthesizer(), "ears": Recognizer()}


async def _call(case: Case, to: str, folder: Path, models: dict[str, Any]) -> Outcome:
    outcome = Outcome(case.name, case.kind, case.held_out, pause_ms=round(case.pause_s * 1000))
    await asyncio.to_thread(folder.mkdir)
    spoken = speak(case)
    wav = folder / "said.wav"
    _write(wav, case, spoken)
    overlaps = case.kind in ("stop", "aside")
    result = await place_call(Script(case.name, _steps(case, wav, overlaps)), to, folder, **models)
    if result.failure is not None:
        outcome.error = f"{result.failure.step}: {result.failure.what}"
        return outcome
    recording = read_recording(folder / "call.wav")
    played = next(said for said in reversed(result.said) if said.text is None)
    first = played.start + (spoken.parts[0][0] if spoken.parts else 0.0)
    last = played.start + (spoken.parts[-1][1] if spoken.parts else 0.0)
    if overlaps:
        _overlap(recording, first, last, outcome)
    else:
        _turn(recording, first, last, outcome)
    outcome.heard = [item.text or "" for item in result.heard]
    return outcome


def _steps(case: Case, wav: Path, overlaps: bool) -> tuple[Step, ...]:
    greeting = (WaitForSpeech(1), WaitForSilence(2, 900))
    if not overlaps:
        return (*greeting, Play(3, wav), WaitForSpeech(4, _ANSWER_WITHIN), Pause(5, 400), HangUp(6))
    asking = (Say(3, (QUESTION,)), WaitForSpeech(4, _ANSWER_WITHIN))
    line = (Echo(1),) if case.echo else ()
    sound = Play(6, wav, aside=case.kind == "aside")
    return (*line, *greeting, *asking, Pause(5, OVERLAP_MS), sound, Pause(7, 3500), HangUp(8))


def _write(path: Path, case: Case, spoken: Spoken) -> None:
    audio = spoken.audio
    if case.snr_db is not None and len(audio):
        audio = audio + line_noise(len(audio) / RATE + 1, case.snr_db, case.name)[: len(audio)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(through_g711(audio).tobytes())


def _turn(recording: Recording, first: float, last: float, outcome: Outcome) -> None:
    agent = recording.measure().agent
    outcome.talked_into = any(span.start < last and span.end > first for span in agent)
    after = [span.start for span in agent if span.start >= last]
    if after:
        outcome.answered = True
        outcome.response_ms = round((after[0] - last) * 1000, 1)


def _overlap(recording: Recording, first: float, last: float, outcome: Outcome) -> None:
    """Stopped by an aside: silent from 1 to 1.6 s after it; a pause is over by then."""
    agent = recording.measure().agent
    before = [span for span in agent if span.start < first + 1.0]
    if outcome.kind == "stop":
        outcome.barge_in_ms = round(max(0.0, max(span.end for span in before) - first) * 1000, 1)
        outcome.stopped = max(span.end for span in before) < last + 1.0
        return
    quiet = [span for span in agent if span.start < last + 1.6 and span.end > last + 1.0]
    outcome.stopped = not quiet
