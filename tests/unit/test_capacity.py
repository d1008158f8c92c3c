"""Erlang B against published tables, and what follows from it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sip.capacity import CODECS, Demand, busiest, erlang_b, lines_for, plan
from sip.cli import build
from sip.errors import ConfigurationError

TABLE = {
    0.001: {1: 0.001, 5: 0.762, 10: 3.092, 20: 9.412, 50: 32.51, 100: 75.24},
    0.01: {1: 0.0101, 5: 1.361, 10: 4.461, 20: 12.03, 30: 20.34, 50: 37.90, 100: 84.06},
    0.02: {1: 0.0204, 5: 1.657, 10: 5.084, 20: 13.18, 50: 40.26, 100: 87.97},
    0.05: {1: 0.0526, 5: 2.218, 10: 6.216, 20: 15.25, 50: 44.53, 100: 95.24},
}
"""Offered load in erlang by blocking and lines, as the usual printed tables have it."""


@pytest.mark.parametrize(
    ("blocking", "lines", "load"),
    [(blocking, lines, load) for blocking, row in TABLE.items() for lines, load in row.items()],
)
def test_published_tables(blocking: float, lines: int, load: float) -> None:
    """The printed load gives the blocking of its column, to the digits that are printed."""
    assert erlang_b(load, lines) == pytest.approx(blocking, rel=0.01)


@given(st.floats(0.01, 500), st.floats(0.0001, 0.5))
def test_lines_are_the_fewest(load: float, blocking: float) -> None:
    """They keep to the blocking, and one less does not."""
    lines = lines_for(load, blocking)
    assert erlang_b(load, lines) <= blocking < erlang_b(load, lines - 1)


@given(st.floats(0.01, 60), st.integers(0, 80))
def test_the_recursion_is_the_formula(load: float, lines: int) -> None:
    """A^n / n! over the sum of A^k / k!, where that can be computed."""
    terms = [math.exp(k * math.log(load) - math.lgamma(k + 1)) for k in range(lines + 1)]
    assert erlang_b(load, lines) == pytest.approx(terms[-1] / sum(terms), rel=1e-9)


@given(st.floats(0.001, 300))
def test_a_busy_second(rate: float) -> None:
    """No more than one second in a thousand brings more calls; with one call less it would."""

    def more_than(number: int) -> float:
        terms = (math.exp(k * math.log(rate) - rate - math.lgamma(k + 1)) for k in range(number + 1))
        return 1 - math.fsum(terms)

    number = busiest(rate)
    assert more_than(number) <= 0.001 + 1e-9
    assert number == 1 or more_than(number - 1) > 0.001 - 1e-9


def test_ten_calls_of_three_minutes() -> None:
    """30 erlang; lines, ports and processes for them."""
    found = plan(Demand(10, 3))
    assert (found.load, found.lines, found.calls, found.rtp_ports) == (30, 42, 51, 102)
    assert 0.007 < found.blocking < 0.01
    assert (found.workers, found.calls_per_media_process, found.media_processes) == (2, 17, 3)
    assert (found.peak_cps, found.last_port) == (2, 10_101)
    assert plan(Demand(10, 3, calls_per_worker=10, cpu_per_call=6)).workers == 6
    assert plan(Demand(10, 3, cpu_per_call=6)).media_processes == 6
    there = plan(Demand(10, 3, lines=36))
    assert (there.calls, there.blocking) == (36, pytest.approx(0.043, abs=0.001))


def test_bandwidth() -> None:
    """G.711 at 20 ms is 80 kbit/s one way with its headers (50 packets of 200 bytes), 84 with SRTP."""
    rates = {codec.name: codec for codec in CODECS}
    assert rates["PCMU"].kbit_s() == rates["G722"].kbit_s() == 80
    assert rates["PCMU"].kbit_s(srtp=True) == 84
    assert rates["PCMU"].kbit_s(40) == 72
    assert rates["G729"].kbit_s() == 24
    total = {codec.name: total for codec, _, total in plan(Demand(10, 3)).bandwidth}
    assert total["PCMA"] == pytest.approx(51 * 0.08)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"calls_per_minute": 0}, "calls a minute"),
        ({"minutes": -1}, "minutes"),
        ({"minutes": math.nan}, "minutes"),
        ({"calls_per_minute": math.inf}, "calls a minute"),
        ({"blocking": 0}, "blocking"),
        ({"blocking": 1}, "blocking"),
        ({"headroom": -0.1}, "headroom"),
        ({"cpu_per_call": 0}, "CPU"),
        ({"calls_per_worker": 0}, "worker"),
        ({"ptime": 5}, "ptime"),
        ({"lines": -1}, "lines"),
        ({"calls_per_minute": 99_999, "minutes": 60}, "erlang"),
    ],
)
def test_what_makes_no_sense(values: dict[str, float], word: str) -> None:
    """Each is named; several are told at once."""
    with pytest.raises(ConfigurationError, match=word):
        Demand(**{"calls_per_minute": 10, "minutes": 3, **values})  # pyright: ignore[reportArgumentType] # fields by name
    with pytest.raises(ConfigurationError, match=r"calls a minute.*; .*ptime"):
        Demand(0, 3, ptime=0)


def run(*arguments: str) -> str:
    """Standard output of `sip capacity`."""
    result = CliRunner().invoke(build(), ["capacity", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_command() -> None:
    """Positions and options say the same; the assumptions stand beside what follows from them."""
    text = run("10", "3")
    assert text == run("--calls-per-minute", "10", "--minutes", "3")
    for words in ("30 erlang", "42: 0.74 %", "51, with 20 %", "3.5 % of a core", "AGENT_MAX_CALLS", "twilio"):
        assert words.lower() in text.lower()


def test_carriers_limits() -> None:
    """Calls out are held against calls a second; calls at once against the carrier's number of them."""
    twilio = json.loads(run("10", "3", "--carrier", "twilio", "--outbound", "--json"))["carriers"][0]
    assert (twilio["cps"], twilio["cps_enough"], twilio["concurrency_enough"]) == (1, False, None)
    inbound = json.loads(run("10", "3", "--carrier", "twilio", "--json"))["carriers"][0]
    assert inbound["cps_enough"] is None
    vobiz = json.loads(run("1", "1", "--carrier", "vobiz", "--json"))["carriers"][0]
    assert vobiz["concurrency_enough"] is True


def test_lines_that_are_there() -> None:
    """How many calls they lose, and how many lines it would take."""
    document = json.loads(run("10", "3", "--lines", "30", "--json"))
    assert document["blocking"] == pytest.approx(0.132, abs=0.001)
    assert "takes 42" in document["notes"][0]
    many = json.loads(run("2000", "10", "--json"))
    assert "several machines" in many["notes"][-1]


@pytest.mark.parametrize("arguments", [(), ("10",), ("10", "3", "--minutes", "3"), ("10", "-3")])
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    """A missing, doubled or senseless number is an error."""
    result = CliRunner().invoke(build(), ["capacity", *arguments])
    assert result.exit_code != 0
