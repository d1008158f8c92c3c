"""`sip call`, `sip calls`, `sip transfer`, `sip hangup` against a real livekit-server, service and worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from sip.api.connect import Target
from sip.api.live import Live
from sip.calls.current import Transferred, busy, choose, hang_up, on_line, transfer
from sip.calls.outgoing import Event, Order, Outcome, place
from sip.errors import SipError
from sip.local import LocalStack
from sip.model import OutboundTrunk
from tests.stack.callee_kit import Callee, Manner, Refer

pytestmark = pytest.mark.stack


@asynccontextmanager
async def line(stack: LocalStack, address: str, name: str) -> AsyncGenerator[tuple[Live, OutboundTrunk]]:
    """A trunk to a far end, gone afterwards."""
    target = Target(stack.livekit_url, stack.api_key, stack.api_secret, "test")
    async with Live(target) as live:
        trunk = await live.create(OutboundTrunk(name=name, address=address, numbers=("+15550111",)))
        try:
            yield live, trunk
        finally:
            await live.delete(trunk)


async def rooms(live: Live) -> set[str]:
    """Names of all rooms."""
    return {room.name for room in (await live.api.room.list_rooms(api.ListRoomsRequest())).rooms}


async def placed(
    stack: LocalStack, manner: Manner, **fields: Any
) -> tuple[Outcome, list[str], Callee, set[str]]:
    """A call to a far end of this manner that is followed to its answer: outcome, events, rooms left."""
    events: list[Event] = []
    async with Callee(manner) as callee, line(stack, callee.address, "out") as (live, trunk):
        order = Order("+15550123", trunk, stack.agent_name, **fields)
        outcome = await place(live, order, events.append, "answered")
        left = await rooms(live)
        if outcome.answered:
            await live.api.room.delete_room(api.DeleteRoomRequest(room=outcome.room))
            await asyncio.wait_for(callee.ended.wait(), 5)
    return outcome, [event.name for event in events], callee, left


async def test_answered_by_a_far_end(stack: LocalStack) -> None:
    """The agent is there before anybody is dialled; ringing and answer are reported as they come."""
    outcome, events, callee, left = await placed(stack, "answer", headers={"X-Order": "42"})
    assert events == ["room", "agent", "dialling", "ringing", "answered"]
    assert (outcome.answered, outcome.code) == (True, 200)
    assert outcome.room in left
    assert callee.invite and callee.invite.headers["X-Order"] == "42"


async def test_busy(stack: LocalStack) -> None:
    """A busy far end is told with its code and meaning, and the room is gone."""
    outcome, events, _, left = await placed(stack, "busy")
    assert (outcome.answered, outcome.code) == (False, 486)
    assert outcome.why == "486 Busy Here: the callee is busy"
    assert events[-1] == "failed"
    assert outcome.room not in left


@pytest.mark.parametrize("limit", [None, 0.5])
async def test_nobody_answers(
    stack: LocalStack, limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A far end that only rings is given up in time, waited for in one request or watched."""
    if limit is not None:  # what ringing times of more than 70 s get
        monkeypatch.setattr("sip.calls.outgoing.WAITED", limit)
    outcome, events, callee, left = await placed(stack, "ring", ring_timeout=2)
    assert not outcome.answered
    assert events[-2:] == ["ringing", "failed"]
    assert outcome.why
    assert outcome.room not in left
    assert "CANCEL" in callee.requests


