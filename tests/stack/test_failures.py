"""Providers and processes that die in real calls: the caller hears a sentence, and the call ends or goes on.

`./run bench failures` places a call for each provider, failure and moment; here are some of each kind.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.failures import QUESTIONS, SILENCE_LIMIT, Moment, conversation, judge, run_case
from lab.caller import CallResult, place_call
from lab.speech.recognizer import Recognizer
from lab.speech.synthesizer import Synthesizer
from lab.stack import Options, Stack
from lab.stack.parts import speech_environment
from sip.local import LocalStack
from tests.stack.edge_kit import OFFER
from tests.stack.rig import Caller

pytestmark = pytest.mark.stack

CALLER = "+15550199"
GOODBYE = ("went wrong", "call again")
"""Of the recorded sentence, what a recogniser gets right over the telephone."""


@pytest.fixture(scope="module")
def voice() -> Synthesizer:
    """The callers' voice, loaded once."""
    return Synthesizer()


@pytest.fixture(scope="module")
def ears() -> Recognizer:
    """The callers' ears, loaded once."""
    return Recognizer()


@pytest.mark.parametrize(
    ("failure", "moment"),
    [
        ("tts silence", "answer"),
        ("llm 500", "greeted"),
        ("stt silence", "greeted"),
        ("stt cut", "before"),
    ],
)
async def test_a_dead_provider_ends_in_a_sentence(
    stack: LocalStack, tmp_path: Path, voice: Synthesizer, ears: Recognizer, failure: str, moment: Moment
) -> None:
    """Never more than 6 s of silence, a recorded sentence that needs no provider, and the agent hangs up."""
    outcome = await run_case(stack, failure, moment, tmp_path, speaker=voice, ears=ears)
    assert outcome.held, outcome
    assert outcome.ended_by == "agent", outcome
    assert _is_goodbye(outcome.heard[-1]), outcome


async def test_a_provider_that_failed_once_is_forgiven(
    stack: LocalStack, tmp_path: Path, voice: Synthesizer, ears: Recognizer
) -> None:
    """One refused completion is tried again: the caller is answered, and the call goes on to his own end."""
    outcome = await run_case(
        stack, "llm 500", "greeted", tmp_path, speaker=voice, ears=ears, once=True, questions=2
    )
    assert outcome.held, outcome
    assert outcome.ended_by == "caller", outcome
    assert not any(map(_is_goodbye, outcome.heard)), outcome


async def test_three_calls_at_once_through_one_worker(
    stack: LocalStack, tmp_path: Path, voice: Synthesizer, ears: Recognizer
) -> None:
    """Three callers hear the agent at the same time, each in a room of his own."""
    results = await asyncio.gather(
        *(
            call(stack, tmp_path / str(number), voice, ears, user=f"+1555019{number}", questions=0)
            for number in range(3)
        )
    )
    for result in results:
        assert result.failure is None, result.failure
        assert result.heard
        assert (result.end.by, result.end.code) == ("caller", 200)
    records = Path(stack.directory) / "records"
    calls = [_first(path) for path in records.glob("*.conversation.jsonl")]
    ours = {each["call_id_full"]: each["room"] for each in calls}
    assert len({ours[result.call_id] for result in results}) == 3


