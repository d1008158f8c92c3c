"""What the record of a call says of the RTP that was received."""

from __future__ import annotations

import pytest
from baresip import CallStats

from sip.service.media.near_leg import summarise


def test_rating_of_what_was_received() -> None:
    """Loss is of what was sent to us, MOS that of the E-model."""
    found = summarise(CallStats(rx_packets=990, rx_lost=10, rx_jitter_ms=1.234, rtt_ms=20.0), "PCMU")
    assert (found["packets"], found["lost"], found["loss_pct"], found["jitter_ms"]) == (990, 10, 1.0, 1.23)
    assert found["mos"] == pytest.approx(4.3, abs=0.1)


def test_nothing_received_is_not_rated() -> None:
    """A call without a packet has no quality: a good MOS would hide one-way audio."""
    found = summarise(CallStats(), "PCMU")
    assert (found["packets"], found["mos"], found["r"]) == (0, None, None)
