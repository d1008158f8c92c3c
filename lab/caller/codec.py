"""The telephone's codecs: G.711 µ-law and A-law by table (ITU-T G.711), G.722 by FFmpeg's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from sip.errors import ConfigurationError

Pcm = NDArray[np.int16]


class Coder(Protocol):
    """Samples to payload and back; one for each call, since G.722 has memory."""

    def encode(self, pcm: Pcm) -> bytes:
        """The payload of 20 ms."""
        ...

    def decode(self, payload: bytes) -> Pcm:
        """The samples of a payload."""
        ...


@dataclass(frozen=True)
class Codec:
    """How a codec is offered, and the rate of its audio; its RTP clock is 8000 Hz (RFC 3551 4.5.2)."""

    name: str
    payload_type: int
    rate: int

    def coder(self) -> Coder:
        """A new coder for one call."""
        return G722Coder() if self.name == "G722" else G711Coder(self.name)


CODECS = {
    "PCMU": Codec("PCMU", 0, 8000),
    "PCMA": Codec("PCMA", 8, 8000),
    "G722": Codec("G722", 9, 16000),
}


def codec_named(name: str) -> Codec:
    """The codec of this name. Raises `ConfigurationError`."""
    found = CODECS.get(name.upper())
    if found is None:
        raise ConfigurationError(f"there is no codec {name}", "", f"There are {', '.join(CODECS)}.")
    return found


class G711Coder:
    """µ-law or A-law: the nearest of 256 levels."""

    def __init__(self, name: str) -> None:
        self._levels = _mu_law_levels() if name == "PCMU" else _a_law_levels()
        order = np.argsort(self._levels, kind="stable")
        levels = self._levels[order].astype(np.int32)
        middles = (levels[1:] + levels[:-1]) // 2
        nearest = np.searchsorted(middles, np.arange(-32768, 32768), side="left")
        self._codes = order[nearest].astype(np.uint8)

    def encode(self, pcm: Pcm) -> bytes:
        """One byte a sample."""
        return self._codes[pcm.astype(np.int32) + 32768].tobytes()

    def decode(self, payload: bytes) -> Pcm:
        """One sample a byte."""
        return self._levels[np.frombuffer(payload, np.uint8)]


class G722Coder:
    """64 kbit/s: 16 kHz audio, one byte for two samples."""

    def __init__(self) -> None:
        import av

        self._av = cast(Any, av)
        self._encoder = self._av.CodecContext.create("g722", "w")
        self._encoder.sample_rate, self._encoder.layout, self._encoder.format = 16000, "mono", "s16"
        self._decoder = self._av.CodecContext.create("g722", "r")
        self._decoder.sample_rate, self._decoder.layout = 16000, "mono"

    def encode(self, pcm: Pcm) -> bytes:
        """Half as many bytes as samples."""
        frame = self._av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 16000
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))

    def decode(self, payload: bytes) -> Pcm:
        """Twice as many samples as bytes."""
        frames = self._decoder.decode(self._av.Packet(payload))
        return np.concatenate([np.asarray(frame.to_ndarray(), np.int16).ravel() for frame in frames])


def _mu_law_levels() -> Pcm:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law_levels() -> Pcm:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
