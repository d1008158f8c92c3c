"""The worker as a process, on a real livekit-server, called by a participant that looks like a telephone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from livekit import api, rtc

from lab.stack import livekit_config
from lab.stack.ports import free_port
from tests.call.providers import Providers, Reply, serve

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
KEY, SECRET = "test", "0123456789abcdef0123456789abcdef"
CALL_ID = "call-1@far.example"


@asynccontextmanager
async def program(*command: str | Path, ready: str, log: Path, **environ: str) -> AsyncGenerator[Process]:
    """Run it until its log shows `ready`; ended at the end of the block."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await _until(lambda: ready in log.read_text() or process.returncode is not None, 60, log)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def _until(condition: Any, within: float, log: Path | None = None) -> None:
    """Another process's file or exit can only be looked at again and again."""
    tail = "" if log is None else f"; the end of {log.name} is in the test's folder"
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s{tail}")
        await asyncio.sleep(0.05)


@pytest.fixture
async def url(livekit_server: Path, tmp_path: Path) -> AsyncGenerator[str]:
    """A livekit-server of its own, without SIP."""
    port = free_port()
    config = livekit_config.local(
        livekit_config.load(),
        port=port,
        udp_port=free_port(),
        redis_url="redis://127.0.0.1:1",
        api_key=KEY,
        api_secret=SECRET,
    )
    del config["redis"]
    path = tmp_path / "livekit.yaml"
    path.write_text(yaml.safe_dump(config))
    async with program(
        livekit_server, "--config", path, ready="starting LiveKit", log=tmp_path / "server.log"
    ):
        yield f"ws://127.0.0.1:{port}"


def settings(url: str, providers: Providers, tmp_path: Path) -> dict[str, str]:
    """What a worker needs to reach the servers of a test."""
    keys = {f"{name}_API_KEY": "x" for name in ("DEEPGRAM", "OPENAI", "CARTESIA")}
    return {
        "LIVEKIT_URL": url,
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "AGENT_HTTP_PORT": "0",
        "CALL_RECORDS_DIR": str(tmp_path / "records"),
        **keys,
        **providers.env,
    }


class Telephone:
    """A SIP participant as a SIP service makes it: ringing first, active when `answer` is called."""

    def __init__(self, url: str, agent: str) -> None:
        self.url, self.agent = url, agent
        self.room = rtc.Room()
        self.published, self.heard, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self.room.on("track_subscribed", self._on_track)
        self.room.on("disconnected", lambda _: self.over.set())

    async def dial(self) -> None:
        """Join the room, with the agent's dispatch in the token."""
        attributes = {
            "sip.callID": "SCL_test",
            "sip.callIDFull": CALL_ID,
            "sip.callStatus": "ringing",
            "sip.ruleID": "SDR_test",
            "sip.phoneNumber": "+15550111",
            "sip.trunkPhoneNumber": "+15550100",
        }
        dispatch = api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=self.agent)])
        token = (
            api.AccessToken(KEY, SECRET)
            .with_identity("sip_+15550111")
            .with_kind("sip")
            .with_attributes(attributes)
            .with_grants(api.VideoGrants(room_join=True, room="a-call", can_update_own_metadata=True))
            .with_room_config(dispatch)
            .to_jwt()
        )
        await self.room.connect(self.url, token)

    async def answer(self) -> None:
        await self.room.local_participant.set_attributes({"sip.callStatus": "active"})

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self.room.disconnect()

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        self.published.set()
        self._listening = asyncio.create_task(self._listen(track))

    async def _listen(self, track: rtc.Track) -> None:
        async for event in rtc.AudioStream(track, sample_rate=16_000):
            if max(memoryview(bytes(event.frame.data)).cast("h")) > 1000:
                self.heard.set()


@asynccontextmanager
async def telephone(url: str, agent: str) -> AsyncGenerator[Telephone]:
    """A telephone that has dialled."""
    phone = Telephone(url, agent)
    await phone.dial()
    try:
        yield phone
    finally:
        await phone.close()


