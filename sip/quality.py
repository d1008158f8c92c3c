"""Voice quality from what was received: the E-model of ITU-T G.107 in its reduced form. Pure arithmetic.

R = 93.2 - Id - Ie,eff, with every other parameter at G.107's default. The scale is the narrowband one; for
G.722 and Opus the figure is an estimate by the same scale, and says so in `estimate`.
"""

from __future__ import annotations

from dataclasses import dataclass

R_MAX = 93.2
"""R of a call without delay, loss or coding impairment."""


@dataclass(frozen=True)
class Codec:
    """How a codec bears packet loss (ITU-T G.113)."""

    ie: float
    """Equipment impairment without loss."""
    bpl: float
    """Robustness against random loss."""
    estimate: bool = False
    """The codec stands outside the narrowband scale."""


G711 = Codec(ie=0, bpl=4.3)
"""G.711 whose lost packets are not concealed."""
G711_PLC = Codec(ie=0, bpl=25.1)
"""G.711 with packet loss concealment (G.711 Appendix I), as phones and rooms do it."""
CODECS = {
    "PCMU": G711_PLC,
    "PCMA": G711_PLC,
    "G722": Codec(ie=0, bpl=4.5, estimate=True),
    "G729": Codec(ie=11, bpl=19),
    "OPUS": Codec(ie=0, bpl=25.1, estimate=True),
}
PACKETISATION_MS = 20.0
_UNKNOWN = Codec(ie=0, bpl=4.3, estimate=True)


@dataclass(frozen=True)
class Quality:
    """One direction's quality. `mos` is 1 to 4.41 (listening and conversation, G.107), `r` 0 to 93.2."""

    r: float
    mos: float
    delay_ms: float
    """One-way delay that went into it."""
    estimate: bool


def assess(codec: str, loss_pct: float, jitter_ms: float, rtt_ms: float, burst_ratio: float = 1.0) -> Quality:
    """The quality of a call from its RTP statistics (RFC 3550).

    `burst_ratio` is 1 for random loss and larger for loss in bursts. A codec that is not known here is rated
    as G.711 without concealment, and as an estimate.
    """
    kind = CODECS.get(codec.upper().split("/")[0], _UNKNOWN)
    delay = one_way_delay(rtt_ms, jitter_ms)
    r = R_MAX - delay_impairment(delay) - loss_impairment(kind, loss_pct, burst_ratio)
    return Quality(r=max(0.0, r), mos=mos(r), delay_ms=delay, estimate=kind.estimate)


def one_way_delay(rtt_ms: float, jitter_ms: float) -> float:
    """Mouth to ear in ms: half the round trip, a packet, a jitter buffer of twice the jitter (40 to 120)."""
    return rtt_ms / 2 + PACKETISATION_MS + min(120.0, max(40.0, 2 * jitter_ms))


def delay_impairment(delay_ms: float) -> float:
    """Id: the fit of Cole and Rosenbluth (ACM SIGCOMM CCR 31(2), 2001) to G.107."""
    return 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - 177.3)


def loss_impairment(codec: Codec, loss_pct: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff of G.107 for a packet loss in percent."""
    if loss_pct <= 0:
        return codec.ie
    return codec.ie + (95 - codec.ie) * loss_pct / (loss_pct / burst_ratio + codec.bpl)


def mos(r: float) -> float:
    """Mean opinion score of an R value (G.107 Annex B), never below 1."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def satisfaction(r: float) -> str:
    """What users say of an R value (ITU-T G.109)."""
    grades = (
        (90, "very satisfied"),
        (80, "satisfied"),
        (70, "some dissatisfied"),
        (60, "many dissatisfied"),
        (50, "nearly all dissatisfied"),
    )
    return next((words for floor, words in grades if r >= floor), "not recommended")
