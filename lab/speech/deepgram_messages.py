"""What Deepgram's clients ask for and what they are told: the query string and the JSON messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .audio import DECODERS, AudioFormatError, check_rate
from .recognizer import Transcript, Word
from .wire import request_id as new_id


@dataclass(frozen=True)
class Options:
    """What the query string asks for."""

    encoding: str
    sample_rate: int
    channels: int
    interim_results: bool
    punctuate: bool
    vad_events: bool
    endpointing_s: float
    """Silence after which a segment is final, in seconds; infinity when end-pointing is off."""
    utterance_end_s: float | None
    model: str

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Options:
        """Read the query; raises `AudioFormatError` with the reason for a 400."""
        encoding = query.get("encoding", "linear16")
        if encoding not in DECODERS:
            known = ", ".join(sorted(DECODERS))
            raise AudioFormatError(f"encoding {encoding!r} is not known here; {known} are")
        language = query.get("language", "en")
        if language.split("-")[0] not in ("en", "multi"):
            raise AudioFormatError(f"language {language!r} is not spoken here; en is")
        endpointing = query.get("endpointing", "10").lower()
        utterance_end = query.get("utterance_end_ms")
        try:
            silence = float("inf") if endpointing == "false" else float(endpointing) / 1000.0
            utterance_end_s = float(utterance_end) / 1000.0 if utterance_end else None
            rate = int(query.get("sample_rate", "16000"))
            channels = int(query.get("channels", "1"))
        except ValueError as error:
            raise AudioFormatError(f"a number was expected: {error}") from None
        if channels < 1:
            raise AudioFormatError(f"channels {channels} is not at least 1")
        return cls(
            encoding,
            check_rate(rate),
            channels,
            is_true(query.get("interim_results")),
            is_true(query.get("punctuate")) or is_true(query.get("smart_format")),
            is_true(query.get("vad_events")),
            silence,
            utterance_end_s,
            query.get("model", "nova-3"),
        )


def is_true(value: str | None) -> bool:
    """A flag of the query string; absent is false."""
    return value is not None and value.lower() in ("true", "1", "yes", "")


def alternative(transcript: Transcript, offset_s: float, punctuate: bool) -> dict[str, Any]:
    """One alternative of a channel; word times are moved by `offset_s`."""
    words = [_word(word, offset_s, punctuate) for word in transcript.words]
    text = transcript.text if punctuate else " ".join(word["word"] for word in words)
    return {"transcript": text, "confidence": round(transcript.confidence, 4), "words": words}


def results(
    transcript: Transcript,
    options: Options,
    session: str,
    start: float,
    length: float,
    *,
    is_final: bool,
    speech_final: bool,
    finalize: bool = False,
) -> dict[str, Any]:
    """A `Results` message about `length` seconds of audio that begin at `start` of the stream."""
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": round(start, 3),
        "duration": round(length, 3),
        "is_final": is_final,
        "speech_final": speech_final,
        "from_finalize": finalize,
        "channel": {"alternatives": [alternative(transcript, start, options.punctuate)]},
        "metadata": {"request_id": session, "model_info": {"name": options.model, "arch": "whisper-tiny.en"}},
    }


def speech_started(at: float) -> dict[str, Any]:
    """Somebody began to speak at `at` seconds of the stream."""
    return {"type": "SpeechStarted", "channel": [0, 1], "timestamp": round(at, 3)}


def utterance_end(last_word_end: float) -> dict[str, Any]:
    """Nothing was said for `utterance_end_ms` after the last word."""
    return {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(last_word_end, 3)}


def metadata(session: str, audio_s: float, model: str) -> dict[str, Any]:
    """The last message of a stream."""
    return {
        "type": "Metadata",
        "request_id": session,
        "created": now(),
        "duration": round(audio_s, 3),
        "channels": 1,
        "models": [model],
    }


def recording(transcript: Transcript, audio_s: float, model: str, punctuate: bool) -> dict[str, Any]:
    """The answer to a whole recording."""
    return {
        "metadata": {**metadata(new_id(), audio_s, model), "type": "Recording"},
        "results": {"channels": [{"alternatives": [alternative(transcript, 0.0, punctuate)]}]},
    }


def now() -> str:
    """The time, as Deepgram writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _word(word: Word, offset_s: float, punctuate: bool) -> dict[str, Any]:
    plain = word.text.lower().strip('.,?!;:"…').strip() or word.text
    found: dict[str, Any] = {
        "word": plain,
        "start": round(word.start + offset_s, 3),
        "end": round(word.end + offset_s, 3),
        "confidence": word.confidence,
    }
    if punctuate:
        found["punctuated_word"] = word.text
    return found