def record(tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of the only record."""
    (path,) = (tmp_path / "records").glob("*.conversation.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_call_from_ring_to_hang_up(url: str, tmp_path: Path):
    """Nothing is said before the answer; then the greeting; the caller's end leaves a complete record."""
    async with serve() as providers:
        env = settings(url, providers, tmp_path)
        command = (sys.executable, "agent.py", "start")
        async with (
            program(*command, ready="registered worker", log=tmp_path / "worker.log", **env),
            telephone(url, "phone-agent") as phone,
        ):
            await asyncio.wait_for(phone.published.wait(), 10)
            await asyncio.sleep(1.0)
            assert not phone.heard.is_set()
            await phone.answer()
            await asyncio.wait_for(phone.heard.wait(), 5)
            await phone.close()
            await _until(lambda: record(tmp_path)[-1]["event"] == "summary", 10)
    lines = record(tmp_path)
    assert [line["event"] for line in lines if line["who"] == "system"] == [
        "call",
        "answered",
        "hangup",
        "summary",
    ]
    said = next(line for line in lines if line["event"] == "said")
    assert said["interrupted"]
    assert said["text"]
    assert (lines[-1]["by"], lines[-1]["interruptions"]) == ("caller", 0)
    log = (tmp_path / "worker.log").read_text()
    messages = [json.loads(line)["message"] for line in log.splitlines() if line.startswith("{")]
    assert not [message for message in messages if "+1555" in message]
    assert "Traceback" not in log


async def test_a_process_that_dies_ends_its_call(url: str, tmp_path: Path):
    """kill -9 of the process that holds the call: the room goes, so that the telephone hears no silence."""
    async with serve() as providers:
        env = settings(url, providers, tmp_path)
        log = tmp_path / "worker.log"
        async with (
            program(sys.executable, "agent.py", "start", ready="registered worker", log=log, **env),
            telephone(url, "phone-agent") as phone,
        ):
            await asyncio.wait_for(phone.published.wait(), 10)
            await phone.answer()
            await asyncio.wait_for(phone.heard.wait(), 5)
            answered = [json.loads(line) for line in log.read_text().splitlines() if "call answered" in line]
            os.kill(answered[0]["pid"], signal.SIGKILL)
            await asyncio.wait_for(phone.over.wait(), 5)


async def test_a_caller_who_is_gone_before_the_agent_comes(url: str, tmp_path: Path):
    """BYE before the agent has joined: the job ends by itself, and no error is logged."""
    async with serve() as providers:
        env = settings(url, providers, tmp_path)
        log = tmp_path / "worker.log"
        async with program(sys.executable, "agent.py", "start", ready="registered worker", log=log, **env):
            async with telephone(url, "phone-agent"):
                await _until(lambda: "received job request" in log.read_text(), 5)
            await _until(lambda: "process exiting" in log.read_text(), 20)
        assert "Traceback" not in log.read_text()


async def test_the_example_of_an_own_session(url: str, tmp_path: Path):
    """A stranger's worker greets, hangs up after its goodbye, and the room is gone with it."""

    def answer(messages: list[dict[str, Any]]) -> Reply:
        return {"tool": "hang_up", "text": "Goodbye."}

    async with serve(Providers(answer=answer)) as providers:
        env = settings(url, providers, tmp_path) | {"OPENAI_BASE_URL": f"{providers.url}/v1"}
        command = (sys.executable, "examples/own_session.py", "dev")
        async with (
            program(*command, ready="registered worker", log=tmp_path / "worker.log", **env),
            telephone(url, "clinic") as phone,
        ):
            await asyncio.wait_for(phone.published.wait(), 20)
            await phone.answer()
            await asyncio.wait_for(phone.heard.wait(), 10)
            # Text into the room is a turn of the caller, too.
            await phone.room.local_participant.send_text("That is all.", topic="lk.chat")
            await asyncio.wait_for(phone.over.wait(), 15)
        assert "Traceback" not in (tmp_path / "worker.log").read_text()
    assert len((ROOT / "examples/own_session.py").read_text().splitlines()) < 60


async def test_wrong_keys_end_with_1(url: str, tmp_path: Path):
    """A server that refuses the keys is named at once, and not tried for minutes."""
    async with serve() as providers:
        env = settings(url, providers, tmp_path) | {"LIVEKIT_API_SECRET": "wrong" * 8}
        log = tmp_path / "worker.log"
        async with program(sys.executable, "agent.py", "start", ready="refuses", log=log, **env) as process:
            assert await asyncio.wait_for(process.wait(), 20) == 1
        assert "refuses LIVEKIT_API_KEY" in log.read_text()


async def test_a_taken_port_ends_with_1(url: str, tmp_path: Path):
    """The health check's port is somebody else's: said with the setting that changes it."""
    holder = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    async with serve() as providers, holder:
        env = settings(url, providers, tmp_path) | {"AGENT_HTTP_PORT": str(port)}
        log = tmp_path / "worker.log"
        async with program(sys.executable, "agent.py", "start", ready="taken", log=log, **env) as process:
            assert await asyncio.wait_for(process.wait(), 30) == 1
        assert "AGENT_HTTP_PORT" in log.read_text()
