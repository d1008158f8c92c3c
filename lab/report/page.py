"""One self-contained HTML page of a call: waveforms, who said what when, and the measured times on them."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from .figures import Figures, Line
from .ladder import shown
from .table import TARGETS

BIN = 80
"""Samples of one point of a waveform: 10 ms."""
FULL = 0.5
"""Amplitude that fills a lane; phone speech seldom is louder."""


def page(call: Figures, recording: bytes) -> str:
    """The page; `recording` is the bytes of `call.wav`."""
    sent, heard = _channels(recording)
    began = datetime.fromtimestamp(call.t0, UTC).strftime("%d %B %Y, %H:%M:%S UTC")
    template = Template(Path(__file__).with_name("page.html").read_text())
    return template.substitute(
        title=escape(Path(call.script).stem.replace("_", " ").capitalize()) + ": a phone call",
        about=escape(f"{call.about} {began}.".strip()),
        verdict="as the script demands" if call.failure is None else "not as the script demands",
        verdict_class="" if call.failure is None else "bad",
        failure=_failure(call),
        tiles="".join(_tiles(call)),
        audio=base64.b64encode(recording).decode(),
        length=f"{call.length:.3f}",
        timeline="\n".join(
            (*_ticks(call), _lane("caller", sent), _lane("agent", heard), *_voices(call), *_marks(call),
             *_gauges(call), *_sentences(call))
        ),
        turns="".join(_turn_rows(call)),
        transcript="".join(_rows(call.lines)),
        ladder=_ladder(call),
    )  # fmt: skip


def _channels(recording: bytes) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    with wave.open(io.BytesIO(recording)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _left(at: float) -> str:
    return f"left:calc(var(--s)*{at:.3f}px)"


def _wide(start: float, end: float) -> str:
    return f"{_left(start)};width:calc(var(--s)*{max(0.0, end - start):.3f}px)"


def _failure(call: Figures) -> str:
    if call.failure is None:
        return ""
    step = call.failure
    heard = f" Heard: “{escape(step['heard'])}”" if step["heard"] else ""
    return (
        f'<p class="failure"><b>{step["step"]}</b>, line {step["line"]}: {escape(step["what"])}.{heard}</p>'
    )


def _tiles(call: Figures) -> Iterable[str]:
    responses = [turn.response_ms for turn in call.turns if turn.response_ms is not None]
    slowest = max(responses, default=None)
    yield _tile(call.invite_to_ok_ms, "INVITE to 200 OK", TARGETS["invite_to_ok_ms"])
    yield _tile(call.invite_to_greeting_ms, "INVITE to greeting", TARGETS["invite_to_greeting_ms"])
    yield _tile(slowest, f"slowest of {len(responses)} responses", TARGETS["response_ms"])
    if call.barge_in_ms is not None:
        yield _tile(call.barge_in_ms, "barge-in to silence", TARGETS["barge_in_ms"])
    cut_ins = sum(turn.cut_in for turn in call.turns)
    grade = "good" if not cut_ins + call.false_interruptions else "bad"
    yield f'<div class="tile"><b class="{grade}">{cut_ins} / {call.false_interruptions}</b>'
    yield "<span>cut-ins / false interruptions</span></div>"
    if call.quality is not None:
        mos = call.quality["mos"]
        grade = "bad" if mos is None or mos < 3.6 else "slow" if mos < 4 else "good"
        lost = call.quality["loss_pct"] + call.quality["late_pct"]
        shown = "–" if mos is None else f"{mos:.2f}"
        yield f'<div class="tile"><b class="{grade}">{shown}</b><span>MOS (E-model), '
        yield f"{lost:.1f} % lost or late, jitter {call.quality['jitter_ms']:.1f} ms</span></div>"


def _tile(value: int | None, name: str, target: int) -> str:
    if value is None:
        return f'<div class="tile"><b>–</b><span>{name}</span></div>'
    return f'<div class="tile"><b class="{_grade(value, target)}">{value} ms</b><span>{name}</span></div>'


def _grade(value: int, target: int) -> str:
    return "good" if value <= target else "slow"


def _ticks(call: Figures) -> Iterable[str]:
    for second in range(int(call.length) + 1):
        label = f"<span>{second} s</span>" if second % 2 == 0 else ""
        yield f'<div class="tick" style="{_left(second)}">{label}</div>'


def _lane(who: str, samples: NDArray[np.int16]) -> str:
    """A waveform as one filled outline, in a box of one unit a bin and 200 units height."""
    count = len(samples) // BIN
    bins = samples[: count * BIN].reshape(count, BIN).astype(np.int32)
    scale = 100 / (32768 * FULL)
    top = 100 - np.clip(bins.max(axis=1) * scale, 0.8, 98)
    bottom = 100 - np.clip(bins.min(axis=1) * scale, -98, -0.8)
    upper = " ".join(f"{x},{y:.0f}" for x, y in enumerate(top))
    lower = " ".join(f"{x},{y:.0f}" for x, y in reversed(list(enumerate(bottom))))
    return (
        f'<div class="lane {who}"><svg viewBox="0 0 {count} 200" preserveAspectRatio="none">'
        f'<path class="wave" d="M{upper} L{lower}Z"/></svg></div>'
    )


def _voices(call: Figures) -> Iterable[str]:
    for who, spans in (("caller", call.conversation.caller), ("agent", call.conversation.agent)):
        for span in spans:
            yield f'<div class="voice {who}" style="{_wide(span.start, span.end)}"></div>'
    for gap in call.conversation.dropouts:
        title = f"{gap.span.duration * 1000:.0f} ms of audio lost"
        yield f'<div class="dropout" title="{title}" style="{_wide(gap.span.start, gap.span.end)}"></div>'


def _marks(call: Figures) -> Iterable[str]:
    yield f'<div class="mark" style="{_left(0)}"><span>INVITE</span></div>'
    if call.invite_to_ok_ms is not None:
        at = _left(call.invite_to_ok_ms / 1000)
        yield f'<div class="mark low" style="{at}"><span>200 OK</span></div>'
    for message in call.ladder:
        if shown(message["first"]) in ("BYE", "CANCEL"):
            who = "caller" if message["sent"] else "agent"
            label = f"{shown(message['first'])} by {who}"
            yield f'<div class="mark right" style="{_left(message["t"])}"><span>{label}</span></div>'
            return


def _gauges(call: Figures) -> Iterable[str]:
    heard = call.conversation
    if call.invite_to_greeting_ms is not None:
        until = call.invite_to_greeting_ms / 1000
        label = f"greeting {call.invite_to_greeting_ms} ms"
        yield f'<div class="gauge setup" style="{_wide(0, until)}"><span>{label}</span></div>'
    for turn in heard.turns:
        if turn.cut_in and turn.agent is not None:
            style = _wide(turn.agent.start, turn.caller.end)
            yield f'<div class="gauge bad" style="{style}"><span>cut in</span></div>'
        elif turn.response_ms is not None:
            grade = _grade(round(turn.response_ms), TARGETS["response_ms"])
            style = _wide(turn.caller.end, turn.caller.end + turn.response_ms / 1000)
            label = f"{turn.response_ms:.0f} ms"
            yield f'<div class="gauge {grade}" style="{style}"><span>{label}</span></div>'
    for found in heard.interruptions:
        style = _wide(found.at, found.at + found.silence_ms / 1000)
        label = f"silent in {found.silence_ms:.0f} ms"
        yield f'<div class="gauge barge" style="{style}"><span>{label}</span></div>'


def _sentences(call: Figures) -> Iterable[str]:
    for who in ("caller", "agent"):
        lines = [line for line in call.lines if line.who == who]
        for index, line in enumerate(lines):
            following = lines[index + 1].start if index + 1 < len(lines) else call.length + 2
            width = f"max-width:calc(var(--s)*{max(0.4, following - line.start):.3f}px - 8px)"
            style = f"{_wide(line.start, max(line.end, line.start + 1))};{width}"
            yield f'<div class="says {who}" style="{style}">{_words(line)}</div>'


def _words(line: Line) -> str:
    if line.text is None:
        return "<i>(recording or sound)</i>"
    return escape(line.text) + (" <i>(interrupted)</i>" if line.interrupted else "")


def _turn_rows(call: Figures) -> Iterable[str]:
    for number, (turn, heard) in enumerate(zip(call.turns, call.conversation.turns, strict=True), 1):
        if turn.cut_in:
            response = '<b class="bad">cut in</b>'
        elif turn.response_ms is None:
            response = "–"
        else:
            grade = _grade(turn.response_ms, TARGETS["response_ms"])
            response = f'<b class="{grade}">{turn.response_ms} ms</b>'
        said = escape(turn.caller_said) if turn.caller_said is not None else "<i>(WAV file)</i>"
        yield (
            f'<tr data-at="{max(0, heard.caller.start - 0.3):.2f}"><td class="n">{number}</td><td>{said}</td>'
            f'<td>{escape(turn.agent_heard)}</td><td>{escape(turn.agent_said)}</td>'
            f'<td class="n">{response}</td></tr>'
        )  # fmt: skip


def _rows(lines: Iterable[Line]) -> Iterable[str]:
    for line in lines:
        yield (
            f'<tr data-at="{max(0, line.start - 0.2):.2f}"><td class="n">{line.start:.2f} s</td>'
            f'<td class="who {line.who}">{line.who}</td><td>{_words(line)}</td></tr>'
        )


def _ladder(call: Figures) -> str:
    """Two poles, an arrow a message."""
    step, top, left, right, width = 34, 44, 92, 400, 420
    height = top + step * len(call.ladder) + 6
    parts = [
        f'<svg viewBox="0 0 {width} {height}">',
        f'<text x="{left}" y="20" text-anchor="middle">caller</text>',
        f'<text x="{right - 10}" y="20" text-anchor="end">SIP service</text>',
        f'<line class="pole" x1="{left}" y1="30" x2="{left}" y2="{height}"/>',
        f'<line class="pole" x1="{right}" y1="30" x2="{right}" y2="{height}"/>',
    ]
    for index, message in enumerate(call.ladder):
        y = top + step * index + 16
        tip, kind, way = (right, "out", -1) if message["sent"] else (left, "in", 1)
        time, label = f"{message['t'] * 1000:.0f} ms", escape(shown(message["first"]))
        parts += [
            f'<text class="t" x="{left - 12}" y="{y + 4}" text-anchor="end">{time}</text>',
            f'<text x="{(left + right) / 2}" y="{y - 6}" text-anchor="middle">{label}</text>',
            f'<line class="{kind}" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>',
            f'<line class="{kind}" x1="{tip}" y1="{y}" x2="{tip + way * 8}" y2="{y - 4}"/>',
            f'<line class="{kind}" x1="{tip}" y1="{y}" x2="{tip + way * 8}" y2="{y + 4}"/>',
        ]
    return "".join(parts) + "</svg>"
