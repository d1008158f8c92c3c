"""How many calls are on each trunk now, read from the rooms of a LiveKit server."""

from __future__ import annotations

import asyncio
from collections import Counter

from livekit import api
from livekit.protocol.models import ParticipantInfo

from sip.api.live import Live

TRUNK = "sip.trunkID"
"""Attribute of a SIP participant (livekit-sip)."""
_AT_ONCE = 20


async def calls_by_trunk(live: Live) -> dict[str, int]:
    """`{trunk id: calls}`, both directions. Raises `ApiError` when the rooms cannot be read."""
    rooms = await live.ask(live.api.room.list_rooms(api.ListRoomsRequest()), "reading rooms")
    slots = asyncio.Semaphore(_AT_ONCE)

    async def trunks(room: str) -> list[str]:
        async with slots:
            request = api.ListParticipantsRequest(room=room)
            answer = await live.ask(live.api.room.list_participants(request), "reading participants")
        callers = (each for each in answer.participants if each.kind == ParticipantInfo.Kind.SIP)
        return [each.attributes[TRUNK] for each in callers if each.attributes.get(TRUNK)]

    found = await asyncio.gather(*(trunks(room.name) for room in rooms.rooms))
    return dict(Counter(trunk for each in found for trunk in each))
