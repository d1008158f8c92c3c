"""How many lines, ports, processes and how much bandwidth a number of calls needs. No I/O.

Erlang B (A. K. Erlang, 1917) gives the share of calls that find all lines taken: offered load A = calls a
minute x minutes a call, B(0) = 1, B(n) = A B(n-1) / (n + A B(n-1)). It holds for callers who come by
themselves and go when it is busy; who calls again at once makes the load greater.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sip.errors import ConfigurationError

MAX_LOAD = 100_000.0
"""Erlang; more is a slip of the pen."""
OVERHEAD = 40
"""Bytes of IPv4 (20), UDP (8) and RTP (12) headers a packet."""
SRTP_TAG = 10
"""Bytes that SRTP adds with an 80 bit tag (RFC 3711)."""
RTP_PORT = 10_000
"""First RTP port, as livekit-sip has it."""
PORTS_PER_CALL = 2
"""RTP and RTCP."""
CPU_PER_CALL = 3.5
"""Per cent of a core that a call costs `sip serve`: measured with 10 calls, `bench/results/service.md`."""
CPU_LIMIT = 60.0
"""Per cent of a core that a media process is given: audio wants its turn every 20 ms."""
CALLS_PER_CORE = 8
"""Calls a core that a worker takes unless AGENT_MAX_CALLS says otherwise."""
CORES_PER_WORKER = 4
BUSY_SECOND = 0.001
"""Share of seconds in which more new calls may come than `peak_cps` says."""


@dataclass(frozen=True)
class Codec:
    """A codec on an RTP stream."""

    name: str
    bit_rate: float
    """Payload, kbit/s."""
    served: bool = True
    """Whether LiveKit's SIP leg speaks it."""

    def kbit_s(self, ptime: float = 20, *, srtp: bool = False) -> float:
        """One way, with IPv4, UDP and RTP headers. `ptime` is milliseconds a packet."""
        payload = self.bit_rate * ptime / 8
        return (payload + OVERHEAD + SRTP_TAG * srtp) * 8 / ptime


CODECS = (
    Codec("PCMU", 64),
    Codec("PCMA", 64),
    Codec("G722", 64),
    Codec("AMR-WB", 23.85),
    Codec("G729", 8, served=False),
    Codec("OPUS", 24, served=False),
)
"""Opus changes its rate: 24 kbit/s is usual for speech. AMR-WB is that of its highest mode."""


@dataclass(frozen=True)
class Demand:
    """What is wanted. Raises `ConfigurationError` with everything that makes no sense."""

    calls_per_minute: float
    minutes: float
    """Mean length of a call."""
    blocking: float = 0.01
    """Share of calls that may find all lines taken."""
    headroom: float = 0.2
    """Part of the lines that is added to them."""
    cpu_per_call: float = CPU_PER_CALL
    """Per cent of a core, of `sip serve`."""
    calls_per_worker: int = CALLS_PER_CORE * CORES_PER_WORKER
    ptime: float = 20
    """Milliseconds a packet."""
    srtp: bool = False
    lines: int = 0
    """Lines that are there already: all is planned for them. 0: as many as it takes, and the headroom."""

    def __post_init__(self) -> None:
        rules = (
            ("calls a minute", self.calls_per_minute, 0 < self.calls_per_minute <= MAX_LOAD, "above 0"),
            ("minutes a call", self.minutes, 0 < self.minutes <= 24 * 60, "above 0 and at most 1440"),
            ("blocking", self.blocking, 1e-6 <= self.blocking < 1, "a share such as 0.01 for 1 %"),
            ("headroom", self.headroom, 0 <= self.headroom <= 10, "a part such as 0.2 for 20 %"),
            ("CPU a call", self.cpu_per_call, 0 < self.cpu_per_call <= 100, "per cent of a core"),
            ("calls a worker", self.calls_per_worker, self.calls_per_worker >= 1, "1 or more"),
            ("ptime", self.ptime, 10 <= self.ptime <= 120, "10 to 120 ms"),
            ("lines", self.lines, 0 <= self.lines <= 2 * MAX_LOAD, "0 or more"),
        )  # fmt: skip
        wrong = [f"{name} is {value:g}, not {wanted}" for name, value, right, wanted in rules if not right]
        if not wrong and self.load > MAX_LOAD:
            wrong.append(f"{self.load:g} erlang are more than {MAX_LOAD:g}")
        if wrong:
            raise ConfigurationError("capacity", "; ".join(wrong))

    @property
    def load(self) -> float:
        """Offered load in erlang: the calls at once, on average, if none were lost."""
        return self.calls_per_minute * self.minutes


@dataclass(frozen=True)
class Capacity:
    """What that takes."""

    load: float
    lines: int
    """Lines that keep to the blocking wanted, or those that are there."""
    blocking: float
    """Share of calls lost on those lines."""
    calls: int
    """Calls at once to plan for."""
    cps: float
    """New calls a second, on average."""
    peak_cps: int
    """New calls in a busy second: more come in one second of a thousand."""
    rtp_ports: int
    workers: int
    calls_per_media_process: int
    media_processes: int
    """`SIP_MEDIA_PROCESSES` of `sip serve`."""
    bandwidth: tuple[tuple[Codec, float, float], ...]
    """Codec, kbit/s of a call one way, Mbit/s of all planned calls one way; as much comes back."""

    @property
    def last_port(self) -> int:
        """Last RTP port of a range from `RTP_PORT`."""
        return RTP_PORT + self.rtp_ports - 1


def plan(demand: Demand) -> Capacity:
    """What a demand takes."""
    lines = demand.lines or lines_for(demand.load, demand.blocking)
    calls = demand.lines or math.ceil(lines * (1 + demand.headroom) - 1e-9)
    cps = demand.calls_per_minute / 60
    per_process = max(1, int(CPU_LIMIT / demand.cpu_per_call + 1e-9))
    rates = [(codec, codec.kbit_s(demand.ptime, srtp=demand.srtp)) for codec in CODECS]
    return Capacity(
        demand.load,
        lines,
        erlang_b(demand.load, lines),
        calls,
        cps,
        busiest(cps),
        calls * PORTS_PER_CALL,
        math.ceil(calls / demand.calls_per_worker),
        per_process,
        math.ceil(calls / per_process),
        tuple((codec, rate, rate * calls / 1000) for codec, rate in rates),
    )


def erlang_b(load: float, lines: int) -> float:
    """Share of calls that find all lines taken. `load` in erlang."""
    blocking = 1.0
    for line in range(1, lines + 1):
        blocking = load * blocking / (line + load * blocking)
    return blocking


def lines_for(load: float, blocking: float) -> int:
    """The fewest lines on which no more than this share of calls is lost."""
    lost, lines = 1.0, 0
    while lost > blocking:
        lines += 1
        lost = load * lost / (lines + load * lost)
    return lines


def busiest(rate: float, share: float = BUSY_SECOND) -> int:
    """The number of arrivals (Poisson, `rate` on average) that only this share of intervals exceeds."""
    # In logarithms: exp(-rate) is 0 from about 745 on.
    logarithm, total, number = -rate, math.exp(-rate), 0
    while 1 - total > share:
        number += 1
        logarithm += math.log(rate) - math.log(number)
        total += math.exp(logarithm)
    return max(number, 1)
