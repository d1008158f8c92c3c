"""The near leg of a call: baresip's side of it, towards the edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from baresip import AudioNotActive, BaresipError, CallStats, Event, StackEvent
from baresip.audio import CallAudio
from baresip.call import Call, CallState, DigitEvent
from baresip.ua import UserAgent

from sip import quality

AUDIO_TIMEOUT = 2.0
"""Seconds from the answer to running audio."""
ACK_TIMEOUT = 40.0
"""A little more than the 32 s after which baresip gives up waiting for the ACK (64 T1, RFC 3261)."""
CLOSE_TIMEOUT = 1.0
"""Seconds to wait for baresip's last word on a call, which has its statistics."""


class NearLeg:
    """One baresip call. `on_ringing`, `on_closed(reason)`, `on_digit(digit)` are called on the event loop."""

    def __init__(
        self,
        call: Call,
        on_ringing: Callable[[], None],
        on_closed: Callable[[str], None],
        on_digit: Callable[[str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._call, self._on_ringing, self._on_closed = call, on_ringing, on_closed
        self.established: asyncio.Future[None] = loop.create_future()
        """Done once the other side has acknowledged the answer, or has answered."""
        self._closed: asyncio.Future[None] = loop.create_future()
        call.on(self._on_event)

        def on_dtmf(event: DigitEvent) -> None:
            on_digit(event.digit)

        call.on_dtmf(on_dtmf)

    @property
    def held(self) -> bool:
        """Whether the far end holds the call."""
        return self._call.remote_on_hold

    def audio(self) -> CallAudio:
        """The call's audio, as an object for one thread: it remembers which streams it is bound to."""
        return CallAudio(self._call.handle)

    async def answer(self) -> None:
        """200 OK; returns with the ACK. Raises `BaresipError`, and `TimeoutError` without an ACK."""
        await self._call.answer(video=True)  # otherwise a re-INVITE follows the ACK
        async with asyncio.timeout(ACK_TIMEOUT):
            await asyncio.shield(self.established)

    async def rate(self) -> int:
        """The codec's sample rate in Hz, once audio runs; `TimeoutError` when it does not.

        baresip has no event for that, so it is asked.
        """
        async with asyncio.timeout(AUDIO_TIMEOUT):
            while True:
                with contextlib.suppress(AudioNotActive):
                    if rate := self._call.audio.info().rx_sample_rate:
                        return rate
                await asyncio.sleep(0.002)

    async def press(self, digit: str) -> None:
        """Send a digit by RFC 4733; returns when its key is released. Raises `BaresipError`."""
        await self._call.send_dtmf(digit)

    async def close(self) -> None:
        """Hang up, or refuse what was not answered; returns with baresip's last word. Twice is safe."""
        if self._call.state is not CallState.CLOSED:
            with contextlib.suppress(BaresipError):
                await self._call.hangup()
            await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT)

    def measured(self, codec: str) -> dict[str, Any]:
        """What was measured on the RTP received; empty before the end of the call."""
        stats = self._call.final_stats
        return summarise(stats, codec) if stats else {}

    def replay(self, events: list[StackEvent]) -> None:
        """What baresip has said of the call before this object stood."""
        for event in events:
            if event.call == self._call.handle:
                self._on_event(event)

    def _on_event(self, event: StackEvent) -> None:
        if event.event is Event.CALL_ESTABLISHED:
            if not self.established.done():
                self.established.set_result(None)
        elif event.event is Event.CALL_RINGING:
            self._on_ringing()
        elif event.event is Event.CALL_CLOSED:
            if not self._closed.done():
                self._closed.set_result(None)
            self._on_closed("hung up" if self.established.done() else event.text or "cancelled")


async def place(agent: UserAgent, uri: str, leg: Callable[[Call], NearLeg]) -> NearLeg:
    """Call `uri`; `leg` makes the near leg of the call. Raises `BaresipError`."""
    early: list[StackEvent] = []

    def note(event: StackEvent) -> None:
        early.append(event)

    agent.on(note)
    try:
        call = await agent.dial(uri)
    finally:
        agent.off(note)
    near = leg(call)
    near.replay(early)
    return near


def summarise(stats: CallStats, codec: str) -> dict[str, Any]:
    """The statistics of a call as its record has them; `r` and `mos` are None when nothing was received."""
    total = stats.rx_packets + stats.rx_lost
    loss_pct = 100 * max(0, stats.rx_lost) / total if total else 0.0
    rating = quality.assess(codec, loss_pct, stats.rx_jitter_ms, stats.rtt_ms)
    return {
        "codec": codec,
        "packets": stats.rx_packets,
        "lost": stats.rx_lost,
        "loss_pct": round(loss_pct, 3),
        "jitter_ms": round(stats.rx_jitter_ms, 2),
        "rtt_ms": round(stats.rtt_ms, 2),
        "r": round(rating.r, 1) if stats.rx_packets else None,
        "mos": round(rating.mos, 2) if stats.rx_packets else None,
    }
