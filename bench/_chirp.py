"""A short sweep that is found again in what comes back: how long audio takes is measured with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 8_000
LENGTH_S = 0.1
PERIOD_S = 0.9
"""Between two sweeps: the longest round trip that can be told."""
FIRST_S = 0.3
LOUD = 12_000
FOUND = 0.5
"""Normalised correlation from which a sweep counts as heard."""

Samples = NDArray[np.int16]


def sweep() -> Samples:
    """400 to 2,600 Hz in 100 ms, with soft edges: its correlation has one sharp peak."""
    time = np.arange(int(LENGTH_S * RATE)) / RATE
    phase = 2 * np.pi * (400 * time + 11_000 * time**2)
    return (LOUD * np.sin(phase) * np.hanning(len(time))).astype(np.int16)


def program(seconds: float) -> tuple[Samples, list[float]]:
    """What a caller says: quiet noise, as on any line, with sweeps; and when they begin, in seconds."""
    noise = np.random.default_rng(1).normal(0, 30, int(seconds * RATE)).astype(np.int16)
    begins = [float(at) for at in np.arange(FIRST_S, seconds - PERIOD_S, PERIOD_S)]
    for begin in begins:
        at = int(begin * RATE)
        noise[at : at + int(LENGTH_S * RATE)] += sweep()
    return noise, begins


def find(heard: Samples, after: int, before: int) -> int | None:
    """Index of the first sample of the sweep in `heard[after:before]`; None when it is not there."""
    wanted = sweep().astype(float)
    part = heard[after : before + len(wanted)].astype(float)
    if len(part) < len(wanted):
        return None
    products = np.correlate(part, wanted, "valid")
    energy = np.convolve(part**2, np.ones(len(wanted)), "valid") * np.sum(wanted**2)
    likeness = np.abs(products) / np.sqrt(energy + 1)
    best = int(np.argmax(likeness))
    return after + best if likeness[best] >= FOUND else None
