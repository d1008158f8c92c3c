"""What Cartesia's clients ask for and what they are told."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .audio import ENCODERS, AudioFormatError, Samples, check_rate
from .synthesizer import Phrase, Synthesizer, Word

CHUNK_S = 0.06
"""Audio in one chunk, in seconds."""
DEFAULT_BUFFER_MS = 3000.0
"""How long half a sentence waits for its other half, when the client does not say."""


class RequestError(ValueError):
    """A request that cannot be spoken; the message says which field."""


@dataclass(frozen=True)
class Request:
    """One message of a context, or the body of `/tts/bytes`."""

    transcript: str
    more: bool
    flush: bool
    container: str
    encoding: str
    sample_rate: int
    voice: str
    pace: float
    volume: float
    timestamps: bool
    buffer_s: float

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Request:
        """Check and read; raises `RequestError`."""
        transcript = data.get("transcript")
        if not isinstance(transcript, str):
            raise RequestError("transcript is missing, or is not a text")
        wanted = _mapping(data, "output_format")
        container, encoding = str(wanted.get("container", "raw")), str(wanted.get("encoding", "pcm_s16le"))
        if container not in ("raw", "wav"):
            raise RequestError(f"output_format.container {container!r} is not made here; raw and wav are")
        if encoding not in ENCODERS:
            raise RequestError(f"output_format.encoding {encoding!r} is not made here; {_list(ENCODERS)} are")
        language = data.get("language")
        if language is not None and str(language).split("-")[0] != "en":
            raise RequestError(f"language {language!r} is not spoken here; en is")
        try:
            rate = check_rate(int(wanted.get("sample_rate", 24_000)))
            buffer_ms = float(data.get("max_buffer_delay_ms", DEFAULT_BUFFER_MS))
        except (TypeError, ValueError, AudioFormatError) as error:
            raise RequestError(f"output_format.sample_rate or max_buffer_delay_ms: {error}") from None
        tuning = _mapping(data, "generation_config")
        voice = _mapping(data, "voice")
        return cls(
            transcript,
            bool(data.get("continue", False)),
            bool(data.get("flush", False)),
            container,
            encoding,
            rate,
            str(voice.get("id", "")),
            _within(tuning.get("speed"), 0.6, 2.0),
            _within(tuning.get("volume"), 0.5, 2.0),
            bool(data.get("add_timestamps", False)),
            buffer_ms / 1000.0,
        )

    def phrases(self, synthesizer: Synthesizer, text: str) -> Iterator[Phrase]:
        """Speak `text` the way this request wants it."""
        for phrase in synthesizer.phrases(text, self.sample_rate, self.voice, self.pace):
            if self.volume == 1.0:
                yield phrase
                continue
            louder = np.clip(phrase.pcm.astype(np.float32) * self.volume, -32768, 32767).astype(np.int16)
            yield Phrase(phrase.text, louder, phrase.words)

    def speak_all(self, synthesizer: Synthesizer) -> Samples:
        """All audio of the transcript in one array."""
        parts = [phrase.pcm for phrase in self.phrases(synthesizer, self.transcript)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def chunks(self, pcm: Samples) -> Iterator[Samples]:
        """Cut audio into chunks of `CHUNK_S`."""
        size = int(CHUNK_S * self.sample_rate)
        for at in range(0, len(pcm), size):
            yield pcm[at : at + size]

    def encode(self, pcm: Samples) -> bytes:
        """Samples in the encoding that was asked for."""
        return ENCODERS[self.encoding](pcm)


def chunk_message(context_id: str, data: bytes, step_ms: float) -> dict[str, Any]:
    """A piece of audio; `step_ms` is how long it took since the last."""
    return {
        "type": "chunk",
        "status_code": 206,
        "done": False,
        "context_id": context_id,
        "step_time": round(step_ms, 2),
        "data": base64.b64encode(data).decode(),
    }


def timestamps_message(context_id: str, words: tuple[Word, ...], offset_s: float) -> dict[str, Any]:
    """When words are spoken, in seconds from the start of the context."""
    return {
        "type": "timestamps",
        "status_code": 206,
        "done": False,
        "context_id": context_id,
        "word_timestamps": {
            "words": [word.text for word in words],
            "start": [round(word.start + offset_s, 3) for word in words],
            "end": [round(word.end + offset_s, 3) for word in words],
        },
    }


def flush_message(context_id: str, number: int) -> dict[str, Any]:
    """All audio of what came before a flush was sent."""
    return {
        "type": "flush_done",
        "status_code": 206,
        "done": False,
        "flush_done": True,
        "flush_id": number,
        "context_id": context_id,
    }


def done_message(context_id: str) -> dict[str, Any]:
    """The context is over."""
    return {"type": "done", "status_code": 200, "done": True, "context_id": context_id}


def error_message(context_id: str | None, status: int, error: str) -> dict[str, Any]:
    """Something is wrong with a request; it ends its context."""
    return {
        "type": "error",
        "status_code": status,
        "done": True,
        "error": error,
        "context_id": context_id,
    }


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} is not an object")
    return cast(Mapping[str, Any], value)


def _within(value: Any, low: float, high: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 1.0
    return min(high, max(low, float(value)))


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
