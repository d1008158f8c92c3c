"""The gate that tells the caller from the agent's own echo."""

from __future__ import annotations

import numpy as np

from agent.turns.echo import EchoGate

FRAME, FRAME_S = 160, 0.02


def noise(dbfs: float, frames: int, seed: int = 1) -> list[bytes]:
    """Frames of 20 ms at 8 kHz at this level."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(FRAME * frames) * 32768 * 10 ** (dbfs / 20)
    return [samples[n * FRAME : (n + 1) * FRAME].astype(np.int16).tobytes() for n in range(frames)]


def passed(gate: EchoGate, frames: list[bytes], *, speaking: bool) -> float:
    """The share of the frames that passed."""
    return sum(gate.passes(pcm, FRAME_S, agent_speaking=speaking) for pcm in frames) / len(frames)


def test_an_echo_20_db_down_never_passes_and_the_caller_does() -> None:
    """The echo of an agent at -20 dBFS stays out for 5 s; then a caller at -24 dBFS is heard."""
    gate = EchoGate()
    assert passed(gate, noise(-40, 250), speaking=True) == 0
    assert passed(gate, noise(-24, 10), speaking=True) == 1


def test_a_quiet_caller_is_heard_on_a_line_without_echo() -> None:
    """After a second of a quiet line the gate lets a caller at -42 dBFS through."""
    gate = EchoGate()
    passed(gate, noise(-65, 50), speaking=True)
    assert passed(gate, noise(-42, 10), speaking=True) == 1


def test_while_the_agent_is_silent_everything_passes() -> None:
    """The gate is for overlaps alone; a whisper in the caller's own turn is heard."""
    assert passed(EchoGate(), noise(-60, 50), speaking=False) == 1


def test_the_gate_stays_for_the_tail_of_the_echo_and_then_opens() -> None:
    """The echo arrives after the agent has stopped, and no longer than 0.6 s."""
    gate = EchoGate()
    passed(gate, noise(-40, 100), speaking=True)
    assert passed(gate, noise(-40, 20), speaking=False) == 0
    passed(gate, noise(-40, 15), speaking=False)
    assert passed(gate, noise(-40, 20), speaking=False) == 1
