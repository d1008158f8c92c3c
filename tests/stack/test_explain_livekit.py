"""`sip explain` and a real livekit-server say the same about trunks, rules and calls made by chance.

EXPLAIN_CASES and EXPLAIN_SEED make it longer, and another.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from livekit import api
from typer.testing import CliRunner, Result

from lab.processes import Supervisor
from lab.stack import Options, background
from sip.cli import build
from sip.dispatch.decide import Decision, decide
from sip.dispatch.explain import Call, Explanation, explain
from sip.local import LocalStack
from sip.model import InboundTrunk, Rule, State
from sip.service.bus.rpc import BusError
from tests.stack.dispatch_kit import Answer, Chance, Server
from tests.stack.rig import Rig

pytestmark = pytest.mark.stack

CASES = int(os.environ.get("EXPLAIN_CASES", "4000"))
SEED = int(os.environ.get("EXPLAIN_SEED", "20261121"))
CALLS = 25
"""Calls a state."""
AT_ONCE = 16
FIELDS = (
    "numbers", "allowed_addresses", "allowed_numbers", "digest", "trunk_ids", "rule numbers",
    "inbound_numbers", "pin",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A livekit-server and its store, without any service of ours."""
    directory = tmp_path_factory.mktemp("explain")
    options = Options(name="explain", directory=directory, service=False, agent=False, speech=False)
    with background(options) as local:
        yield local


@pytest_asyncio.fixture
async def server(stack: LocalStack) -> AsyncGenerator[Server]:
    """The same, to be asked."""
    url = stack.livekit_url.replace("ws", "http", 1)
    async with api.LiveKitAPI(url, stack.api_key, stack.api_secret) as livekit:
        server = await Server.connect(livekit, stack.redis_url)
        yield server
        await server.close()


