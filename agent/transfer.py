"""Cold transfer: the caller is handed over by REFER and leaves the room.

Usable in anybody's worker: `await transfer("sip:desk@pbx.example", session)`. Whom to transfer is always the
session's linked participant, never an argument that a language model could fill.
"""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
from google.protobuf.duration_pb2 import Duration
from livekit import api, rtc
from livekit.agents import AgentSession, JobContext, get_job_context

from agent.errors import TransferError
from agent.hangup import expect_end, hangup_soon

logger = logging.getLogger(__name__)

RINGING_TIMEOUT = 30.0
"""Seconds that the other end may ring."""


async def transfer(
    to: str,
    session: AgentSession[Any],
    *,
    ctx: JobContext | None = None,
    reason: str = "transferred",
    ringing_timeout: float = RINGING_TIMEOUT,
    headers: dict[str, str] | None = None,
) -> None:
    """Hand the caller over to a `sip:`, `sips:` or `tel:` address and end the job.

    Returns when the far end has taken the call. Raises `TransferError` when it did not; the talk can then
    go on.
    """
    ctx = ctx or get_job_context()
    participant = caller_of(session)
    if ctx.is_fake_job() or participant is None:
        raise TransferError("nobody is on the line who could be transferred")
    if participant.kind != rtc.ParticipantKind.PARTICIPANT_KIND_SIP:
        raise TransferError("the caller cannot be transferred", "it is no telephone call")
    request = api.TransferSIPParticipantRequest(
        room_name=ctx.room.name,
        participant_identity=participant.identity,
        transfer_to=to,
        play_dialtone=True,
        ringing_timeout=Duration(seconds=int(ringing_timeout)),
        headers=headers or {},
    )
    # The leg may be gone before the answer of this request arrives.
    expect_end(ctx, "agent", reason)
    try:
        await ctx.api.sip.transfer_sip_participant(request)
    except api.SipCallError as error:
        expect_end(ctx, "agent", "")
        code = error.sip_status_code or 0
        why = f"{code} {error.sip_status or ''}".strip() if code else error.code
        raise TransferError("the transfer failed", why, sip_code=code, gone=_gone(ctx, participant)) from None
    except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
        expect_end(ctx, "agent", "")
        raise TransferError("the transfer failed", repr(error), gone=_gone(ctx, participant)) from error
    logger.info("caller transferred")
    hangup_soon(session, ctx=ctx, reason=reason)


def caller_of(session: AgentSession[Any]) -> rtc.RemoteParticipant | None:
    """The participant whom this session listens to; None in the console or when he has left."""
    try:
        return session.room_io.linked_participant
    except RuntimeError:  # started without a room
        return None


def _gone(ctx: JobContext, participant: rtc.RemoteParticipant) -> bool:
    return participant.identity not in ctx.room.remote_participants
