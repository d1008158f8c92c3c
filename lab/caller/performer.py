"""Does the steps of a script, one after the other, on a call that stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import words
from .line import Done, Line, Pcm
from .listener import Listener
from .phone import Phone
from .script import (
    Echo,
    Expect,
    ExpectHangUp,
    HangUp,
    Interrupt,
    Noise,
    Pause,
    Play,
    Press,
    Say,
    Step,
    WaitForSilence,
    WaitForSpeech,
)

Emit = Callable[..., None]
TO_THE_END = 3600.0
"""Seconds: longer than any call."""
SENTENCE_PAUSE = 0.3
"""Seconds of the agent's silence after which what he said is recognised."""
LONG_SPEECH = 3.0
"""Seconds after which running speech is recognised without a pause."""


class Ears(Protocol):
    """Recognises speech."""

    def transcribe(self, pcm16: NDArray[np.int16], rate: int) -> Any:
        """Anything with a `text`."""
        ...


@dataclass(frozen=True)
class Sound:
    """Audio prepared before the call: samples at `rate`."""

    pcm: Pcm
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / self.rate


@dataclass(frozen=True)
class Said:
    """Something that the caller sent; times of the monotonic clock. `text` is None for a WAV file."""

    text: str | None
    began: float
    ended: float
    turn: bool
    interrupts: bool = False


class StepFailed(Exception):
    """A step did not get what it demands: `step`, `what` went wrong, and the words `heard` meanwhile."""

    def __init__(self, step: Step, what: str, heard: str = "") -> None:
        super().__init__(f"{step}: {what}" + (f'; heard: "{heard}"' if heard else ""))
        self.step, self.what, self.heard = step, what, heard


