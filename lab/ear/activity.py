"""Where there is voice in one channel: energy above a tracked noise floor, band shape and pitch of a voice.

A voice is "on" where its short-time level stands within `REACH` of the talker's own level. At good
signal-to-noise ratios that line decides alone; in noise it also takes what noise hardly ever does by itself.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d, percentile_filter, uniform_filter1d
from scipy.signal import butter, sosfiltfilt

Samples = NDArray[np.float64]

RATE = 8000
"""Samples a second of everything that the ear hears: telephone audio."""
HOP = 40
"""Samples between frames: 5 ms."""
WINDOW = 160
"""Samples of a frame: 20 ms."""
REACH = 18.0
"""How far below the talker's level a frame still counts as voice, in dB."""
FLOOR = 1e-9
"""Power of what counts as digital silence (-90 dB of full scale): idle G.711 is below it."""
FAINTEST = -55.0
"""A talker fainter than this is no talker, in dB of full scale (phone speech is about -25)."""
BRIDGE = 0.08
"""Pauses shorter than this belong to speech (closed lips of a stop consonant), in seconds."""
SHORTEST = 0.06
"""Sounds shorter than this are clicks, in seconds, ..."""
NEAR = 0.25
"""... unless they stand so near to a longer one: the last consonant of a word."""
SPREAD, GROW = 5.5, 1.7
"""What noise hardly ever reaches, and what it seldom does.

Its median plus so many times the way from there to its 90th percentile. White noise needs 2.5 for its 99.7th
percentile, pink noise 2.7, babble 3.4.
"""
HEAD = 0.04
"""How far the faint begin or end of a word reaches, in seconds."""
VOWEL = 0.03
"""Every word has a vowel: at least so much of it, in seconds, is periodic, ..."""
PERIODIC = 0.6
"""... that is, its autocorrelation at some pitch is at least this."""
BACKGROUND = 4.0
"""How much of the recording around a moment tells its noise floor, in seconds."""


@dataclass(frozen=True)
class Span:
    """From `start` to `end`, seconds from the start of the recording."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        """Whether the two share any time."""
        return self.start < other.end and other.start < self.end


def as_samples(signal: NDArray[np.generic]) -> Samples:
    """16-bit or float samples as float64 in [-1, 1]."""
    if signal.ndim != 1:
        raise ValueError(f"one channel is wanted, this has the shape {signal.shape}")
    if np.issubdtype(signal.dtype, np.integer):
        return signal.astype(np.float64) / 32768.0
    return signal.astype(np.float64)


def voice_activity(signal: NDArray[np.generic]) -> tuple[Span, ...]:
    """Spans of voice in one channel of 8 kHz samples, in order, pauses under `BRIDGE` closed."""
    samples = as_samples(signal)
    if len(samples) < 2 * WINDOW:
        return ()
    bands = _bands(samples)
    floor = _noise_floor(bands)
    voice = np.maximum(bands - floor, 0.0).sum(axis=1)
    noise = floor.sum(axis=1)
    level = _talker_level(voice, noise)
    if level < 10 ** (FAINTEST / 10):
        return ()
    near = voice > level * 10 ** (-REACH / 10)
    loud = voice > level / 4
    alone = _nobody_talks(voice + noise, np.sqrt(noise * level))
    sure = np.zeros(len(bands), bool)
    likely = np.zeros(len(bands), bool)
    for evidence in (_vowel_evidence(bands, floor, loud), _level_evidence(bands, floor)):
        hardly_ever, seldom = _noise_lines(evidence[alone])
        sure |= near & (evidence > hardly_ever)
        likely |= near & (evidence > seldom)
    spans = _settle(_grow(sure, likely), samples)
    return tuple(_span(a, b) for a, b in spans)


def frame_levels(signal: NDArray[np.generic]) -> Samples:
    """Level of every frame in dB of full scale (a full-scale square wave is 0), never under -90."""
    samples = as_samples(signal)
    power = _sliding_mean(samples**2)
    return 10 * np.log10(np.maximum(power, FLOOR))


def _bands(samples: Samples) -> Samples:
    """Power of every frame in 12 bands from 120 to 3,800 Hz, equally wide to the ear. Shape (frames, 12)."""
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = np.hanning(WINDOW)
    spectrum = np.abs(np.fft.rfft(frames * window, 256, axis=1)) ** 2 * (2 / (256 * np.sum(window**2)))
    mel = np.linspace(2595 * np.log10(1 + 120 / 700), 2595 * np.log10(1 + 3800 / 700), 13)
    edges = np.round(700 * (10 ** (mel / 2595) - 1) / RATE * 256).astype(int)
    return np.stack([spectrum[:, a:b].sum(axis=1) for a, b in itertools.pairwise(edges)], axis=1)


def _noise_floor(bands: Samples) -> Samples:
    """Power of the noise in every band around every frame: a low percentile of the recording nearby."""
    smooth = uniform_filter1d(bands, 10, axis=0, mode="nearest")
    coarse = smooth[::10]
    size = max(3, round(BACKGROUND * RATE / HOP / 10))
    low = percentile_filter(coarse, 10, size=(size, 1), mode="nearest")
    fine = np.repeat(low, 10, axis=0)[: len(bands)]
    return np.maximum(fine * 1.25, FLOOR / 12)


def _talker_level(voice: Samples, noise: Samples) -> float:
    """Mean power of the frames that are surely voice; 0.0 with none (active level as in ITU-T P.56)."""
    sure = voice[voice > np.maximum(2 * noise, 10 ** (FAINTEST / 10))]
    if len(sure) < 8:
        return 0.0
    level = float(np.mean(sure))
    for _ in range(4):
        level = float(np.mean(sure[sure > level * 10**-1.59]))
    return level


def _vowel_evidence(bands: Samples, floor: Samples, loud: NDArray[np.bool_]) -> Samples:
    """How far every frame is above the noise, in the bands of this talker's loud frames (Wiener weights)."""
    excess = bands / floor - 1
    talker = np.maximum(excess[loud].mean(axis=0), 1e-3)
    weights = talker / (1 + talker)
    return excess @ (weights / weights.sum())


