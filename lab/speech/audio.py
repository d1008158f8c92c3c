"""Encodings of audio on the wires: linear PCM, G.711, floats; bytes in, 16-bit samples out, and back."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]


class AudioFormatError(ValueError):
    """An encoding, container or sample rate that these servers cannot read or write."""


def _g711_tables() -> tuple[Samples, Samples]:
    """What each byte of mu-law and A-law means (ITU-T G.711)."""
    byte = np.arange(256, dtype=np.int32)
    mu = ~byte & 0xFF
    size = (((mu & 0x0F) << 3) + 0x84 << ((mu & 0x70) >> 4)) - 0x84
    mu_law = np.where(mu & 0x80, -size, size)
    a = byte ^ 0x55
    exponent = (a & 0x70) >> 4
    mantissa = (a & 0x0F) << 4
    size = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    a_law = np.where(a & 0x80, size, -size)
    return mu_law.astype(np.int16), a_law.astype(np.int16)


def _encoder(decoded: Samples) -> NDArray[np.uint8]:
    """For every 16-bit sample (offset by 32768) the byte whose meaning is nearest."""
    order = np.argsort(decoded, kind="stable")
    levels = decoded[order].astype(np.int32)
    edges = (levels[:-1] + levels[1:]) / 2
    nearest = np.searchsorted(edges, np.arange(-32768, 32768), side="right")
    return order[nearest].astype(np.uint8)


_MU, _A = _g711_tables()
_MU_ENCODER, _A_ENCODER = _encoder(_MU), _encoder(_A)


def _from_s16(data: bytes) -> Samples:
    return np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.int16)


def _from_s32(data: bytes) -> Samples:
    return (np.frombuffer(data[: len(data) // 4 * 4], dtype="<i4") >> 16).astype(np.int16)


def _from_mulaw(data: bytes) -> Samples:
    return _MU[np.frombuffer(data, dtype=np.uint8)]


def _from_alaw(data: bytes) -> Samples:
    return _A[np.frombuffer(data, dtype=np.uint8)]


def _to_mulaw(pcm: Samples) -> bytes:
    return _MU_ENCODER[pcm.astype(np.int32) + 32768].tobytes()


def _to_alaw(pcm: Samples) -> bytes:
    return _A_ENCODER[pcm.astype(np.int32) + 32768].tobytes()


def _to_s16(pcm: Samples) -> bytes:
    return pcm.astype("<i2").tobytes()


def _to_f32(pcm: Samples) -> bytes:
    return (pcm.astype(np.float32) / 32768.0).astype("<f4").tobytes()


DECODERS: dict[str, Callable[[bytes], Samples]] = {
    "linear16": _from_s16,
    "linear32": _from_s32,
    "mulaw": _from_mulaw,
    "alaw": _from_alaw,
}
"""By Deepgram's names."""

ENCODERS: dict[str, Callable[[Samples], bytes]] = {
    "pcm_s16le": _to_s16,
    "pcm_f32le": _to_f32,
    "pcm_mulaw": _to_mulaw,
    "pcm_alaw": _to_alaw,
}
"""By Cartesia's names."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000


def check_rate(rate: int) -> int:
    """The sample rate, if it is one that phones and browsers use; raises `AudioFormatError`."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioFormatError(f"sample_rate {rate} is not between {LOWEST_RATE} and {HIGHEST_RATE}")
    return rate


def read_wav(data: bytes) -> tuple[Samples, int]:
    """First channel and sample rate of a WAV file (PCM of 16 or 32 bits); raises `AudioFormatError`."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise AudioFormatError(f"not a PCM WAV file: {error}") from error
    if width not in (2, 4):
        raise AudioFormatError(f"a WAV of {8 * width} bits; 16 and 32 are read")
    samples = _from_s16(frames) if width == 2 else _from_s32(frames)
    return samples[::channels], check_rate(rate)


def wav_bytes(pcm: Samples, rate: int) -> bytes:
    """A mono 16-bit WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(_to_s16(pcm))
    return buffer.getvalue()