@dataclass
class Performer:
    """One run of a script. `sounds` holds the audio of every speaking step."""

    phone: Phone
    line: Line
    listener: Listener
    ears: Ears
    sounds: Mapping[Step, Sound]
    emit: Emit
    said: list[Said] = field(default_factory=list[Said])
    hung_up: bool = False
    _pulse: asyncio.Event = field(default_factory=asyncio.Event)
    _mark: float = 0.0

    def hear(self, frame: Pcm, at: float) -> None:
        """Called with every frame that was heard."""
        self.listener.feed(frame, at)
        self._pulse.set()

    async def perform(self, steps: tuple[Step, ...]) -> None:
        """All steps in order. Raises `StepFailed` at the first that fails."""
        watch = asyncio.create_task(self._watch_end())
        self._mark = time.monotonic()
        try:
            for step in steps:
                self.emit("step", step=step.name, line=step.line)
                await self._do(step)
        finally:
            watch.cancel()

    async def _do(self, step: Step) -> None:
        match step:
            case Say():
                await self._speak(step, step.text, not step.backchannel)
            case Play():
                await self._speak(step, None, not step.aside)
            case Interrupt():
                await self._until(
                    step, self._spoken_for(step.after_ms / 1000), step.within, "the agent did not speak"
                )
                await self._speak(step, step.text, not step.backchannel)
            case WaitForSpeech():
                await self._until(
                    step, lambda: self.listener.speaking, step.within, "the agent did not speak"
                )
            case WaitForSilence():
                await self._until(step, self._silent_for(step), step.within, "the agent did not fall silent")
            case Expect():
                await self._expect(step)
            case Press():
                self._alive(step)
                self.emit("pressed", digits=len(step.digits))
                await self._until_done(lambda done: self.line.press(step.digits, done))
            case Echo():
                await self._background(step, step.seconds)
            case Noise():
                await self._background(step, step.seconds)
            case Pause():
                await asyncio.sleep(step.pause_ms / 1000)
            case HangUp():
                self.hung_up = True
                await self.phone.hang_up()
            case ExpectHangUp():
                await self._expect_hang_up(step)
            case _:
                raise NotImplementedError(step.name)

    async def _speak(self, step: Step, text: str | None, turn: bool) -> None:
        self._alive(step)
        sound = self.sounds[step]
        if turn:
            self._mark = time.monotonic()
        self.emit("saying", text=text, seconds=round(sound.seconds, 2), turn=turn)
        ended = await self._until_done(lambda done: self.line.play(sound.pcm, sound.rate, done))
        interrupts = isinstance(step, Interrupt) and turn
        self.said.append(Said(text, ended - sound.seconds, ended, turn, interrupts))
        self.emit("said", text=text, turn=turn)

    async def _until_done(self, start: Callable[[Done], None]) -> float:
        """Start something on the line; returns the time at which it was done."""
        over: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def finish(at: float) -> None:
            if not over.done():
                over.set_result(at)

        start(lambda at: over.get_loop().call_soon_threadsafe(finish, at) and None)
        return await over

    async def _background(self, step: Echo | Noise, seconds: float | None) -> None:
        """Echo or noise: waited for when its length is given, going on to the end of the call otherwise."""
        self._alive(step)
        length = seconds or TO_THE_END
        began = time.monotonic()
        if isinstance(step, Echo):
            self.line.echo(step.down_db, step.late_ms / 1000, length)
        else:
            self.line.noise(noise(step.kind, step.level_db, self.line.rate), length)
        self.emit("sounding", kind=step.name, seconds=seconds)
        if seconds is not None:
            await asyncio.sleep(seconds)
            self.said.append(Said(None, began, time.monotonic(), False))

    async def _expect(self, step: Expect) -> None:
        """Recognise what was heard whenever the agent pauses, until the words are there or time is up."""
        deadline = time.monotonic() + step.within
        tried, heard = 0.0, ""
        absent = words.missing(step.any_of, step.all_of, "")
        while True:
            await self._wait(lambda since=tried: self._worth_a_try(since), deadline)
            tried = time.monotonic()
            heard = await asyncio.to_thread(self._recognise)
            absent = words.missing(step.any_of, step.all_of, heard)
            if not absent:
                self.emit("heard", text=heard)
                return
            if time.monotonic() >= deadline or self.phone.ended.is_set():
                raise StepFailed(step, f"did not hear {absent} within {step.within:g} s", heard)

    def _worth_a_try(self, tried: float) -> bool:
        last = self.listener.last_voice
        if self.phone.ended.is_set():
            return True
        if last is None or last <= tried or last < self._mark:
            return False
        paused = self.listener.now - last >= SENTENCE_PAUSE
        return paused or self.listener.now - max(tried, self._mark) > LONG_SPEECH

    def _recognise(self) -> str:
        pcm = self.line.heard_since(self._mark)
        return str(self.ears.transcribe(pcm, self.line.rate).text) if len(pcm) else ""

    async def _expect_hang_up(self, step: ExpectHangUp) -> None:
        await self._wait_end(step, step.within)
        end = self.phone.ending
        if step.by and end.by != step.by:
            raise StepFailed(step, f"the {end.by or 'network'} ended the call, not the {step.by}")
        if step.code and end.code != step.code:
            raise StepFailed(step, f"the call ended with {end.code} {end.reason}, not {step.code}")

    async def _wait_end(self, step: Step, within: float) -> None:
        try:
            await asyncio.wait_for(self.phone.ended.wait(), within)
        except TimeoutError:
            heard = await asyncio.to_thread(self._recognise)
            raise StepFailed(step, f"the call did not end within {within:g} s", heard) from None

    def _spoken_for(self, seconds: float) -> Callable[[], bool]:
        def spoken() -> bool:
            began = self.listener.began
            return began is not None and self.listener.now - began >= seconds

        return spoken

    def _silent_for(self, step: WaitForSilence) -> Callable[[], bool]:
        since = time.monotonic()
        return lambda: self.listener.silent_for(step.silence_ms / 1000, since)

    async def _until(self, step: Step, true: Callable[[], bool], within: float, what: str) -> None:
        await self._wait(lambda: true() or self.phone.ended.is_set(), time.monotonic() + within)
        self._alive(step)
        if not true():
            heard = await asyncio.to_thread(self._recognise)
            raise StepFailed(step, f"{what} within {within:g} s", heard)

    async def _wait(self, true: Callable[[], bool], deadline: float) -> None:
        """Until `true()`, looked at with every frame, or the deadline."""
        while not true():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._pulse.clear()
            try:
                await asyncio.wait_for(self._pulse.wait(), min(left, 0.2))
            except TimeoutError:
                continue

    async def _watch_end(self) -> None:
        await self.phone.ended.wait()
        self._pulse.set()

    def _alive(self, step: Step) -> None:
        if self.phone.ended.is_set():
            end = self.phone.ending
            who = f"the {end.by}" if end.by else "the network"
            raise StepFailed(step, f"{who} had ended the call ({end.code} {end.reason})")


def noise(kind: str, level_db: float, rate: int) -> NDArray[np.float64]:
    """Ten seconds of white or pink noise at an RMS level in dB of full scale; the same in every run."""
    count = 10 * rate
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    if kind == "pink":
        spectrum = spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), count / rate * 50))
    sound = np.fft.irfft(spectrum, count)
    return sound / np.sqrt(np.mean(sound**2)) * 10 ** (level_db / 20)
