"""`python -m lab.speech` as a process: ready line, faults of the command line, TERM, and errors."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import aiohttp


async def start(*arguments: str) -> Process:
    """The servers with these arguments."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.speech", *arguments, stdout=PIPE, stderr=PIPE
    )


async def ready(process: Process) -> dict[str, Any]:
    """What the ready line tells."""
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert line.startswith("READY ")
    return json.loads(line.removeprefix("READY "))


async def test_ready_answers_and_ends_on_term() -> None:
    """The ready line names addresses that answer, faults of the command line hold, and TERM ends with 0."""
    process = await start("--fault", 'cartesia={"status": 429}', "--latency", "20", "--key", "secret")
    try:
        told = await ready(process)
        assert told["pid"] == process.pid
        assert told["deepgram"] == told["url"] + "/v1/listen" and told["openai"] == told["url"] + "/v1"
        async with aiohttp.ClientSession() as http:
            async with http.get(told["url"] + "/admin/faults") as answer:
                faults = await answer.json()
            async with http.get(told["openai"] + "/models", headers={"Authorization": "Bearer x"}) as answer:
                assert answer.status == 401
            async with http.post(
                told["cartesia"] + "/tts/bytes", headers={"X-API-Key": "secret"}, json={"transcript": "Hi."}
            ) as answer:
                assert answer.status == 429
        assert faults["cartesia"]["status"] == 429 and faults["openai"]["latency"] == 20
        process.terminate()
        output, errors = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0, errors.decode()
        assert output == b"", "one line on standard output"
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_taken_port_is_told() -> None:
    """A port that is in use is exit code 1, with the port and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = await start("--port", port)
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert port in errors.decode() and "--port 0" in errors.decode()


async def test_wrong_use_is_told(tmp_path: Path) -> None:
    """Bad faults and scripts are exit code 2 before any model is loaded."""
    script = tmp_path / "script.yaml"
    script.write_text("- says: nothing heard\n")
    wrong = {
        ("--fault", "espeak={}"): "espeak",
        ("--fault", "openai=no json"): "not JSON",
        ("--latency", "soon"): "latency",
        ("--script", str(script)): "script.yaml",
        ("--script", str(tmp_path / "none.yaml")): "none.yaml",
    }
    for arguments, named in wrong.items():
        process = await start(*arguments)
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 2, errors.decode()
        assert named in errors.decode()
