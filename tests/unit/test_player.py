"""Sounds for a caller in no room, with audio and clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from sip.service.media.player import BEEP, Player
from sip.service.media.sounds import sound

RATE = 8_000
TICK = 0.005
PER_MS = RATE * 2 // 1000


@dataclass
class Info:
    tx_buffered: int


class Line:
    """The way to the caller: sends what was written in real time."""

    def __init__(self) -> None:
        self.queued = 0
        self.heard = b""

    def write(self, pcm: bytes) -> int:
        """Queue audio."""
        self.queued += len(pcm)
        self.heard += pcm
        return len(pcm)

    def info(self) -> Info:
        """What is queued."""
        return Info(self.queued)


class Clock:
    """A clock that ticks when told."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._now = 100.0
        self.tickers: list[Callable[[float], None]] = []

    def add(self, ticker: Callable[[float], None]) -> None:
        """One more."""
        self.tickers.append(ticker)

    def remove(self, ticker: Callable[[float], None]) -> None:
        """One less."""
        self.tickers = [each for each in self.tickers if each != ticker]

    async def run(self, seconds: float, step: float = TICK) -> None:
        """Let so much time pass, in steps."""
        for _ in range(round(seconds / step)):
            self._now += step
            self._line.queued = max(0, self._line.queued - round(step * 1000) * PER_MS)
            for ticker in self.tickers:
                ticker(self._now)
            await asyncio.sleep(0)


@pytest.fixture
def line() -> Line:
    """A line."""
    return Line()


@pytest.fixture
def clock(line: Line) -> Clock:
    """Its clock."""
    return Clock(line)


async def begun(player: Player, name: str) -> asyncio.Task[None]:
    """A sound that has begun."""
    playing = asyncio.create_task(player.play(name))
    await asyncio.sleep(0)
    return playing


async def test_a_sound_is_played_whole_and_in_real_time(line: Line, clock: Clock) -> None:
    """Not a sample is lost or early, and the end is told when it has come."""
    wanted = sound("goodbye", RATE)
    seconds = len(wanted) / 2 / RATE
    playing = await begun(Player(clock, line, RATE), "goodbye")
    await clock.run(seconds / 2)
    assert len(line.heard) == pytest.approx(len(wanted) / 2, abs=30 * PER_MS)
    assert not playing.done()
    await clock.run(seconds / 2 + 0.02)
    await asyncio.wait_for(playing, 1)
    assert wanted in line.heard
    assert not clock.tickers


async def test_a_stall_makes_a_pause_and_no_hole(line: Line, clock: Clock) -> None:
    """When the clock stands for half a second, the caller still hears every word."""
    wanted = sound("goodbye", RATE)
    playing = await begun(Player(clock, line, RATE), "goodbye")
    await clock.run(0.2)
    await clock.run(0.5, step=0.5)
    await clock.run(len(wanted) / 2 / RATE)
    await asyncio.wait_for(playing, 1)
    voiced = np.frombuffer(wanted, np.int16)
    heard = np.frombuffer(line.heard, np.int16)
    assert np.abs(heard.astype(int)).sum() == np.abs(voiced.astype(int)).sum()


@pytest.mark.parametrize("after", ["", BEEP])
async def test_the_next_sound_takes_its_place(line: Line, clock: Clock, after: str) -> None:
    """Silence or another sound ends what is played, and who waited for its end goes on."""
    player = Player(clock, line, RATE)
    first = await begun(player, "enter_pin")
    await clock.run(0.5)
    second = await begun(player, after)
    await asyncio.wait_for(first, 1)
    before = len(line.heard)
    await clock.run(1.0)
    await asyncio.wait_for(second, 1)
    seconds = (len(line.heard) - before) / 2 / RATE
    assert seconds == pytest.approx(0.15 if after else 0.0, abs=0.03)
    player.stop()
    assert not clock.tickers
