"""Text to speech: hibari-tts, one phrase at a time, with the time of every word.

The trained model predicts how long each phoneme lasts. Those durations are an inner tensor of its ONNX graph;
they are declared an output here, which is how the words get true times and not equal slices.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .voices import AGENT, Voice, voice_named

MODEL_RATE = 24_000
"""Sample rate of the model, in Hz."""
DURATIONS = "/Clip_output_0"
"""Tensor of the model that holds the frames of each phoneme."""

LONG_SENTENCE = 60
"""A first sentence of more characters than this is cut after its first clause, so that sound comes early."""
_AUDIBLE = 10 ** (-45 / 20)
_KEPT_LEAD_S = 0.02
_KEPT_PAUSE_S = 0.12
"""Silence before the first phrase, and before each later one (the model ends phrases with 0.2 s as well)."""
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")
_SEED = 0


@dataclass(frozen=True)
class Word:
    """A spoken word as the text has it, with its start and end in seconds from the start of the audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Phrase:
    """Audio of a sentence or clause, 16-bit mono at the rate that was asked for, and its words.

    Word times count from the start of this phrase.
    """

    text: str
    pcm: NDArray[np.int16]
    words: tuple[Word, ...]


class Synthesizer:
    """Speaks English text. Load once (0.7 s, 200 MB) and share: calls from several threads are safe.

    The same text, voice and rate give the same samples in every process.
    """

    def __init__(self) -> None:
        import onnxruntime
        from hibari import Hibari

        self._model = cast(Any, Hibari(threads=1))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        graph = _with_output(Path(self._model.model_path).read_bytes(), DURATIONS)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._text_lock = threading.Lock()
        self._groups: dict[str, int] = {}
        self.warm()

    def warm(self) -> None:
        """Load the pronunciation dictionaries and run every part once."""
        for _ in self.phrases("Hello, one moment please.", 8000):
            pass

    def stream(
        self, text: str, rate: int = MODEL_RATE, voice: str = AGENT.name, pace: float = 1.0
    ) -> Iterator[NDArray[np.int16]]:
        """Audio of `text` at `rate` Hz, one array a phrase, each as soon as it is made.

        `voice` names one of `voices.VOICES`; `pace` above 1 speaks faster.
        """
        for phrase in self.phrases(text, rate, voice, pace):
            yield phrase.pcm

    def speak(
        self, text: str, rate: int = MODEL_RATE, voice: str = AGENT.name, pace: float = 1.0
    ) -> NDArray[np.int16]:
        """All of `stream` in one array."""
        parts = list(self.stream(text, rate, voice, pace))
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def phrases(
        self, text: str, rate: int = MODEL_RATE, voice: str = AGENT.name, pace: float = 1.0
    ) -> Iterator[Phrase]:
        """`stream`, with the words of each phrase and when they are spoken."""
        rng = np.random.default_rng(_SEED)
        kept = _KEPT_LEAD_S
        for phrase in split_phrases(self._model.split_sentences(text)):
            spoken = self._speak(phrase, rate, voice_named(voice), pace, rng, kept)
            if spoken is not None:
                yield spoken
                kept = _KEPT_PAUSE_S

    def _speak(
        self, text: str, rate: int, voice: Voice, pace: float, rng: np.random.Generator, kept_s: float
    ) -> Phrase | None:
        from hibari import dsp

        # The dictionaries' tagger keeps state; the model itself may run in several threads at once.
        with self._text_lock:
            chunks: list[str] = self._model.phonemize(text)
            groups = self._groups_of(text.split())
        audio: list[NDArray[np.float32]] = []
        spans: list[tuple[float, float]] = []
        offset = 0.0
        # Played `formants` times faster, so asked for slower by as much.
        speed = pace * voice.pace / voice.formants
        for phonemes in chunks:
            ids: list[int] = self._model.ids(phonemes)
            if len(ids) < 3:
                continue
            outputs = self._session.run(
                None, {"ids": np.asarray([ids], np.int64), "speed": np.asarray([speed], np.float32)}
            )
            lh, theta, ln, lr, phi, f0 = (cast(NDArray[np.float32], out)[0] for out in outputs[:6])
            frames = cast(NDArray[np.float32], outputs[6]).ravel()
            wave = dsp.synth(lh, theta, ln, lr, phi, f0 * voice.pitch, rng)
            audio.append(wave)
            times = offset + np.concatenate(([0.0], np.cumsum(frames))) * (
                len(wave) / MODEL_RATE / float(frames.sum())
            )
            spans += _spans(phonemes, self._model.vocab, times)
            offset += len(wave) / MODEL_RATE
        if not audio:
            return None
        wave = np.concatenate(audio)
        lead = _lead_in(wave, int(kept_s * MODEL_RATE))
        spans = [(max(0.0, start - lead / MODEL_RATE), end - lead / MODEL_RATE) for start, end in spans]
        pcm = _resample(wave[lead:], MODEL_RATE * voice.formants, rate)
        words = _words(text.split(), groups, spans, 1 / voice.formants)
        return Phrase(text, pcm, words)

    def _groups_of(self, words: list[str]) -> list[int]:
        """How many spoken words each written word becomes ("7:30" is two)."""
        counts: list[int] = []
        for word in words:
            if word not in self._groups:
                if len(self._groups) > 20_000:
                    self._groups.clear()
                spoken = " ".join(self._model.phonemize(word)) if not word.isalpha() else word
                self._groups[word] = sum(1 for group in spoken.split() if any(c.isalpha() for c in group))
            counts.append(self._groups[word])
        return counts


