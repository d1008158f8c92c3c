"""`./run bench failures`: each provider dead at each moment of a real call, and what the caller hears of it.

A fault is set in the local speech servers before the call, after the greeting, or in the middle of an answer.
The caller goes on asking until the agent hangs up. The longest silence is measured on his recording, from
the answer to the end of the call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lab.caller import CallResult, Script, place_call
from lab.caller.performer import Ears
from lab.caller.script import HangUp, Say, Step, WaitForSilence, WaitForSpeech
from lab.caller.voice import Speaker
from lab.ear import read_recording, voice_activity
from lab.ear.activity import Span
from lab.stack import Options, Stack
from sip.local import LocalStack, load

Moment = Literal["before", "greeted", "answer"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)

SILENCE_LIMIT = 6.0
"""Seconds that a caller may hear nothing while a provider fails."""
QUESTIONS = (
    "What time does the restaurant open?",
    "How much does a double room cost?",
    "Where can I park my car?",
    "When is breakfast?",
)
RESULTS = Path(__file__).parent / "results" / "failures.md"
READING = """# Providers that fail in a call

`./run bench failures --write`; one call for each row, through a whole stack. The provider is dead before the
call, from after the greeting on ("greeted"), or from the middle of an answer on ("answer"), and stays dead.

- sound after: seconds from the caller's last word to the next sound that he heard, at worst;
- longest silence: from the answer to the end of the call; above 6 s the bench fails;
- end after: seconds from his last word to the end of the call, and who sent the BYE;
- heard last: what was recognised last on his recording.

The greeting is made before the telephone rings, so it is heard even when synthesis is dead. That recognition
is silent takes two turns of the caller to be sure of.

"""
_PATIENCE = 12.0
"""Seconds for which the caller waits for a voice before he hangs up himself."""


@dataclass(frozen=True)
class Failure:
    """What is done to a provider; `midway` is what delays it into the middle of an answer."""

    provider: str
    fault: Mapping[str, Any]
    midway: Mapping[str, Any] | None = None

    def at(self, moment: Moment) -> dict[str, Any]:
        """The fault for this moment, as `PUT /admin/faults` wants it."""
        delay = self.midway if moment == "answer" and self.midway else {}
        return {self.provider: {**self.fault, **delay}}


FAILURES = {
    "tts 401": Failure("cartesia", {"fail": "http", "status": 401}),
    "tts 500": Failure("cartesia", {"fail": "http", "status": 500}),
    "tts silence": Failure("cartesia", {"fail": "silence"}, {"after_ms": 600}),
    "tts cut": Failure("cartesia", {"fail": "cut"}, {"after_ms": 600}),
    "llm 500": Failure("openai", {"fail": "http", "status": 500}),
    "llm 429": Failure("openai", {"fail": "http", "status": 429}),
    "llm silence": Failure("openai", {"fail": "silence"}, {"after_chunks": 4}),
    "llm cut": Failure("openai", {"fail": "cut"}, {"after_chunks": 4}),
    "stt 401": Failure("deepgram", {"fail": "http", "status": 401}),
    "stt silence": Failure("deepgram", {"fail": "silence"}),
    "stt cut": Failure("deepgram", {"fail": "cut"}),
}


@dataclass(frozen=True)
class Outcome:
    """One call. Times are seconds."""

    failure: str
    moment: Moment
    once: bool
    """The provider failed once; otherwise it stays dead."""
    answered: bool
    silence: float
    """The longest stretch from the answer to the end in which neither side spoke."""
    sound: float | None
    """From the caller's last word before it to the first sound that came back under the failure."""
    end: float | None
    """From the caller's last word to the end of the call; None if he said nothing."""
    ended_by: str
    code: int
    heard: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Answered, a voice after the failure, no long silence, and an end by either side with 200."""
        spoke = self.answered and self.sound is not None and self.silence <= SILENCE_LIMIT
        return spoke and self.code == 200


def set_faults(speech_url: str, faults: Mapping[str, Any] | None) -> None:
    """Replace all faults; None makes every provider healthy."""
    _admin(speech_url, "DELETE")
    if faults:
        _admin(speech_url, "PUT", faults)


def _admin(speech_url: str, method: str, body: Mapping[str, Any] | None = None) -> None:
    request = urllib.request.Request(
        f"{speech_url}/admin/faults",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5):
        pass


def conversation(questions: Sequence[str] = QUESTIONS) -> Script:
    """A caller who hears the greeting, asks until nobody is left, and hangs up."""
    lines = itertools.count(1)
    steps: list[Step] = []
    for question in ("", *questions):
        if question:
            steps.append(Say(next(lines), (question,)))
        steps += [WaitForSpeech(next(lines), _PATIENCE), WaitForSilence(next(lines), 900)]
    return Script("failures", (*steps, HangUp(next(lines))))


async def run_case(
    local: LocalStack,
    name: str,
    moment: Moment,
    out: Path,
    *,
    speaker: Speaker | None = None,
    ears: Ears | None = None,
    once: bool = False,
    questions: int = len(QUESTIONS),
) -> Outcome:
    """One call to the running stack with one failure. The providers are healthy again afterwards."""
    failure = FAILURES[name]
    faults = failure.at(moment)
    if once:
        faults[failure.provider]["times"] = 1
    loop = asyncio.get_running_loop()
    began: float | None = None
    dialled = 0.0
    speeches = 0
    # Lines of the script: 1 greeting, 3 first question, 4 its answer begins, 5 it goes on.
    line = {"before": 0, "greeted": 3, "answer": 3 if failure.midway else 5}[moment]

    def emit(event: str, **fields: object) -> None:
        nonlocal began, dialled, speeches
        if event == "dialing":
            dialled = loop.time()
        if event == "step" and fields["line"] == line and began is None:
            set_faults(local.speech_url, faults)
            began = loop.time()

    set_faults(local.speech_url, faults if moment == "before" else None)
    try:
        result = await place_call(
            conversation(QUESTIONS[:questions]),
            f"sip:{local.numbers[0]}@{local.sip_address}",
            out,
            speaker=speaker,
            ears=ears,
            emit=emit,
        )
    finally:
        set_faults(local.speech_url, None)
    return judge(result, name, moment, max(0.0, (began or 0.0) - dialled), once)


def judge(result: CallResult, name: str, moment: Moment, failed: float, once: bool) -> Outcome:
    """Measure a call's recording; `failed` is when the failure began, in seconds from the INVITE."""
    recording = read_recording(result.wav)
    caller, agent = voice_activity(recording.sent), voice_activity(recording.heard)
    answered = result.answered or 0.0
    return Outcome(
        failure=name,
        moment=moment,
        once=once,
        answered=result.answered is not None,
        silence=round(longest_silence([*caller, *agent], answered, result.ended), 2),
        sound=_time_to_sound(caller, agent, max(failed, answered), result.ended),
        end=round(result.ended - caller[-1].end, 2) if caller else None,
        ended_by=result.end.by,
        code=result.end.code,
        heard=tuple(sentence.text or "" for sentence in result.heard),
    )


