"""A voice detector for telephone lines: Silero, deaf to the agent's echo, and slow to call an overlap
finished.

While the agent speaks, three things differ from plain Silero. Frames below the echo gate count as silence.
The speech duration that the framework compares with `interruption.min_duration` grows with the probability of
voice, so that a clear voice pauses the agent at once and a cough later or never. And the end of an overlap is
reported only when it is known what it was, so that the framework resumes at once after an "mm-hm" and never
resumes after a "stop" that a slow recogniser has not yet delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

from livekit import rtc
from livekit.agents import utils, vad

from agent.turns.backchannel import Overlap
from agent.turns.echo import EchoGate
from agent.turns.floor import Floor

_HUSH_S = 0.15
_BACKCHANNEL_S = 0.9  # after more voice than this an interim "okay" was only the beginning
_START, _WINDOW, _END = (
    vad.VADEventType.START_OF_SPEECH,
    vad.VADEventType.INFERENCE_DONE,
    vad.VADEventType.END_OF_SPEECH,
)


@dataclass(frozen=True)
class OverlapWaits:
    """How long the end of the caller's speech over the agent is kept back, in seconds after Silero's own end.

    `unclear`: little voice was heard and no words: a cough, a click. `voiced`: at least `clear` seconds of
    voice; its words are waited for, since a "stop" is no longer than that. `long`: at least `spoken` seconds,
    or interim words that ask for the floor; what is said is waited for, however slow the recogniser.
    """

    unclear: float = 0.2
    voiced: float = 1.0
    long: float = 1.5
    clear: float = 0.28
    spoken: float = 0.6

    def bound(self, voiced: float, likely: Overlap | None) -> float:
        """The wait after `voiced` seconds of voice whose words are `likely` this, so far."""
        if likely is Overlap.WORDS or voiced >= self.spoken:
            return self.long
        return self.voiced if voiced >= self.clear else self.unclear


class PhoneVAD(vad.VAD):
    """Wraps `inner` (Silero). Without an attached session it is `inner`."""

    def __init__(self, inner: vad.VAD, floor: Floor, waits: OverlapWaits) -> None:
        super().__init__(capabilities=inner.capabilities)
        self._inner, self._floor, self._waits = inner, floor, waits
        self._label = inner._label
        floor.listening = True

    @property
    def model(self) -> str:
        """The wrapped detector's."""
        return self._inner.model

    @property
    def provider(self) -> str:
        """The wrapped detector's."""
        return self._inner.provider

    @property
    def min_silence_duration(self) -> float | None:
        """The wrapped detector's, in seconds."""
        return getattr(self._inner, "min_silence_duration", None)

    def stream(self) -> vad.VADStream:
        """A stream of the wrapped detector, filtered."""
        return _PhoneVADStream(self, self._inner, self._floor, self._waits)


class _PhoneVADStream(vad.VADStream):
    def __init__(self, outer: PhoneVAD, inner: vad.VAD, floor: Floor, waits: OverlapWaits) -> None:
        self._wrapped = inner.stream()
        self._floor, self._waits, self._gate = floor, waits, EchoGate()
        self._over = False
        self._voiced = 0.0
        """Seconds of clear voice in the present speech."""
        self._pending: asyncio.Task[None] | None = None
        self._hushed = True
        super().__init__(outer)

    def flush(self) -> None:
        """Begin anew."""
        super().flush()
        self._drop_pending()

    async def _main_task(self) -> None:
        async def forward() -> None:
            async for item in self._input_ch:
                if isinstance(item, rtc.AudioFrame):
                    self._wrapped.push_frame(self._cleaned(item))
                else:
                    self._wrapped.flush()
            self._wrapped.end_input()

        feeding = asyncio.create_task(forward(), name="phone_vad_forward")
        try:
            async for event in self._wrapped:
                self._on_event(event)
        finally:
            self._drop_pending()
            await utils.aio.cancel_and_wait(feeding)
            await self._wrapped.aclose()

    def _cleaned(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        if self._gate.passes(frame.data, frame.duration, agent_speaking=self._floor.agent_audible):
            return frame
        return utils.audio.silence_frame_like(frame)

    def _on_event(self, event: vad.VADEvent) -> None:
        if event.type is _WINDOW:
            self._on_window(event)
        elif event.type is _START:
            self._on_start(event)
        elif event.type is _END:
            self._on_end(event)
        else:
            self._event_ch.send_nowait(event)

    def _on_window(self, event: vad.VADEvent) -> None:
        if event.raw_accumulated_speech > 0:
            # Silero at 0.5 may be breath or a cough, above 0.9 it is a voice.
            self._voiced += 0.032 * min(1.0, max(0.0, (event.probability - 0.4) / 0.5))
            self._floor.voice_at = self._floor.clock()
            self._floor.voiced = max(self._floor.voiced, self._voiced)
            self._hushed = False
        elif not event.speaking:
            self._voiced = 0.0
        if event.speaking and not self._hushed and event.raw_accumulated_silence >= _HUSH_S:
            self._hushed = True
            self._floor.voice_hushed()
        if self._over or self._floor.agent_audible:
            event = replace(event, speech_duration=min(event.speech_duration, self._voiced))
        self._event_ch.send_nowait(event)

    def _on_start(self, event: vad.VADEvent) -> None:
        goes_on = self._pending is not None
        self._drop_pending()
        if goes_on:
            self._floor.likely = None  # there is more to it than what was heard so far
            return  # and the framework has not been told of any end
        self._over = self._floor.agent_holds
        if self._over:
            self._floor.voice_over_agent()
        self._floor.voice_began(self._floor.clock() - event.speech_duration)
        self._event_ch.send_nowait(event)
        if self._over:
            # Silero tells of the window before it tells of the start: again, so that a pause need not wait
            # for the next.
            self._event_ch.send_nowait(replace(event, type=_WINDOW, speech_duration=self._voiced))

    def _on_end(self, event: vad.VADEvent) -> None:
        ended_at = self._floor.clock() - event.silence_duration
        if self._over and self._floor.agent_holds and not self._resolved():
            bound = self._waits.bound(self._voiced, self._floor.likely)
            self._pending = asyncio.create_task(
                self._end_when_known(event, ended_at, bound), name="phone_vad_end"
            )
            return
        self._end(event, ended_at)

    def _resolved(self) -> bool:
        """Known by the final words, or likely no turn by the interim ones: no final is waited for."""
        if self._floor.known.is_set():
            return True
        return self._voiced <= _BACKCHANNEL_S and self._floor.likely in (Overlap.BACKCHANNEL, Overlap.ECHO)

    async def _end_when_known(self, event: vad.VADEvent, ended_at: float, bound: float) -> None:
        with contextlib.suppress(TimeoutError):  # then nobody knows: what had no words was no turn
            await asyncio.wait_for(self._floor.known.wait(), bound)
        self._pending = None
        self._end(replace(event, silence_duration=self._floor.clock() - ended_at), ended_at)

    def _end(self, event: vad.VADEvent, ended_at: float) -> None:
        self._over = False
        self._voiced = 0.0
        self._floor.voice_ended(ended_at)
        self._event_ch.send_nowait(event)

    def _drop_pending(self) -> None:
        pending: asyncio.Task[Any] | None = self._pending
        if pending is not None:
            pending.cancel()
            self._pending = None
