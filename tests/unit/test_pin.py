"""What a caller types for a PIN, with the clock in the test's hand."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.service.calls.pin import (
    KEY_TIMEOUT,
    LONGEST,
    NO_PIN,
    PIN_TIMEOUT,
    TRIES,
    WRONG_PIN,
    Collector,
    GiveUp,
    Try,
    Wait,
)
from sip.service.media.sounds import SAMPLE_RATE, TEXTS, sound

KEYS = "0123456789*ABCD"


def typed(collector: Collector, keys: str, now: float = 0.0, step: float = 0.2) -> float:
    """Press these keys; the time of the last one."""
    for key in keys:
        now += step
        collector.press(key, now)
    return now


@given(st.lists(st.text(KEYS, max_size=LONGEST), min_size=1, max_size=TRIES), st.booleans())
def test_every_pin_is_tried_once_and_in_order(pins: list[str], at_once: bool) -> None:
    """Whether typed ahead or one by one, each PIN comes out as typed; after three wrong ones it is over."""
    collector, now = Collector(), 0.0
    if at_once:
        now = typed(collector, "".join(f"{pin}#" for pin in pins))
    for pin in pins:
        if not at_once:
            collector.listen(now)
            now = typed(collector, f"{pin}#", now)
        assert collector.verdict(now) == Try(pin)
        collector.wrong()
    expected = GiveUp(WRONG_PIN) if len(pins) == TRIES else Wait(inf)
    assert collector.verdict(now) == expected


@given(st.text(KEYS, min_size=1, max_size=LONGEST), st.floats(0, 3))
def test_a_forgotten_pound_key_is_forgiven(pin: str, step: float) -> None:
    """What was typed counts after the time-out, and not a moment before."""
    collector = Collector()
    collector.listen(0.0)
    last = typed(collector, pin, 0.0, step)
    assert collector.verdict(last + KEY_TIMEOUT - 0.01) == Wait(last + KEY_TIMEOUT)
    assert collector.verdict(last + KEY_TIMEOUT) == Try(pin)


@given(st.text(KEYS, min_size=LONGEST + 1))
def test_no_pin_is_that_long(keys: str) -> None:
    """More keys than a PIN has are one wrong try, whatever a prefix of them would open."""
    collector = Collector()
    now = typed(collector, f"{keys}#")
    assert collector.verdict(now) == Try(None)


def test_silence_counts_from_the_end_of_what_is_played() -> None:
    """Nobody is hurried while a sentence is played; ten seconds after its end the call is over."""
    collector = Collector()
    assert collector.verdict(1000.0) == Wait(inf)
    collector.listen(1000.0)
    assert collector.verdict(1009.9) == Wait(1000.0 + KEY_TIMEOUT)
    assert collector.verdict(1010.0) == GiveUp(NO_PIN)


def test_the_time_begins_anew_after_a_wrong_pin() -> None:
    """The caller hears that it was wrong before his ten seconds run again."""
    collector = Collector()
    collector.listen(0.0)
    now = typed(collector, "1#")
    assert collector.verdict(now) == Try("1")
    collector.wrong()
    assert collector.verdict(now + 100) == Wait(inf)
    collector.listen(now + 100)
    assert collector.verdict(now + 100 + KEY_TIMEOUT) == GiveUp(NO_PIN)


def test_nobody_types_for_ever() -> None:
    """A key every nine seconds ends a PIN after a minute."""
    collector = Collector()
    collector.listen(0.0)
    last = typed(collector, "1" * 7, 0.0, 9.0)
    assert collector.verdict(last) == Wait(9.0 + PIN_TIMEOUT)


def test_a_pin_is_in_no_text() -> None:
    """Neither a verdict nor a collector shows what was typed."""
    collector = Collector()
    typed(collector, "8642#8642")
    assert "8642" not in f"{collector!r} {collector.verdict(9.0)!r} {vars(Try)!r}"


@pytest.mark.parametrize("name", TEXTS)
def test_sounds(name: str) -> None:
    """Each sentence ships at both rates of a telephone: the same speech, loud enough, and short."""
    wide = np.frombuffer(sound(name, SAMPLE_RATE), np.int16).astype(float)
    narrow = np.frombuffer(sound(name, 8_000), np.int16).astype(float)
    assert 0.5 < len(wide) / SAMPLE_RATE < 3.5
    assert abs(len(wide) - 2 * len(narrow)) <= 1
    assert np.abs(wide).max() > 10_000
    assert np.abs(narrow).max() > 10_000
    # Below 3 kHz they are one sound.
    spectra = [np.abs(np.fft.rfft(pcm, len(wide) * rate // SAMPLE_RATE)) / len(pcm)
               for pcm, rate in ((wide, SAMPLE_RATE), (narrow, 8_000))]  # fmt: skip
    band = round(3_000 * len(wide) / SAMPLE_RATE)
    assert np.allclose(spectra[0][:band], spectra[1][:band], atol=0.02 * spectra[0].max())


def test_sounds_at_other_rates() -> None:
    """A rate that no codec of ours has is an error, and no noise."""
    with pytest.raises(ValueError, match="11025"):
        sound("goodbye", 11_025)