async def test_no_worker(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker for the agent nobody is called, and the room is gone."""
    monkeypatch.setattr("sip.calls.outgoing.AGENT_TIMEOUT", 1.0)
    async with Callee() as callee, line(stack, callee.address, "out") as (live, trunk):
        with pytest.raises(SipError, match="no worker took the job of the agent 'nobody'"):
            await place(live, Order("+15550123", trunk, "nobody"), lambda _: None)
        assert not await rooms(live)
    assert callee.invite is None


async def test_agent_speaks_once_answered(stack: LocalStack) -> None:
    """Our own worker greets an outbound call after its answer; it is listed, and hung up cleanly."""
    async with Callee() as callee, line(stack, callee.address, "speaks") as (live, trunk):
        outcome = await place(
            live, Order("+15550123", trunk, stack.agent_name), lambda _: None, until="answered"
        )
        await asyncio.wait_for(callee.spoken.wait(), 15)
        call = choose(await on_line(live), outcome.room)
        assert (call.direction, call.status, call.far) == ("outbound", "active", "+15550123")
        assert (call.trunk_id, call.agents) == (trunk.id, (stack.agent_name,))
        assert await busy(live) == {trunk.id: 1}
        assert choose(await on_line(live), call.call_id[:8]) == call
        assert await hang_up(live, call)
        await asyncio.wait_for(callee.ended.wait(), 5)
        assert callee.requests[-1] == "BYE"
        assert not await hang_up(live, call)


@pytest.mark.parametrize(
    ("manner", "outcome", "code"),
    [("arrives", "transferred", 200), ("fails", "failed", 486), ("hangs up", "ended", 0)],
)
async def test_transfer(stack: LocalStack, manner: Refer, outcome: str, code: int) -> None:
    """A transfer is a success only when the far end says so; a refusal has its code, and the call goes on."""
    records = Path(stack.directory) / "records"
    async with Callee(refer=manner) as callee, line(stack, callee.address, "refer") as (live, trunk):
        made = await place(live, Order("100", trunk, stack.agent_name), lambda _: None, until="answered")
        call = choose(await on_line(live), made.room)
        told: Transferred = await transfer(live, call, "sip:desk@pbx.example", records=records)
        assert (told.outcome, told.code) == (outcome, code)
        if manner == "fails":
            assert [each.room for each in await on_line(live)] == [made.room]
        if manner == "hangs up":  # without the record nobody can tell
            assert "never said" in told.why
        if made.room in await rooms(live):
            await live.api.room.delete_room(api.DeleteRoomRequest(room=made.room))


async def test_transfer_without_a_record(stack: LocalStack) -> None:
    """Where only the API can be asked, a call that is over when it answers is no proof of a transfer."""
    async with Callee(refer="hangs up") as callee, line(stack, callee.address, "refer") as (live, trunk):
        made = await place(live, Order("100", trunk, stack.agent_name), lambda _: None, until="answered")
        told = await transfer(live, choose(await on_line(live), made.room), "sip:desk@pbx.example")
        assert told.outcome == "unconfirmed"


async def test_own_room_stays(stack: LocalStack) -> None:
    """A room that the user named is not removed when the dial fails."""
    async with Callee("busy") as callee, line(stack, callee.address, "own") as (live, trunk):
        await live.api.room.create_room(api.CreateRoomRequest(name="own", empty_timeout=60))
        outcome = await place(live, Order("100", trunk, room="own"), lambda _: None)
        assert outcome.code == 486
        assert "own" in await rooms(live)
        await live.api.room.delete_room(api.DeleteRoomRequest(room="own"))


async def test_not_waited_for(stack: LocalStack) -> None:
    """A call that is not waited for rings on by itself."""
    async with Callee("ring") as callee, line(stack, callee.address, "free") as (live, trunk):
        made = await place(live, Order("100", trunk, stack.agent_name), lambda _: None, until="dialled")
        await asyncio.wait_for(callee.invited.wait(), 5)
        callee.answer()
        await asyncio.wait_for(callee.spoken.wait(), 15)
        assert await hang_up(live, choose(await on_line(live), made.room))
        await asyncio.wait_for(callee.ended.wait(), 5)


async def run(stack: LocalStack, *arguments: str) -> asyncio.subprocess.Process:
    """The command line, for this stack."""
    command = [sys.executable, "-m", "sip.cli", *arguments, "--stack", stack.name]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env={**os.environ})


async def test_commands(stack: LocalStack) -> None:
    """The commands: a call is placed, listed with its number masked, and hung up by its row."""
    async with Callee() as callee, line(stack, callee.address, "only"):
        calling = await run(stack, "call", "+15550123")
        await asyncio.wait_for(callee.acked.wait(), 30)
        listing = await run(stack, "calls")
        listed = (await listing.communicate())[0].decode()
        assert "+15…23" in listed and "+15550123" not in listed and "only" in listed
        data = json.loads((await (await run(stack, "calls", "--json", "--numbers")).communicate())[0])
        assert data[0]["far"] == "+15550123"
        ending = await run(stack, "hangup", "1")
        assert b"ended SCL_" in (await ending.communicate())[0]
        out = (await asyncio.wait_for(calling.communicate(), 10))[0].decode()
        assert [word for word in ("dialling", "ringing", "answered", "ended") if word in out] == [
            "dialling", "ringing", "answered", "ended",
        ]  # fmt: skip
        assert calling.returncode == 0


async def test_interrupted(stack: LocalStack) -> None:
    """Ctrl-C while it rings hangs up: the far end gets CANCEL, and the room is gone."""
    async with Callee("ring") as callee, line(stack, callee.address, "only") as (live, _):
        calling = await run(stack, "call", "+15550123")
        await asyncio.wait_for(callee.invited.wait(), 30)
        calling.send_signal(signal.SIGINT)
        await asyncio.wait_for(callee.ended.wait(), 5)
        await asyncio.wait_for(calling.communicate(), 10)
        assert calling.returncode == 1
        assert "CANCEL" in callee.requests
        assert not await rooms(live)
