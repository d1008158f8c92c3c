"""What can go wrong with a provider, on command: latency, refusals, cuts, silence.

A `Fault` is set per provider and can change while a call runs. Each unit of work (a websocket, a completion,
a spoken context) holds an `Injection` that reads the present fault again at every step, so that open
connections are hit as well.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

Provider = Literal["deepgram", "openai", "cartesia"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
Mode = Literal["http", "cut", "silence"]
Verdict = Literal["go", "cut", "silence", "http"]


class FaultError(ValueError):
    """A fault that cannot be meant; the message says which field and what is allowed."""


@dataclass(frozen=True)
class Latency:
    """Extra milliseconds before an answer: fixed, normal (mean, deviation) or uniform (from, to)."""

    kind: Literal["fixed", "normal", "uniform"] = "fixed"
    first: float = 0.0
    second: float = 0.0

    def draw(self, source: random.Random) -> float:
        """One latency in seconds, never negative."""
        if self.kind == "normal":
            value = source.gauss(self.first, self.second)
        elif self.kind == "uniform":
            value = source.uniform(self.first, self.second)
        else:
            value = self.first
        return max(0.0, value) / 1000.0

    def to_json(self) -> Any:
        """What `parse_latency` reads."""
        return self.first if self.kind == "fixed" else {self.kind: [self.first, self.second]}


@dataclass(frozen=True)
class Fault:
    """What to do to a provider.

    `fail`: "http" refuses with `status`; "cut" breaks the connection; "silence" accepts and says nothing
    more. "cut" and "silence" wait until `after_chunks` chunks and `after_ms` milliseconds have passed: of
    audio for speech, of stream chunks and wall clock for text. `times` is how many units of work are hit;
    None is all.
    """

    latency: Latency = Latency()
    fail: Mode | None = None
    status: int = 500
    after_chunks: int = 0
    after_ms: float = 0.0
    times: int | None = None
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What `parse_fault` reads."""
        return {**asdict(self), "latency": self.latency.to_json()}


HEALTHY = Fault()
_DRAWN = '{"normal": [mean, deviation]} or {"uniform": [low, high]}'


@dataclass
class Counts:
    """What a provider was asked, since the start or the last reset."""

    requests: int = 0
    """Completions, spoken contexts and HTTP requests."""
    connections: int = 0
    """Websockets accepted."""
    open: int = 0
    """Websockets that are open now."""
    audio_s: float = 0.0
    """Seconds of audio received (recognition) or sent (synthesis)."""
    tokens: int = 0
    characters: int = 0
    errors_injected: int = 0
    unauthorized: int = 0
    texts: list[str] = field(default_factory=list[str])
    """The last texts: finals recognised, answers given, transcripts spoken."""
    heard: list[str] = field(default_factory=list[str])
    """The last things a user said to the language model."""

    def note(self, text: str) -> None:
        """Remember a text; the last 50 are kept."""
        self.texts.append(text)
        del self.texts[:-50]

    def note_heard(self, text: str) -> None:
        """Remember what was asked; the last 50 are kept."""
        self.heard.append(text)
        del self.heard[:-50]


class Faults:
    """The faults and counts of all providers. One event loop."""

    def __init__(self) -> None:
        self._set: dict[Provider, Fault] = {}
        self._left: dict[Provider, int | None] = {}
        self._random: dict[Provider, random.Random] = {name: random.Random() for name in PROVIDERS}
        self._watchers: dict[Provider, set[asyncio.Event]] = {name: set() for name in PROVIDERS}
        self.counts: dict[Provider, Counts] = {name: Counts() for name in PROVIDERS}

    def current(self, provider: Provider) -> Fault:
        """What new work would meet; `HEALTHY` when nothing is set or it hit as often as it should."""
        if self._left.get(provider, None) == 0:
            return HEALTHY
        return self._set.get(provider, HEALTHY)

    def set(self, provider: Provider, fault: Fault) -> None:
        """Replace a provider's fault, for open connections too."""
        self._set[provider] = fault
        self._left[provider] = fault.times
        if fault.seed is not None:
            self._random[provider] = random.Random(fault.seed)
        self._wake(provider)

    def clear(self, *providers: Provider) -> None:
        """Make these providers healthy again; all of them when none is named."""
        for provider in providers or PROVIDERS:
            self._set.pop(provider, None)
            self._left.pop(provider, None)
            self._wake(provider)

    def reset_counts(self) -> None:
        """Count from zero; open connections stay counted as open."""
        for name, counts in self.counts.items():
            self.counts[name] = Counts(open=counts.open)

    def begin(self, provider: Provider, now: Callable[[], float]) -> Injection:
        """Start a unit of work; `now` is a clock in seconds."""
        return Injection(self, provider, now)

    def draw_latency(self, provider: Provider, latency: Latency) -> float:
        """Seconds drawn from a provider's own random source."""
        return latency.draw(self._random[provider])

    def consume(self, provider: Provider) -> bool:
        """Use one of `times`; False when they are used up."""
        left = self._left.get(provider, None)
        if left == 0:
            return False
        if left is not None:
            self._left[provider] = left - 1
        self.counts[provider].errors_injected += 1
        return True

    def watch(self, provider: Provider) -> asyncio.Event:
        """An event that is set whenever the provider's fault changes; give it back with `unwatch`."""
        event = asyncio.Event()
        self._watchers[provider].add(event)
        return event

    def unwatch(self, provider: Provider, event: asyncio.Event) -> None:
        """Stop watching; a second call is no error."""
        self._watchers[provider].discard(event)

    def to_json(self) -> dict[str, Any]:
        """All faults as they stand, with the number of hits left."""
        return {
            name: {**fault.to_json(), "left": self._left.get(name)}
            for name, fault in sorted(self._set.items())
        }

    def _wake(self, provider: Provider) -> None:
        for event in self._watchers[provider]:
            event.set()


