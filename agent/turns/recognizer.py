"""A recogniser that keeps to itself what the caller says without wanting the floor.

The framework stops the agent for good at any final transcript, an "mm-hm" included. This wrapper around any
streaming `STT` lets a transcript through only when it is the caller's turn or the words are more than a sign
of listening.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable
from typing import Any

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr, stt, utils

from agent.turns.backchannel import Overlap
from agent.turns.echo import EchoGate
from agent.turns.floor import Floor

_TRANSCRIPTS = (
    stt.SpeechEventType.INTERIM_TRANSCRIPT,
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT,
    stt.SpeechEventType.FINAL_TRANSCRIPT,
)


class PhoneSTT(stt.STT[Any]):
    """Wraps `inner`; everything but transcripts over the agent's speech passes through."""

    def __init__(self, inner: stt.STT[Any], floor: Floor) -> None:
        super().__init__(capabilities=inner.capabilities)
        self._inner, self._floor = inner, floor
        self._label = inner.label
        self._recognize_metrics_needed = False
        inner.on("metrics_collected", self._on_metrics)
        inner.on("error", self._on_error)

    @property
    def inner(self) -> stt.STT[Any]:
        """The wrapped recogniser."""
        return self._inner

    @property
    def model(self) -> str:
        """The wrapped recogniser's."""
        return self._inner.model

    @property
    def provider(self) -> str:
        """The wrapped recogniser's."""
        return self._inner.provider

    def prewarm(self) -> None:
        """Prepare the wrapped recogniser."""
        self._inner.prewarm()

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        """A stream of the wrapped recogniser, filtered."""
        return _PhoneStream(self, self._floor, language=language, conn_options=conn_options)

    async def aclose(self) -> None:
        """Let go of the wrapped recogniser; it is closed by whoever made it."""
        self._inner.off("metrics_collected", self._on_metrics)
        self._inner.off("error", self._on_error)

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        return await self._inner.recognize(buffer, language=language, conn_options=conn_options)

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self._inner._update_session_keyterms(keyterms)

    def _on_metrics(self, *args: Any, **kwargs: Any) -> None:
        self.emit("metrics_collected", *args, **kwargs)

    def _on_error(self, *args: Any, **kwargs: Any) -> None:
        self.emit("error", *args, **kwargs)


class _PhoneStream(stt.RecognizeStream):
    def __init__(
        self, outer: PhoneSTT, floor: Floor, *, language: NotGivenOr[str], conn_options: APIConnectOptions
    ) -> None:
        # Retries are the wrapped stream's: one attempt here.
        super().__init__(stt=outer, conn_options=APIConnectOptions(max_retry=0, timeout=conn_options.timeout))
        self._wrapped, self._floor, self._gate = outer.inner, floor, EchoGate()
        self._language, self._wrapped_options = language, conn_options

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[stt.SpeechEvent]) -> None:
        async for _ in event_aiter:
            pass  # the wrapped stream reports its own metrics

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        """Errors are the wrapped stream's, and have been passed on already."""

    async def _run(self) -> None:
        async with self._wrapped.stream(
            language=self._language, conn_options=self._wrapped_options
        ) as stream:
            stream.start_time_offset = self.start_time_offset

            async def forward() -> None:
                async for item in self._input_ch:
                    if isinstance(item, rtc.AudioFrame):
                        stream.push_frame(self._cleaned(item))
                    else:
                        stream.flush()
                stream.end_input()

            feeding = asyncio.create_task(forward(), name="phone_stt_forward")
            # In order with the audio: what the voice detector has heard, this stream has been given.
            self._floor.finalize = self._finalize
            try:
                async for event in stream:
                    self._context = stream.context
                    self._filter(event)
            finally:
                if self._floor.finalize == self._finalize:  # else another stream has taken over
                    self._floor.finalize = None
                await utils.aio.cancel_and_wait(feeding)

    def _finalize(self) -> None:
        if not self._input_ch.closed:
            self.flush()

    def _cleaned(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        if self._gate.passes(frame.data, frame.duration, agent_speaking=self._floor.agent_audible):
            return frame
        return utils.audio.silence_frame_like(frame)

    def _filter(self, event: stt.SpeechEvent) -> None:
        if event.type not in _TRANSCRIPTS or not event.alternatives:
            self._event_ch.send_nowait(event)
            return
        final = event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
        text = event.alternatives[0].text
        over = self._floor.admit(text, final=final, confidence=event.alternatives[0].confidence)
        if over is None or over is Overlap.WORDS:
            self._floor.words(text, final=final, certainty=_certainty(event.alternatives[0]))
            self._event_ch.send_nowait(event)
        elif final and over in (Overlap.BACKCHANNEL, Overlap.NOTHING):
            self._floor.keep(event, self._release)

    def _release(self, event: stt.SpeechEvent) -> None:
        """The "yes" over the end of a question was its answer after all."""
        with contextlib.suppress(utils.aio.ChanClosed):
            self._floor.words(event.alternatives[0].text, final=True)
            self._event_ch.send_nowait(event)


def _certainty(data: stt.SpeechData) -> float:
    """Confidence in the last word, else in all of them; 1 when the recogniser gives none."""
    last = data.words[-1].confidence if data.words else None
    if isinstance(last, float) and last > 0:
        return last
    return data.confidence or 1.0
