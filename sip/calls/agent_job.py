"""An agent that is called into a room by its name, and sent away again."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sip.errors import ApiError

if TYPE_CHECKING:
    from sip.api.live import Live

LOOK = 0.1
"""Seconds between looks."""
ARRIVAL = 3.0
"""Seconds that a job which was taken gets to arrive before it is sent away."""


class AgentJob:
    """One dispatch. `await AgentJob.dispatch(…)`, then `taken` or `joined`, at the end `dismiss`."""

    def __init__(self, live: Live, room: str, id: str) -> None:
        self._live, self._room, self._id = live, room, id
        self.identity = ""
        """The agent's participant, once a worker has taken the job."""
        self._arrived = False

    @classmethod
    async def dispatch(cls, live: Live, room: str, agent: str, metadata: str = "") -> AgentJob:
        """Ask for an agent; the room must exist."""
        from livekit import api

        request = api.CreateAgentDispatchRequest(agent_name=agent, room=room, metadata=metadata)
        made = await live.ask(live.api.agent_dispatch.create_dispatch(request), f"dispatching {agent}")
        return cls(live, room, made.id)

    async def taken(self, timeout: float) -> bool:
        """Whether a worker takes the job in time."""
        end = time.monotonic() + timeout
        while not await self._taken():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(LOOK)
        return True

    async def joined(self, timeout: float) -> bool:
        """Whether the agent is in the room in time. A job that was taken may still need its process."""
        end = time.monotonic() + timeout
        if not await self.taken(timeout):
            return False
        while not await self._present():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(LOOK)
        self._arrived = True
        return True

    async def dismiss(self) -> None:
        """Take the dispatch back, so that the room can be deleted.

        An agent that is still on its way is waited for: one that comes after its room was deleted makes the
        room anew, and stays in it.
        """
        with suppress(ApiError):  # whatever is wrong, the room is deleted next
            if not self._arrived and await self._taken():
                await self.joined(ARRIVAL)
            request = self._live.api.agent_dispatch.delete_dispatch(self._id, self._room)
            await self._live.ask(request, "taking the dispatch back")

    async def _taken(self) -> bool:
        from livekit.protocol import agent

        request = self._live.api.agent_dispatch.list_dispatch(self._room)
        for dispatch in await self._live.ask(request, "reading dispatches"):
            for job in dispatch.state.jobs if dispatch.id == self._id else ():
                if job.state.status in (agent.JobStatus.JS_RUNNING, agent.JobStatus.JS_SUCCESS):
                    self.identity = job.state.participant_identity or f"agent-{job.id}"
                    return True
        return False

    async def _present(self) -> bool:
        from livekit import api

        request = self._live.api.room.list_participants(api.ListParticipantsRequest(room=self._room))
        people = (await self._live.ask(request, "reading participants")).participants
        return any(each.identity == self.identity for each in people)
