"""`sip demo` as a command: a stack of its own, both sides shown, figures, exit codes, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.guardian import descendants
from sip.local import LocalStack, running

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("livekit_server"), pytest.mark.timeout(240)]


async def demo(*arguments: str) -> tuple[int, str, str]:
    """Run it: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip.cli", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def assert_report(files: dict[str, str]) -> None:
    """All files are there, and the ladder begins with an INVITE."""
    assert all(Path(file).stat().st_size > 0 for file in files.values())
    assert "INVITE" in Path(files["ladder.txt"]).read_text()


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run."""
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]


async def test_the_whole_demo(tmp_path: Path) -> None:
    """One command starts a stack, holds a conversation with an interruption, reports, and leaves nothing."""
    before = {stack.name for stack in running()}
    code, out, err = await demo("--json", str(tmp_path / "out.json"), "--out", str(tmp_path / "demo"))
    assert code == 0, out + err
    found: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    assert found["invite_to_ok_ms"] > 0
    assert found["invite_to_greeting_ms"] > found["invite_to_ok_ms"]
    assert len(found["turns"]) == 5
    for turn in found["turns"]:
        assert set(turn) == {"caller_said", "agent_heard", "agent_said", "response_ms", "cut_in"}
        assert turn["caller_said"]
        assert turn["agent_heard"]
        assert turn["agent_said"]
        assert turn["response_ms"] > 0
        assert turn["cut_in"] is False
    assert found["barge_in_ms"] > 0
    assert found["false_interruptions"] == 0
    assert found["hangup"] == {"by": "agent", "sip_code": 200}
    assert found["quality"]["mos"] > 3.5
    assert {"loss_pct", "jitter_ms"} <= set(found["quality"])
    assert_report(found["files"])
    for line in ("caller  What time does the restaurant open?", "agent   Good day", "200 OK", "MOS"):
        assert line in out
    assert {stack.name for stack in running()} == before


async def test_a_script_that_cannot_be_used(tmp_path: Path) -> None:
    """A wrong script is refused with file, line and field before anything is started."""
    script = tmp_path / "wrong.yaml"
    script.write_text("- say: hello\n- shout: louder\n")
    code, out, err = await demo("--script", str(script), "--out", str(tmp_path / "demo"))
    assert code == 2
    assert "wrong.yaml, line 2, shout: there is no such step" in err
    assert out == ""
    assert not (tmp_path / "demo").exists()


async def test_a_demo_that_fails_says_why(stack: LocalStack, tmp_path: Path) -> None:
    """Exit code 1, the step that failed, what was heard, and the ends of the logs."""
    script = tmp_path / "script.yaml"
    script.write_text("- expect: {all: [submarine], within: 6}\n")
    code, out, _ = await demo("--script", str(script), "--stack", stack.name, "--out", str(tmp_path / "demo"))
    assert code == 1
    assert "FAILED at expect, line 1: did not hear submarine within 6 s" in out
    assert "heard: " in out
    for part in ("sip", "agent"):
        assert f"last lines of {stack.parts[part]['log']}" in out


async def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """TERM in the middle of the call stops the caller and the stack."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip.cli", "demo", "--out", str(tmp_path / "demo"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    async for line in process.stdout:
        if b"200 OK" in line:
            break
    children = descendants(process.pid)
    assert len(children) > 3
    process.terminate()
    await process.stdout.read()
    assert await process.wait() == 1
    assert alive(children) == []