def longest_silence(voices: Iterable[Span], start: float, end: float) -> float:
    """The longest part of `start` to `end` in which nobody spoke."""
    quiet_from, longest = start, 0.0
    for span in sorted(voices, key=lambda span: span.start):
        longest = max(longest, min(span.start, end) - quiet_from)
        quiet_from = max(quiet_from, span.end)
    return max(longest, end - quiet_from)


def _time_to_sound(caller: Sequence[Span], agent: Sequence[Span], failed: float, end: float) -> float | None:
    """The longest wait, after the failure began, from the caller's last word to the agent's next."""
    waits: list[float] = []
    turns = [span.end for span in caller if span.end > failed and span.end < end]
    for last, following in itertools.pairwise([*turns, end]):
        answers = [span.start for span in agent if last <= span.start < following]
        if answers:
            waits.append(answers[0] - last)
    if not turns:
        waits = [span.start - failed for span in agent if span.start >= failed][:1]
    return round(max(waits), 2) if waits else None


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    rows = [
        "| failure | when | sound after, s | longest silence, s | end after, s | ended by | heard last |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        sound, end = ("-" if s is None else f"{s:.1f}" for s in (each.sound, each.end))
        last = each.heard[-1] if each.heard else "nothing"
        rows.append(
            f"| {each.failure}{' (once)' if each.once else ''} | {each.moment} | {sound} "
            f"| {each.silence:.1f} | {end} | {each.ended_by or 'nobody'} {each.code} | {last} |"
        )
    return "\n".join(rows)


@contextlib.asynccontextmanager
async def _stack(name: str) -> AsyncGenerator[LocalStack]:
    if name:
        yield load(name)
        return
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="failures-"))
    async with Stack(Options(name=f"failures-{os.getpid()}", directory=directory)) as stack:
        yield stack.local


async def _run(options: argparse.Namespace) -> int:
    from lab.speech.recognizer import Recognizer
    from lab.speech.synthesizer import Synthesizer

    speaker, ears = Synthesizer(), Recognizer()
    outcomes: list[Outcome] = []
    async with _stack(options.stack) as local:
        root = options.out or Path(local.directory) / "failures"
        for name, moment in itertools.product(options.failure, options.moment):
            out = root / f"{name.replace(' ', '-')}-{moment}"
            case = run_case(local, name, moment, out, speaker=speaker, ears=ears, once=options.once)
            outcomes.append(outcome := await case)
            print(f"{'held  ' if outcome.held else 'BROKEN'} {outcome}", file=sys.stderr, flush=True)
    print(table(outcomes))
    if options.write:
        RESULTS.write_text(READING + table(outcomes) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=2) + "\n")
    return 0 if all(each.held for each in outcomes) else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 0 when every call held."""
    parser = argparse.ArgumentParser(prog="./run bench failures", description=__doc__)
    parser.add_argument("--failure", action="append", choices=list(FAILURES), help="only these; repeatable")
    parser.add_argument("--moment", action="append", choices=MOMENTS, help="only these; repeatable")
    parser.add_argument("--once", action="store_true", help="the provider fails once and is healthy again")
    parser.add_argument("--stack", default="", help="name of a running stack (one of its own)")
    parser.add_argument("--out", type=Path, help="folder for the recordings")
    parser.add_argument("--write", action="store_true", help="renew results/failures.md")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    options = parser.parse_args(arguments)
    options.failure = options.failure or list(FAILURES)
    options.moment = options.moment or list(MOMENTS)
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main())
