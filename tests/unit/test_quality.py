"""The E-model beside published reference points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import quality

# G.711 with concealment, random loss in percent → R, MOS, without delay (facts of G.107's reduced form).
PLC = [(0, 93.2, 4.41), (0.5, 91.3, 4.37), (1, 89.6, 4.33), (2, 86.2, 4.23), (3, 83.1, 4.13), (5, 77.4, 3.92)]
# Delay in ms → Id.
DELAY = [(20, 0.5), (50, 1.2), (100, 2.4), (150, 3.6), (177.3, 4.3), (200, 7.3), (250, 14.0), (400, 34.1)]


@pytest.mark.parametrize(("loss", "r", "mos"), PLC)
def test_loss_with_concealment(loss: float, r: float, mos: float) -> None:
    """Loss costs what the published table says."""
    rating = quality.R_MAX - quality.loss_impairment(quality.G711_PLC, loss)
    assert rating == pytest.approx(r, abs=0.06)
    assert quality.mos(rating) == pytest.approx(mos, abs=0.006)


@pytest.mark.parametrize(("codec", "loss", "r"), [(quality.G711, 1, 75.3), (quality.CODECS["G729"], 1, 78.0)])
def test_loss_of_other_codecs(codec: quality.Codec, loss: float, r: float) -> None:
    """A codec without concealment suffers more, a compressing one starts lower."""
    assert quality.R_MAX - quality.loss_impairment(codec, loss) == pytest.approx(r, abs=0.06)


@pytest.mark.parametrize(("delay", "impairment"), DELAY)
def test_delay(delay: float, impairment: float) -> None:
    """Delay costs what the Cole-Rosenbluth fit says, with its knee at 177.3 ms."""
    assert quality.delay_impairment(delay) == pytest.approx(impairment, abs=0.06)


def test_a_call_on_one_machine_is_very_good() -> None:
    """No loss, no jitter, no round trip leaves packetisation and the smallest jitter buffer: 60 ms."""
    rating = quality.assess("PCMU", loss_pct=0, jitter_ms=0, rtt_ms=0)
    assert rating.delay_ms == 60
    assert rating.mos == pytest.approx(4.38, abs=0.01)
    assert quality.satisfaction(rating.r) == "very satisfied"
    assert not rating.estimate


def test_wideband_is_an_estimate() -> None:
    """G.722 and unknown codecs are rated on the narrowband scale, and say so."""
    assert quality.assess("G722/8000", 0, 0, 0).estimate
    assert quality.assess("iLBC", 0, 0, 0).estimate


@given(st.floats(0, 100), st.floats(0, 500), st.floats(0, 5000))
def test_scale_is_kept(loss: float, jitter_ms: float, rtt_ms: float) -> None:
    """Whatever was measured, R stays within 0 and 93.2 and MOS within 1 and 4.5."""
    rating = quality.assess("PCMA", loss, jitter_ms, rtt_ms)
    assert 0 <= rating.r <= quality.R_MAX
    assert 1 <= rating.mos <= 4.5
