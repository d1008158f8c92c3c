"""The text console: the worker's agent on a terminal, with no LiveKit anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
import termios
from pathlib import Path
from typing import Any

from tests.call.providers import Reply, serve

ROOT = Path(__file__).resolve().parents[2]


def answer(messages: list[dict[str, Any]]) -> Reply:
    """Ends the call for "bye"."""
    if "bye" in str(messages[-1].get("content")):
        return {"tool": "end_call", "text": "Goodbye then."}
    return "For how many people?"


def record(directory: Path) -> list[dict[str, Any]]:
    """The lines of the only record."""
    (path,) = directory.glob("*.conversation.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_conversation_in_text(tmp_path: Path):
    """Greeting, answer and goodbye are in the record; the end of the call ends the console with 0."""
    screen = bytearray()
    master, slave = pty.openpty()
    async with serve() as providers:
        providers.answer = answer
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT")}
        console = await asyncio.create_subprocess_exec(
            sys.executable,
            *("agent.py", "console", "--text"),
            cwd=ROOT,
            env={**kept, **providers.env, "CALL_RECORDS_DIR": str(tmp_path)},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        changed = asyncio.Event()

        def read() -> None:
            try:
                screen.extend(os.read(master, 65536))
            except OSError:  # the console has closed its side
                loop.remove_reader(master)
            changed.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(master, read)

        async def shows(words: bytes) -> None:
            while words not in screen:
                changed.clear()
                await changed.wait()

        async def types(line: bytes) -> None:
            await shows(b"Type to talk")
            # The prompt throws away what was typed before it reads keys; its terminal then is in raw mode.
            while termios.tcgetattr(master)[3] & termios.ICANON:  # noqa: ASYNC110 nothing reports it
                await asyncio.sleep(0.05)
            screen.clear()
            os.write(master, line + b"\r")

        try:
            async with asyncio.timeout(60):
                await types(b"A table please")
                await shows(b"For how many people?")
                await types(b"bye")
                assert await console.wait() == 0
        finally:
            loop.remove_reader(master)
            os.close(master)
            with contextlib.suppress(ProcessLookupError):
                console.kill()
    lines = record(tmp_path)
    said = [line["text"].strip() for line in lines if line["event"] == "said"]
    assert any(text.startswith("Good day") for text in said)
    assert said[-1] == "Goodbye then."
    assert "For how many people?" in said
    assert (lines[-1]["event"], lines[-1]["reason"]) == ("summary", "end_call")
