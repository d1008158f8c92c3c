"""`sip doctor` on a real stack: nothing to complain of while it is well, the right word once it is not."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from livekit import api
from typer.testing import CliRunner

from sip.api.connect import Target
from sip.api.live import Live
from sip.cli import build
from sip.doctor import CHECKS, Context, Report, run
from sip.finding import Finding
from sip.local import LocalStack
from sip.model import AgentDispatch
from tests.stack.rig import Rig, rig

pytestmark = pytest.mark.stack


@asynccontextmanager
async def opened(stack: LocalStack, **fields: Any) -> AsyncGenerator[Context]:
    """The doctor's view of a stack."""
    target = Target(stack.livekit_url, stack.api_key, stack.api_secret, "test")
    async with Live(target) as live:
        yield Context(target, live, stack, **fields)


async def report(stack: LocalStack, directory: Path, **fields: Any) -> Report:
    """One run on a stack."""
    async with opened(stack, directory=directory, **fields) as context:
        return await run(context)


def bad(report: Report) -> dict[str, Finding]:
    """What is complained of, by name."""
    return {each.name: each for each in report.findings if each.severity in ("error", "warning")}


def test_healthy_stack(stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy stack gets exit code 0, no complaint, and a test call that the agent answered."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(build(), ["doctor", "--call", "--json", "--stack", stack.name])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    by_name = {each["name"]: each for each in data["findings"]}
    assert not [each for each in data["findings"] if each["severity"] in ("error", "warning")]
    assert data["works"]
    for name in (
        "livekit-api",
        "clock",
        "redis",
        "sip-service",
        "routing",
        "agents",
        "providers",
        "test-call",
    ):
        assert by_name[name]["severity"] == "ok", by_name[name]
    assert "Answered after" in by_name["test-call-times"]["what"]


async def test_probe_leaves_nothing(stack: LocalStack, tmp_path: Path) -> None:
    """The rooms into which agents are called are gone afterwards."""
    async with opened(stack, directory=tmp_path) as context:
        await run(context, [check for check in CHECKS if check.name == "agents"])
        rooms = (await context.live.api.room.list_rooms(api.ListRoomsRequest())).rooms
        assert not [room.name for room in rooms if room.name.startswith("sip-doctor-")]


async def test_broken_rules(stack: LocalStack, tmp_path: Path) -> None:
    """A rule whose agent has no worker, and a trunk without a rule, are told with what mends them."""
    async with opened(stack, directory=tmp_path) as context:
        live = context.live
        (rule,) = await live.list("rule")
        renamed = await live.update(rule, replace(rule, agents=(AgentDispatch("nobody"),)))
        found = bad(await report(stack, tmp_path))
        assert set(found) == {"agent-without-worker"}
        assert "nobody" in found["agent-without-worker"].what
        assert stack.agent_name in found["agent-without-worker"].mend
        await live.delete(renamed)
        assert set(bad(await report(stack, tmp_path, probe=False))) == {"no-rules"}
        await live.create(replace(rule, id=""))
        assert not bad(await report(stack, tmp_path))


async def test_wrong_secret(stack: LocalStack, tmp_path: Path) -> None:
    """A wrong secret is one finding; what needs the API is skipped, with the reason."""
    wrong = replace(stack, api_secret="x" * 40)
    found = await report(wrong, tmp_path)
    assert set(bad(found)) == {"livekit-key-refused"}
    skipped = {each.name: each.what for each in found.findings if each.severity == "skipped"}
    assert "does not answer" in skipped["routing"]


async def test_silent_service(stack: LocalStack, tmp_path: Path) -> None:
    """A SIP service that does not answer is told with its address."""
    found = bad(await report(stack, tmp_path, sip_address="127.0.0.1:9"))
    assert "127.0.0.1:9" in found["sip-service-silent"].what


async def test_parts_die(livekit_server: Path, tmp_path: Path) -> None:
    """A worker that is not there, and service, store and server that die one by one, are each told."""
    async with rig(livekit_server, tmp_path) as made:
        stack = _as_stack(made)
        empty = tmp_path / "empty"
        empty.mkdir()
        assert "redis-unreachable" not in bad(await report(stack, empty, probe=False))
        await made.number("desk", "desk", agent="phone-agent")
        assert "agent-without-worker" in bad(await report(stack, empty))
        await made.service.stop()
        assert {"sip-service-silent"} <= set(bad(await report(stack, empty, probe=False)))
        await made.store.stop()
        assert {"sip-service-silent", "redis-unreachable"} <= set(
            bad(await report(stack, empty, probe=False))
        )
        await made.server.stop()
        found = bad(await report(stack, empty, probe=False))
        assert {"livekit-unreachable", "sip-service-silent", "redis-unreachable"} <= set(found)


def _as_stack(made: Rig) -> LocalStack:
    return LocalStack(
        name="rig",
        pid=1,
        directory=str(made.directory),
        livekit_url=made.url,
        api_key=made.key,
        api_secret=made.secret,
        redis_url=made.redis_url,
        sip_address=made.sip_address,
        speech_url="",
        agent_name="",
        numbers=("tone",),
    )
