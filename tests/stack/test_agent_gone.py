"""An agent that leaves without a word: nobody is left who could say goodbye or hang up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack.edge_kit import OFFER
from tests.stack.rig import Caller, rig

pytestmark = pytest.mark.stack


async def test_caller_is_hung_up_when_the_agent_is_gone(livekit_server: Path, tmp_path: Path) -> None:
    """BYE with a cause, and the record says why. It has no MOS: the phone of this test sends no audio."""
    async with (
        rig(livekit_server, tmp_path, SIP_ALONE_TIMEOUT="1") as stack,
        Caller(stack.sip_address) as phone,
    ):
        async with stack.talker("tone"):
            await phone.call(body=OFFER)
        bye = await phone.ends(5)
        assert "Q.850;cause=41" in bye.headers["Reason"]
        written = await stack.record()
    assert (written["ended_by"], written["reason"]) == ("room", "agent gone")
    assert (written["quality"]["packets"], written["quality"]["mos"]) == (0, None)
