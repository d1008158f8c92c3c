"""Turn-taking with the real plugins against the local speech servers: one caller, one session, real time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator

import aiohttp
import pytest
import pytest_asyncio

from agent.turns import turn_options
from bench.corpus import LECTURES, Case
from bench.turn_cases import Outcome, Policies, Servers, run_case, understood


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def addresses() -> AsyncGenerator[dict[str, str], None]:
    """Speech servers on a free port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lab.speech", "--log-level", "warning", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    ready = (await process.stdout.readline()).decode()
    assert ready.startswith("READY "), ready
    yield json.loads(ready.removeprefix("READY "))
    process.terminate()
    await process.wait()


@pytest.fixture(scope="module")
def policies() -> Policies:
    """Voice detectors, loaded once."""
    return Policies(turn_options)


async def played(case: Case, addresses: dict[str, str], policies: Policies) -> Outcome:
    """What came of a case."""
    servers = Servers(addresses["deepgram"], addresses["openai"], addresses["cartesia"])
    async with aiohttp.ClientSession() as http:
        return await run_case(case, "ours", policies, servers, http)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_finished_question_is_understood_and_answered(
    addresses: dict[str, str], policies: Policies
) -> None:
    """The agent hears the whole question and does not speak before its end."""
    case = Case("question", "finished", text="What time do you open on Sundays?")
    outcome = await played(case, addresses, policies)
    assert outcome.answered
    assert understood(case, outcome)
    assert not outcome.talked_into


@pytest.mark.asyncio(loop_scope="module")
async def test_a_number_is_read_out_with_pauses_and_not_talked_into(
    addresses: dict[str, str], policies: Policies
) -> None:
    """Two pauses of a second inside a telephone number stay one turn."""
    case = Case(
        "number",
        "pause",
        text="Five five five, | oh one nine two, | seven three four.",
        asked="What is your phone number?",
        pause_s=1.0,
    )
    outcome = await played(case, addresses, policies)
    assert not outcome.talked_into, outcome.heard
    assert outcome.answered
    assert len(outcome.heard) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_words_stop_the_agent_for_good(addresses: dict[str, str], policies: Policies) -> None:
    """After "no, no, hold on" the speech is over and not taken up again."""
    case = Case("stop", "stop", text="No, no, hold on.", asked=LECTURES[0])
    outcome = await played(case, addresses, policies)
    assert outcome.stopped
    assert outcome.barge_in_ms is not None
    assert outcome.barge_in_ms < 1000


@pytest.mark.asyncio(loop_scope="module")
async def test_an_okay_pauses_the_agent_at_most(addresses: dict[str, str], policies: Policies) -> None:
    """The speech goes on after a backchannel, and no turn was made of it."""
    case = Case("okay", "aside", text="Okay.", asked=LECTURES[1])
    outcome = await played(case, addresses, policies)
    assert not outcome.stopped
    assert outcome.heard == []
    assert outcome.held_ms < 2500


@pytest.mark.asyncio(loop_scope="module")
async def test_the_agents_echo_does_not_stop_it(addresses: dict[str, str], policies: Policies) -> None:
    """Its own voice, 20 dB down and 200 ms late, is not a caller."""
    case = Case("echo", "aside", sound="echo", asked=LECTURES[0], echo=True)
    outcome = await played(case, addresses, policies)
    assert not outcome.stopped
    assert outcome.heard == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stop_holds_while_the_recogniser_is_slow(
    addresses: dict[str, str], policies: Policies
) -> None:
    """Words that arrive 0.6 s late still end the speech, and the agent is silent until they do."""
    fault = {"latency": 600}
    async with aiohttp.ClientSession() as http:
        async with http.put(f"{addresses['url']}/admin/faults/deepgram", json=fault) as response:
            assert response.status == 200, await response.text()
        try:
            case = Case("slow", "stop", text="Wait a second, please.", asked=LECTURES[0])
            outcome = await played(case, addresses, policies)
        finally:
            await http.delete(f"{addresses['url']}/admin/faults/deepgram")
    assert outcome.stopped
    assert outcome.barge_in_ms is not None
    assert outcome.barge_in_ms < 1000
