"""What ends a call that stands."""

from __future__ import annotations

from typing import Any

import pytest

from sip.service.control import CallSpec, RoomSpec
from sip.service.media.limits import Limits

START = 1000.0


def limits(**changes: Any) -> Limits:
    """Limits of a call that became active at `START`."""
    values: dict[str, Any] = {
        "key": "k",
        "call_id": "SCL_k",
        "direction": "inbound",
        "room": RoomSpec("", "", "room"),
        "ringing_timeout": 0.0,
        "max_call_duration": 0.0,
        "media_timeout": 0.0,
        "media_timeout_initial": 0.0,
    }
    return Limits(CallSpec(**(values | changes)), START)


def ask(
    call: Limits, second: float, *, heard: float | None = None, held: bool = False, alone: bool = False
) -> str:
    """What the limits say so many seconds after the start."""
    heard_at = None if heard is None else START + heard
    return call.reached(START + second, heard_at=heard_at, held=held, alone=alone)


def test_a_call_without_limits_goes_on() -> None:
    """0 means never, for each of them."""
    call = limits(alone_timeout=0.0)
    assert ask(call, 0, alone=True) == ask(call, 1e6, alone=True) == ""


def test_alone() -> None:
    """The time counts from when the last one left, and again from the start once somebody was there."""
    call = limits(alone_timeout=15.0)
    assert ask(call, 5) == ""
    assert ask(call, 10, alone=True) == ask(call, 24.9, alone=True) == ""
    assert ask(call, 24.95) == ""
    assert ask(call, 25.5, alone=True) == ask(call, 40, alone=True) == ""
    assert ask(call, 40.5, alone=True) == "agent gone"


@pytest.mark.parametrize(("heard", "second"), [(None, 30.0), (4.0, 19.0)])
def test_no_media(heard: float | None, second: float) -> None:
    """The first packet may take longer than the next one; while the far end holds the call nothing counts."""
    call = limits(media_timeout=15.0, media_timeout_initial=30.0)
    assert ask(call, second - 1, heard=heard) == ""
    assert ask(call, second - 0.5, heard=heard, held=True) == ""
    assert ask(call, second, heard=heard) == ""
    assert ask(call, second + 30, heard=heard) == "media_timeout"


def test_time_is_over() -> None:
    """The longest duration of a call counts from its answer."""
    call = limits(max_call_duration=60.0)
    assert ask(call, 59.9) == ""
    assert ask(call, 60) == "max_call_duration"
