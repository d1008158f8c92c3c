"""The doctor's caller: one short call, and what came of it. No model is loaded: it says nothing itself, and
hears that there is speech, not which."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from lab.caller import parse_script, place_call
from sip.doctor.trial_call import Placed

SCRIPT = """
about: The doctor calls, hears the agent begin, and hangs up.
steps:
  - wait_for_speech: {within: 20}
  - pause: 500
  - hang_up
"""
RINGS = 30.0
"""Seconds until it gives up."""


async def call(number: str, address: str) -> Placed:
    """Call `number` at `address` (`host:port`) over UDP."""
    with tempfile.TemporaryDirectory(prefix="sip-doctor-") as folder:
        script = parse_script(SCRIPT, "the doctor's call", Path(folder))
        uri = f"sip:{number}@{address}"
        result = await place_call(script, uri, Path(folder), ring=RINGS, speaker=_NoModel(), ears=_NoModel())
    heard = next((each.start for each in result.heard), None)
    rang = any(message.code == 180 for message in result.sip)
    gave_up = result.answered is None and result.end.code == 487
    return Placed(
        code=408 if gave_up and rang else 0 if gave_up else result.end.code,
        reason="" if gave_up else result.end.reason,
        answered=result.answered,
        spoke=None if heard is None or result.answered is None else max(0.0, heard - result.answered),
    )


class _NoModel:
    """In place of a voice and of ears: the script has no words, and those of the agent do not matter."""

    def speak(self, text: str, rate: int, voice: str) -> NDArray[np.int16]:
        """Nothing."""
        return np.zeros(0, np.int16)

    def transcribe(self, pcm16: NDArray[np.int16], rate: int) -> SimpleNamespace:
        """No words."""
        return SimpleNamespace(text="")