def _level_evidence(bands: Samples, floor: Samples) -> Samples:
    """How far every frame stands above the noise in all bands together: fricatives, too."""
    return bands.sum(axis=1) / floor.sum(axis=1) - 1


def _nobody_talks(power: Samples, between: Samples) -> NDArray[np.bool_]:
    """Frames far from any stretch of 300 ms whose mean is nearer to the talker than to the noise (in dB)."""
    long = uniform_filter1d(power, 60, mode="nearest")
    return minimum_filter1d((long < between).astype(np.int8), 60, mode="nearest") > 0


def _noise_lines(quiet: Samples) -> tuple[float, float]:
    """Evidence that noise hardly ever reaches by itself, and evidence that it seldom reaches."""
    if len(quiet) < 40:
        return 1.0, 1.0
    middle, nine_of_ten = np.percentile(quiet, (50, 90))
    hardly_ever, seldom = middle + np.array((SPREAD, GROW)) * (nine_of_ten - middle)
    return max(0.4, float(hardly_ever)), max(0.3, float(seldom))


def _grow(sure: NDArray[np.bool_], likely: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of sure frames with the likely ones before and after them, as far as `HEAD`."""
    near = maximum_filter1d(sure.astype(np.int8), 2 * round(HEAD * RATE / HOP) + 1) > 0
    return [(a, b) for a, b in _runs(sure | (likely & near)) if sure[a:b].any()]


def _runs(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open runs of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], on.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _settle(runs: list[tuple[int, int]], samples: Samples) -> list[tuple[int, int]]:
    """Close short pauses; drop clicks, and noises that have no pitch."""
    bridge, shortest, near = (round(seconds * RATE / HOP) for seconds in (BRIDGE, SHORTEST, NEAR))
    joined: list[tuple[int, int]] = []
    for a, b in runs:
        if joined and a - joined[-1][1] < bridge:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    pitched = _pitched(samples)
    vowels = [(a, b) for a, b in joined if b - a >= shortest and pitched[a:b].sum() * HOP / RATE >= VOWEL]
    return [(a, b) for a, b in joined if any(a - d < near and c - b < near for c, d in vowels)]


def _pitched(samples: Samples) -> NDArray[np.bool_]:
    """Frames that repeat themselves at the pitch of a voice (70 to 400 Hz), heard below 1 kHz."""
    low = sosfiltfilt(butter(4, (90, 1000), "bandpass", fs=RATE, output="sos"), samples)
    size = 400  # 50 ms: three periods of the lowest voice
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(low, size // 2), size)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames, 2 * size, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, : RATE // 70 + 1]
    overlap = 1 - np.arange(correlation.shape[1]) / size
    likeness = correlation / overlap / np.maximum(correlation[:, :1], 1e-9)
    return likeness[:, RATE // 400 :].max(axis=1) > PERIODIC


def _span(first: int, end: int) -> Span:
    return Span(first * HOP / RATE, (end - 1) * HOP / RATE)


def _sliding_mean(values: Samples) -> Samples:
    return uniform_filter1d(values, WINDOW, mode="constant")[::HOP]