def _lead_in(wave: NDArray[np.float32], kept: int) -> int:
    """Samples of silence to leave out at the start: the model begins each phrase with 0.3 s of it."""
    audible = np.flatnonzero(np.abs(wave) > _AUDIBLE)
    return max(0, int(audible[0]) - kept) if len(audible) else 0


def split_phrases(sentences: list[str]) -> list[str]:
    """The sentences, with a long first one cut after its first clause of at least two words."""
    if not sentences or len(sentences[0]) <= LONG_SENTENCE:
        return sentences
    first = sentences[0]
    for match in _CLAUSE_END.finditer(first):
        if len(first[: match.start()].split()) >= 2 and len(first) - match.end() > 12:
            return [first[: match.start()], first[match.end() :], *sentences[1:]]
    return sentences


def _with_output(graph: bytes, tensor: str) -> bytes:
    """An ONNX model that also returns an inner tensor.

    Two serialised protobuf messages, one after the other, are one merged message: so a ModelProto that holds
    nothing but `graph.output.name` (fields 7, 12 and 1) is appended.
    """
    name = tensor.encode()
    value = b"\x0a" + bytes([len(name)]) + name
    output = b"\x62" + bytes([len(value)]) + value
    return graph + b"\x3a" + bytes([len(output)]) + output


def _spans(phonemes: str, vocab: dict[str, int], times: NDArray[np.floating]) -> list[tuple[float, float]]:
    """Start and end of each group of phonemes between spaces, from the time at which each phoneme starts."""
    spans: list[tuple[float, float]] = []
    start: float | None = None
    end = 0.0
    position = 1  # 0 is the pad before the first phoneme
    for char in phonemes:
        known = char in vocab
        if char == " ":
            if start is not None:
                spans.append((start, end))
            start = None
        elif known and char.isalpha():
            if start is None:
                start = float(times[position])
            end = float(times[position + 1])
        position += known
    if start is not None:
        spans.append((start, end))
    return spans


def _words(
    texts: list[str], groups: list[int], spans: list[tuple[float, float]], stretch: float
) -> tuple[Word, ...]:
    """Times of the written words; by share of the spoken ones where the two cannot be matched one to one."""
    if not texts or not spans:
        return ()
    if sum(groups) != len(spans):
        groups = [1] * len(texts)
    bounds = np.concatenate(([0], np.cumsum(groups))) * (len(spans) / max(1, sum(groups)))
    words: list[Word] = []
    for index, text in enumerate(texts):
        first = min(int(bounds[index]), len(spans) - 1)
        last = min(max(first, int(np.ceil(bounds[index + 1])) - 1), len(spans) - 1)
        start, end = spans[first][0], spans[last][1]
        if groups[index] == 0:
            end = start
        words.append(Word(text, round(start * stretch, 3), round(end * stretch, 3)))
    return tuple(words)


def _resample(wave: NDArray[np.float32], rate_in: float, rate_out: float) -> NDArray[np.int16]:
    import soxr

    if rate_in != rate_out:
        wave = cast(NDArray[np.float32], soxr.resample(wave, rate_in, rate_out))
    return (np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)
