"""SIP messages out of TCP segments: put in order, cut by Content-Length. Bounded, and no I/O."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field

from sip.service.signalling.framing import Framing
from sip.trace.network import Endpoint, Segment

FLOWS = 4_096
"""Directions of connections followed at once; the one that was silent longest is given up."""
HELD = 64
"""Segments that wait for an earlier one; then that one counts as missing from the capture."""
START = re.compile(
    rb"(?:\r?\n)*(?:SIP/2\.0 \d{3}|[A-Z]{3,16} (?:sips?|tel|urn):[^\r\n]{1,2000} SIP/2\.0\r\n)"
)
"""How a SIP message begins."""
_TLS = b"\x16\x03"


@dataclass
class _Flow:
    framing: Framing = field(default_factory=Framing)
    expected: int | None = None
    held: dict[int, bytes] = field(default_factory=dict[int, bytes])
    synced: bool = False
    """Whether the framing stands at the start of a message."""


class Streams:
    """Feeds segments in, takes messages out. `encrypted` counts connections that begin as TLS."""

    def __init__(self) -> None:
        self.encrypted = 0
        self.gaps = 0
        self._flows: OrderedDict[tuple[Endpoint, Endpoint], _Flow] = OrderedDict()

    def feed(self, segment: Segment) -> list[bytes]:
        """Whole messages that this segment completed."""
        key = (segment.source, segment.target)
        flow = self._flows.get(key)
        if segment.syn or flow is None:
            flow = self._flows[key] = _Flow()
            if segment.syn:
                flow.expected = (segment.sequence + 1) & 0xFFFFFFFF
            if len(self._flows) > FLOWS:
                self._flows.popitem(last=False)
        self._flows.move_to_end(key)
        if not segment.payload:
            if segment.ended:
                self._flows.pop(key, None)
            return []
        if not flow.synced and flow.expected is None:
            # The capture began inside the connection: wait for something that begins a message.
            if not START.match(segment.payload):
                return []
            flow.expected = segment.sequence
        if not flow.synced and segment.payload.startswith(_TLS):
            self.encrypted += 1
        flow.held[segment.sequence] = segment.payload
        return self._drain(flow)

    def _drain(self, flow: _Flow) -> list[bytes]:
        messages: list[bytes] = []
        while data := self._next(flow):
            if not flow.synced:
                if not START.match(data) and data.strip():
                    continue
                flow.synced = True
            messages += [message for message in flow.framing.feed(data) if START.match(message)]
            if flow.framing.broken:
                flow.framing, flow.synced = Framing(), False
        return messages

    def _next(self, flow: _Flow) -> bytes:
        assert flow.expected is not None
        for sequence in list(flow.held):
            ahead = (sequence - flow.expected + 2**31) % 2**32 - 2**31
            data = flow.held[sequence]
            if ahead <= 0:
                del flow.held[sequence]
                if ahead + len(data) > 0:  # not all of it was here before
                    flow.expected = (sequence + len(data)) & 0xFFFFFFFF
                    return data[-ahead:]
        if len(flow.held) >= HELD:
            self.gaps += 1
            expected = flow.expected
            nearest = min(flow.held, key=lambda sequence: (sequence - expected) % 2**32)
            flow.expected, flow.framing, flow.synced = nearest, Framing(), False
            return self._next(flow)
        return b""
