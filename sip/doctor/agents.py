"""Agents of the rules: does a worker take their jobs?

livekit-server lists no workers. So each agent is called into an empty room for a moment: a job that is taken
is the proof. Nobody speaks there, and the room is removed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence

from sip.calls.agent_job import AgentJob
from sip.doctor.context import CannotRun, Context
from sip.errors import SipError
from sip.finding import Finding
from sip.model import Rule, State

TAKEN = 6.0
"""Seconds for a worker to take the job; livekit-server asks a worker at most so long."""
METADATA = json.dumps({"probe": "sip doctor"})
"""Of the probe's job, so that a worker may refuse it."""


async def workers(context: Context) -> Sequence[Finding]:
    """Each agent that a rule names, and the unnamed one that rules without an agent wait for."""
    state = await context.state()
    if not state.rules:
        raise CannotRun("there are no rules")
    wanted: dict[str, list[Rule]] = {}
    for rule in state.rules:
        for name in [agent.name for agent in rule.agents] or [""]:
            wanted.setdefault(name, []).append(rule)
    if not context.probe:
        raise CannotRun(f"not asked for (--no-probe): {len(wanted)} agent(s)")
    found = await asyncio.gather(*(_agent(context, name, rules, state) for name, rules in wanted.items()))
    return [finding for findings in found for finding in findings]


async def _agent(context: Context, name: str, rules: list[Rule], state: State) -> list[Finding]:
    listed = ", ".join(rule.name or rule.id for rule in rules)
    taken = await _probe(context, name)
    if taken:
        if name:
            return [Finding("agent-worker", "info", f"A worker took a job of the agent {name}.", "", listed)]
        return []
    if not name:
        return [
            Finding(
                "rule-without-agent",
                "error",
                "The rule names no agent, and no worker takes jobs without a name: its calls ring until they"
                " are given up.",
                f"sip rule update {listed.partition(',')[0]} --agent NAME",
                listed,
            )
        ]
    here = context.stack.agent_name if context.stack else context.settings.get("AGENT_NAME", "")
    other = here if here and here != name else ""
    why = f" The worker here is named {other}." if other else " None runs under this name, or all are full."
    mend = f"AGENT_NAME={name} python agent.py start"
    if other:
        mend = (
            f"sip rule update {listed.partition(',')[0]} --agent {other}; or AGENT_NAME={name} for the worker"
        )
    return [
        Finding(
            "agent-without-worker",
            "error",
            f"No worker takes jobs of the agent {name}: calls of the rule ring until they are given up.{why}",
            mend,
            listed,
        )
    ]


async def _probe(context: Context, name: str) -> bool:
    from livekit import api

    live, room = context.live, f"sip-doctor-{secrets.token_hex(4)}"
    request = api.CreateRoomRequest(name=room, empty_timeout=30, departure_timeout=2, metadata=METADATA)
    await context.ask(live.api.room.create_room(request), "making a room")
    job: AgentJob | None = None
    try:
        job = await AgentJob.dispatch(live, room, name, METADATA)
        return await job.taken(TAKEN)
    except SipError as error:
        raise CannotRun(str(error)) from error
    finally:
        if job:
            await job.dismiss()
        await asyncio.shield(
            context.ask(live.api.room.delete_room(api.DeleteRoomRequest(room=room)), "removing the room")
        )