@pytest.mark.timeout(120 + CASES // 20)
async def test_the_same_answer_for_every_call(server: Server) -> None:
    """Trunk, credentials, rule, room and identity, the refusals, and what a mend would change."""
    chance, counts = Chance(SEED), Counter[str]()
    turn = asyncio.Semaphore(AT_ONCE)

    async def compare(state: State, call: Call) -> tuple[Call, Explanation]:
        async with turn:
            assert_same(state, call, decide(state, call), await server.answer(call))
            first = last = await server.answer(replace(call, pin=None))
            if first.outcome == "pin" and call.pin is not None:
                last = await server.answer(call)
        found = explain(state, call)
        assert_same(state, call, found.decision, last)
        assert verdict(first, last, call) == general(found), (state, call)
        return call, found

    while counts["calls"] < CASES:
        state = await server.load(chance, straight=chance.maybe(0.2))
        calls = [chance.call(state) for _ in range(CALLS)]
        results = await asyncio.gather(*(compare(state, call) for call in calls))
        counts["calls"] += len(results)
        for _, found in results:
            counts.update({"reached": found.reaches, found.verdict: 1})
            counts.update(fields(found))
        for call, found in [each for each in results if each[1].mends][:3]:
            counts["mends"] += 1
            await assert_mended(server, state, call, found)
    counts["objects refused"] = server.refused
    sys.stdout.write(f"\nseed {SEED}: {dict(sorted(counts.items()))}\n")
    assert counts["reached"] >= 0.3 * counts["calls"]
    assert all(counts[f"field {name}"] >= 50 for name in FIELDS)
    assert min(counts["trunk conflict"], counts["rule conflict"], counts["mends"], server.refused) >= 50


def assert_same(state: State, call: Call, ours: Decision, theirs: Answer) -> None:
    """Every part of the answer that is not drawn by lot."""
    where = (state, call, ours, theirs)
    assert ours.outcome == theirs.outcome, where
    if ours.outcome in ("trunk conflict", "rule conflict", "bad source", "malformed"):
        return
    assert (ours.trunk.id if ours.trunk else "") == theirs.trunk, where
    assert (ours.rule.id if ours.rule else "") == theirs.rule, where
    assert (ours.user, ours.identity) == (theirs.user, theirs.identity), where
    tail = theirs.room.removeprefix(ours.room)
    assert theirs.room == ours.room + tail, where
    assert (len(tail) == 13 and tail[0] == "_") if ours.random else not tail, where


def verdict(first: Answer, last: Answer, call: Call) -> str:
    """What becomes of the call, from the server's answers alone."""
    if last.outcome in ("trunk conflict", "bad source", "rule conflict", "malformed"):
        # Whether the trunk asks for credentials first is not told beside an error.
        return last.outcome
    if first.user and first.user != call.digest:
        return "credentials"
    return last.outcome


def general(found: Explanation) -> str:
    """The verdict in the server's words."""
    if found.decision.outcome in ("rule conflict", "malformed"):
        return found.decision.outcome
    match found.verdict:
        case "credentials asked" | "wrong user":
            return "credentials"
        case "PIN asked":
            return "pin"
        case "wrong PIN" | "refused" | "no trunk" | "no rule":
            return "nothing"
        case other:
            return other


def fields(found: Explanation) -> Counter[str]:
    """The fields that keep a call out, of the nearest trunk or rule."""
    if found.verdict in ("credentials asked", "wrong user"):
        return Counter(["field digest"])
    if found.verdict in ("PIN asked", "wrong PIN"):
        return Counter(["field pin"])
    if found.verdict not in ("refused", "no trunk", "no rule"):
        return Counter()
    if not found.decision.trunk:
        return Counter(f"field {failure.field}" for each in found.trunks[:1] for failure in each.failures)
    names = [failure.field for each in found.rules[:1] for failure in each.failures]
    return Counter("field rule numbers" if name == "numbers" else f"field {name}" for name in names)


async def assert_mended(server: Server, state: State, call: Call, found: Explanation) -> None:
    """With the mends the server takes the call. (It is left with the state that they make.)"""
    mended = state
    for mend in found.mends:
        mended = mend.applied(mended)
    await server.store(mended)
    answer = await server.answer(replace(call, pin=None))
    assert answer.outcome in ("room", "pin"), (state, call, found.mends)
    assert answer.trunk, (state, call, found.mends)


def test_the_command_leads_a_call_in(stack: LocalStack) -> None:
    """`sip explain` of a live server proposes commands; once they were run, the call reaches a room."""

    async def make() -> None:
        url = stack.livekit_url.replace("ws", "http", 1)
        async with api.LiveKitAPI(url, stack.api_key, stack.api_secret) as livekit:
            server = await Server.connect(livekit, stack.redis_url)
            await server.store(
                State(
                    (InboundTrunk("my carrier", "ST_1", ("+15550100",), ("203.0.113.0/24",)),),
                    rules=(
                        Rule("agent", "SDR_1", "direct", "desk", trunks=("ST_1",), numbers=("15550100",)),
                    ),
                )
            )
            await server.close()

    def sip_command(*arguments: str) -> Result:
        return CliRunner().invoke(build(), [*arguments, "--stack", stack.name])

    asyncio.run(make())
    question = ("explain", "--from", "+15550199", "--to", "+15550100", "--source", "198.51.100.7")
    refused = sip_command(*question, "--json")
    assert refused.exit_code == 1, refused.output
    document = json.loads(refused.stdout)
    assert (document["verdict"], document["trunk"]) == ("refused", None)
    commands = [mend["command"] for mend in document["mends"]]
    assert commands == [
        "sip trunk inbound update 'my carrier' --add-allowed-address 198.51.100.7",
        "sip rule update agent --add-number +15550100 --remove-number 15550100",
    ]
    for command in commands:
        done = sip_command(*shlex.split(command)[1:])
        assert done.exit_code == 0, (command, done.output)
    taken = sip_command(*question)
    assert taken.exit_code == 0, taken.output
    assert taken.stdout.startswith("The call reaches room desk: trunk my carrier, rule agent")


async def test_a_caller_without_user_ends_the_server(livekit_server: Path, tmp_path: Path) -> None:
    """Where a rule hides numbers: our word `crash` is true of this version."""
    state = State(
        (InboundTrunk("carrier", "ST_1", numbers=("+15550100",)),),
        rules=(Rule("hidden", "SDR_1", trunks=("ST_1",), hide_phone_number=True),),
    )
    call = Call("192.0.2.7", "", "+15550100")
    assert decide(state, call).outcome == "crash"
    assert decide(state, replace(call, caller="7")).outcome == "room"
    async with Supervisor() as supervisor:
        rig = Rig(supervisor, livekit_server, tmp_path)
        await rig.start_store()
        await rig.start_server()
        async with rig.api() as livekit:
            server = await Server.connect(livekit, rig.redis_url)
            await server.store(state)
            assert (await server.answer(replace(call, caller="7"))).outcome == "room"
            with pytest.raises(BusError):
                await server.answer(call)
        async with asyncio.timeout(10):
            assert await rig.server.exited != 0
        await server.close()