class Injection:
    """The faults of one unit of work. Counts its own chunks and milliseconds."""

    def __init__(self, faults: Faults, provider: Provider, now: Callable[[], float]) -> None:
        self._faults, self._now = faults, now
        self._provider: Provider = provider
        self._began = now()
        self._chunks = 0
        self._audio_ms = 0.0
        self._hit: Fault | None = None

    def latency_s(self) -> float:
        """Seconds to wait before the next answer."""
        return self._faults.draw_latency(self._provider, self._fault().latency)

    def refusal(self) -> int | None:
        """The HTTP status to refuse with, or None."""
        fault = self._fault()
        return fault.status if fault.fail == "http" and self._consume(fault) else None

    def verdict(self, audio_ms: float | None = None, chunks: int = 1) -> Verdict:
        """What becomes of the next chunks, which carry `audio_ms` of audio (None: the wall clock counts)."""
        fault = self._fault()
        if audio_ms is None:
            passed = (self._now() - self._began) * 1000.0
        else:
            passed = self._audio_ms
            self._audio_ms += audio_ms
        seen = self._chunks
        self._chunks += chunks
        if fault.fail is None or seen < fault.after_chunks or passed < fault.after_ms:
            return "go"
        return fault.fail if self._consume(fault) else "go"

    @property
    def status(self) -> int:
        """The status of the fault that hit."""
        return (self._hit or self._fault()).status

    def _fault(self) -> Fault:
        current = self._faults.current(self._provider)
        if self._hit is not None and self._hit == self._faults._set.get(self._provider):
            # A fault that hit this unit stays with it, even after its last "times" was used.
            return self._hit
        return current

    def _consume(self, fault: Fault) -> bool:
        if fault is self._hit:
            return True
        if not self._faults.consume(self._provider):
            return False
        self._hit = fault
        return True


def parse_fault(data: Mapping[str, Any]) -> Fault:
    """A fault from JSON; raises `FaultError`. A bare `status` means `fail: http`."""
    known = {"latency", "fail", "status", "after_chunks", "after_ms", "times", "seed", "left"}
    unknown = sorted(set(data) - known)
    if unknown:
        names = ", ".join(sorted(known - {"left"}))
        raise FaultError(f"unknown field {', '.join(unknown)}; known are {names}")
    fail = data.get("fail")
    if fail is None and data.get("status") is not None:
        fail = "http"
    if fail not in (None, *get_args(Mode)):
        raise FaultError(f"fail is {fail!r}; it is one of http, cut, silence, null")
    status = _number(data, "status", 500)
    if not 400 <= status <= 599:
        raise FaultError(f"status is {status:g}; it is 400 to 599")
    times = data.get("times")
    seed = data.get("seed")
    return Fault(
        latency=parse_latency(data.get("latency", 0)),
        fail=cast(Mode | None, fail),
        status=int(status),
        after_chunks=int(_number(data, "after_chunks", 0)),
        after_ms=_number(data, "after_ms", 0),
        times=None if times is None else int(_number(data, "times", 0)),
        seed=None if seed is None else int(_number(data, "seed", 0)),
    )


def parse_latency(value: Any) -> Latency:
    """Milliseconds as a number, `{"normal": [mean, sd]}`, `{"uniform": [low, high]}`; raises `FaultError`."""
    if _is_number(value) and value >= 0:
        return Latency("fixed", float(value))
    if isinstance(value, Mapping):
        drawn = cast(Mapping[str, Any], value)
        if len(drawn) == 1:
            kind, numbers = next(iter(drawn.items()))
            pair = cast(list[Any], numbers) if isinstance(numbers, list) else []
            two = len(pair) == 2 and all(_is_number(n) and n >= 0 for n in pair)
            if two and (kind == "normal" or kind == "uniform"):
                return Latency(kind, float(pair[0]), float(pair[1]))
    raise FaultError(f"latency is {value!r}; it is milliseconds, or {_DRAWN}")


def latency_from_text(text: str) -> Latency:
    """A latency from a command line: `300`, `normal:300,50` or `uniform:100,400`; raises `FaultError`."""
    kind, _, numbers = text.rpartition(":")
    try:
        values = [float(part) for part in numbers.split(",")]
    except ValueError:
        raise FaultError(f"latency is {text!r}; it is 300, normal:300,50 or uniform:100,400") from None
    return parse_latency({kind: values} if kind else values[0])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(data: Mapping[str, Any], name: str, default: float) -> float:
    value = data.get(name, default)
    if not _is_number(value) or value < 0:
        raise FaultError(f"{name} is {value!r}; it is a number of at least 0")
    return float(value)