async def test_speech_servers_killed_in_mid_call(
    livekit_server: Path, tmp_path: Path, voice: Synthesizer, ears: Recognizer
) -> None:
    """Killed in an answer, the second ones take over; when those die, too, a recording says so."""
    async with speech() as (first, url), speech() as (second, spare):
        env = speech_environment(url) | {
            "FALLBACK_DEEPGRAM_BASE_URL": f"{spare}/v1/listen",
            "FALLBACK_OPENAI_BASE_URL": f"{spare}/v1",
            "FALLBACK_CARTESIA_BASE_URL": spare,
        }
        options = Options(name=f"dead-{os.getpid()}", directory=tmp_path, speech=False, environment=env)
        kills = {5: first, 9: second}  # the lines of the script: in the first answer, after the second
        async with Stack(options) as own:

            def emit(event: str, **fields: Any) -> None:
                if event == "step" and (process := kills.get(fields["line"])):
                    process.kill()

            result = await call(own.local, tmp_path / "call", voice, ears, emit=emit)
    outcome = judge(result, "all", "answer", 0.0, once=False)
    assert "110" in _heard(result) or "hundred" in _heard(result), result.heard
    assert outcome.silence <= SILENCE_LIMIT, outcome
    assert outcome.ended_by == "agent", outcome
    assert _is_goodbye(outcome.heard[-1]), outcome


async def test_a_call_whose_process_dies_is_hung_up(stack: LocalStack) -> None:
    """kill -9 of the process that runs the call: nobody is left to speak, so the caller gets BYE."""
    log = Path(stack.parts["agent"]["log"])
    async with Caller(stack.sip_address, stack.numbers[0]) as phone:
        await phone.call()
        async with asyncio.timeout(10):
            # Another process's log tells nobody.
            while not (found := _processes(log, phone.call_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        os.kill(found[0], signal.SIGKILL)
        await phone.ends(3)


async def test_no_log_shows_a_number_in_a_message_or_a_secret_at_all(
    stack: LocalStack, tmp_path: Path, voice: Synthesizer, ears: Recognizer
) -> None:
    """After calls, good and bad: numbers stand in fields that can be redacted, secrets nowhere."""
    await call(stack, tmp_path, voice, ears, questions=0)
    async with Caller(stack.sip_address, "+15550177") as phone:
        phone.send(phone.build("INVITE", body=OFFER))
        assert (await phone.final(5)).code == 404
    lines = [
        (path.name, line)
        for path in (Path(stack.directory) / "logs").glob("*.log")
        for line in path.read_text(errors="replace").splitlines()
    ]
    assert {name for name, _ in lines} >= {"sip.log", "agent.log", "livekit-server.log", "speech.log"}
    assert [line for line in lines if stack.api_secret in line[1]] == []
    number = re.compile(r"\+?1?5550(?:1\d\d)")
    assert [line for name, line in lines if number.search(_message(name, line))] == []
    assert any(number.search(line) for _, line in lines), "the calls were logged elsewhere"


async def call(
    local: LocalStack,
    out: Path,
    speaker: Synthesizer,
    ears: Recognizer,
    *,
    user: str = CALLER,
    questions: int = 3,
    **more: Any,
) -> CallResult:
    """A caller who asks so many questions and hangs up."""
    return await place_call(
        conversation(QUESTIONS[:questions]),
        f"sip:{local.numbers[0]}@{local.sip_address}",
        out,
        user=user,
        speaker=speaker,
        ears=ears,
        **more,
    )


@asynccontextmanager
async def speech() -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Speech servers of our own, so that they may be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.speech", "--log-level", "warning", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        yield process, json.loads(line.removeprefix("READY "))["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _is_goodbye(text: str) -> bool:
    return any(words in text.lower() for words in GOODBYE)


def _heard(result: CallResult) -> str:
    return " ".join(sentence.text or "" for sentence in result.heard).lower()


def _first(path: Path) -> dict[str, Any]:
    return next(each for each in map(json.loads, path.open()) if each["event"] == "call")


def _processes(log: Path, call_id: str) -> list[int]:
    """Ids of the worker's processes that run this call."""
    lines = [line for line in log.read_text().splitlines() if call_id in line and line.startswith("{")]
    return [json.loads(line)["pid"] for line in lines]


def _message(name: str, line: str) -> str:
    """A log line without its structured fields."""
    if line.startswith("{"):
        return str(json.loads(line).get("message", ""))
    # livekit-server writes its fields as JSON behind the message.
    return line.partition("{")[0] if name == "livekit-server.log" else line
