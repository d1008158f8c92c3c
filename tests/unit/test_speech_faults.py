"""Faults of providers: parsing, counting down, hitting open work."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lab.speech.faults import (
    Fault,
    FaultError,
    Faults,
    Latency,
    latency_from_text,
    parse_fault,
    parse_latency,
)


def test_a_refusal_counts_down() -> None:
    """`times` refusals are given, then the provider is healthy."""
    faults = Faults()
    faults.set("openai", Fault(fail="http", status=429, times=2))
    found = [faults.begin("openai", lambda: 0.0).refusal() for _ in range(3)]
    assert found == [429, 429, None]
    assert faults.counts["openai"].errors_injected == 2
    assert faults.begin("cartesia", lambda: 0.0).refusal() is None


def test_a_cut_waits_for_chunks_and_audio() -> None:
    """Both limits have to be passed."""
    faults = Faults()
    faults.set("cartesia", Fault(fail="cut", after_chunks=2, after_ms=150))
    work = faults.begin("cartesia", lambda: 0.0)
    assert [work.verdict(60.0) for _ in range(4)] == ["go", "go", "go", "cut"]


def test_text_goes_by_the_clock() -> None:
    """Without audio the milliseconds are those since the work began."""
    now = [10.0]
    faults = Faults()
    faults.set("openai", Fault(fail="cut", after_ms=500))
    work = faults.begin("openai", lambda: now[0])
    assert work.verdict() == "go"
    now[0] = 10.6
    assert work.verdict() == "cut"


def test_open_work_meets_a_new_fault_and_keeps_it() -> None:
    """A fault set later hits work that runs, and its last hit stays with that work only."""
    faults = Faults()
    first, second = faults.begin("deepgram", lambda: 0.0), faults.begin("deepgram", lambda: 0.0)
    assert first.verdict(20.0) == "go"
    changed = faults.watch("deepgram")
    faults.set("deepgram", Fault(fail="silence", times=1))
    assert changed.is_set()
    assert [first.verdict(20.0), first.verdict(20.0)] == ["silence", "silence"]
    assert second.verdict(20.0) == "go"
    faults.clear()
    assert first.verdict(20.0) == "go"


def test_seeded_latencies_repeat() -> None:
    """The same seed draws the same latencies, and none is negative."""

    def drawn() -> list[float]:
        faults = Faults()
        faults.set("openai", Fault(latency=Latency("normal", 100, 200), seed=7))
        return [faults.begin("openai", lambda: 0.0).latency_s() for _ in range(20)]

    assert drawn() == drawn()
    assert min(drawn()) >= 0.0 and len(set(drawn())) > 5
    assert 0.1 <= Latency("uniform", 100, 200).draw(random.Random(1)) <= 0.2


def test_faults_are_read_back_as_written() -> None:
    """JSON of a fault parses to the same fault."""
    fault = Fault(Latency("uniform", 10, 20), "cut", 500, 3, 250.0, 2, 1)
    assert parse_fault(fault.to_json()) == fault
    assert parse_fault({"status": 401}) == Fault(fail="http", status=401)
    assert latency_from_text("normal:300,50") == Latency("normal", 300, 50)
    assert latency_from_text("300") == Latency("fixed", 300)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"fail": "explode"}, "explode"),
        ({"status": 200}, "status"),
        ({"times": -1}, "times"),
        ({"after_ms": "soon"}, "after_ms"),
        ({"latency": {"normal": [1]}}, "latency"),
        ({"latency": True}, "latency"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_faults_name_the_field(data: dict[str, Any], named: str) -> None:
    """A fault that cannot be meant is refused with the name of its field."""
    with pytest.raises(FaultError, match=named):
        parse_fault(data)


@pytest.mark.parametrize("text", ["", "fast", "normal:1", "uniform:a,b", "-5"])
def test_bad_latencies_are_refused(text: str) -> None:
    """So is a latency of the command line."""
    with pytest.raises(FaultError, match="latency"):
        latency_from_text(text)


def test_parse_latency_takes_plain_milliseconds() -> None:
    """A number is a fixed latency."""
    assert parse_latency(250).draw(random.Random()) == 0.25
