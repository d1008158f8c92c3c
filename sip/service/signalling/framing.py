"""Cutting a TCP byte stream into SIP messages (RFC 3261 18.3), with no socket in it."""

from __future__ import annotations

import re

from sip.service.signalling.messages import MAX_MESSAGE

PING = b"\r\n\r\n"
PONG = b"\r\n"
"""Keep-alive over a connection (RFC 5626 4.4.1)."""

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)[ \t]*(?=\r\n)", re.IGNORECASE)


class Framing:
    """Bytes in, whole messages out. `broken` says that the stream cannot be followed any further."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.pings = 0
        """Keep-alive pings not yet answered."""
        self.broken = ""
        """Why nothing more can be read: `too large`, or that a length is missing."""

    def feed(self, data: bytes) -> list[bytes]:
        """Whole messages, in order. What made the stream unreadable comes last, as far as it was read."""
        self._buffer += data
        messages: list[bytes] = []
        while not self.broken and (message := self._next()):
            messages.append(message)
        return messages

    def _next(self) -> bytes:
        self._skip_pings()
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return self._give_up("too large") if len(self._buffer) > MAX_MESSAGE else b""
        lengths = _LENGTH.findall(self._buffer, 0, end + 2)
        if len(lengths) != 1 or len(lengths[0]) > 9:
            # Without a length there is no telling where the next message starts.
            return self._give_up("no usable Content-Length")
        size = end + 4 + int(lengths[0])
        if size > MAX_MESSAGE:
            return self._give_up("too large")
        if len(self._buffer) < size:
            return b""
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message

    def _skip_pings(self) -> None:
        while self._buffer.startswith(PING):
            del self._buffer[: len(PING)]
            self.pings += 1
        # A single CRLF may be half of a ping, or what some stacks send between messages.
        if self._buffer.startswith(PONG) and len(self._buffer) > 2 and not PING.startswith(self._buffer):
            del self._buffer[: len(PONG)]

    def _give_up(self, reason: str) -> bytes:
        self.broken = reason
        message = bytes(self._buffer)
        self._buffer.clear()
        return message
