"""Real calls through real processes: codecs, transports, an unknown recording, refusals, failures."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lab.demo import Outcome, place
from lab.speech.synthesizer import Synthesizer
from sip.local import LocalStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def call(stack: LocalStack, folder: Path, script: str, **more: str) -> Outcome:
    """Place one call with this script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "script.yaml"
    path.write_text(script)
    return asyncio.run(place(stack, path, folder / "call", console=Console(quiet=True), **more))


def test_a_recording_never_heard_before(stack: LocalStack, tmp_path: Path) -> None:
    """A WAV at 44.1 kHz, whose words no server was told, is understood and answered."""
    spoken = Synthesizer().speak("Could you please tell me where I can park my car?", 44_100, "caller", 0.95)
    with wave.open(str(tmp_path / "question.wav"), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(np.repeat(spoken, 2).astype("<i2").tobytes())
    script = """
- wait_for_speech: {within: 15}
- wait_for_silence: 1000
- play: question.wav
- expect: {any: [behind], within: 15}
- wait_for_silence: 1000
- hang_up
"""
    done = call(stack, tmp_path, script)
    assert done.code == 0, done.stderr
    assert done.figures is not None
    [turn] = done.figures.turns
    assert turn.caller_said is None
    assert "park" in turn.agent_heard.lower()
    assert "behind" in turn.agent_said.lower()
    assert turn.response_ms is not None
    assert not turn.cut_in
    assert done.figures.hangup == {"by": "caller", "sip_code": 200}


@pytest.mark.parametrize("codec", ["G722", "PCMA"])
def test_other_codecs(stack: LocalStack, tmp_path: Path, codec: str) -> None:
    """The greeting arrives whole in every codec, and the caller is understood."""
    script = """
- expect: {all: [hotel], within: 20}
- wait_for_silence: 1000
- say: Thank you, goodbye.
- expect_hang_up: {within: 20, by: agent}
"""
    done = call(stack, tmp_path, script, codec=codec)
    assert done.code == 0, done.stderr
    assert done.figures is not None
    assert done.figures.quality is not None
    assert done.figures.quality["codec"] == codec
    assert done.figures.quality["mos"] > 3


def test_a_call_over_tcp(stack: LocalStack, tmp_path: Path) -> None:
    """Signalling over TCP sets up and ends a call as well."""
    script = "- wait_for_speech: {within: 20}\n- pause: 1000\n- hang_up\n"
    done = call(stack, tmp_path, script, transport="tcp")
    assert done.code == 0, done.stderr
    assert done.figures is not None
    assert done.figures.invite_to_greeting_ms is not None


def test_an_unknown_number_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """A number without a trunk gets 404 and never rings."""
    done = call(stack, tmp_path, "- expect_hang_up: {code: 404}\n", to="+15550177")
    assert done.code == 0, done.stderr
    assert [event["event"] for event in done.events if event["event"] in ("ringing", "answered")] == []
    assert done.figures is not None
    assert done.figures.hangup == {"by": "agent", "sip_code": 404}


def test_a_script_that_is_not_fulfilled(stack: LocalStack, tmp_path: Path) -> None:
    """Words that the agent does not say fail the call, with the step and what was heard."""
    done = call(stack, tmp_path, "- expect: {all: [submarine], within: 6}\n")
    assert done.code == 1
    assert done.figures is not None
    assert done.figures.failure is not None
    assert done.figures.failure["step"] == "expect"
    assert "hotel" in done.figures.failure["heard"].lower()
    assert "submarine" in done.stderr
    metrics = json.loads(Path(done.figures.files["metrics.json"]).read_text())
    assert metrics["ok"] is False
