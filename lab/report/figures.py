"""What a call comes to in figures: the ear's measures, joined with the words that both sides wrote down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lab.ear import Conversation, Span, read_recording
from sip.model import record_stem
from sip.quality import assess

Record = dict[str, Any]
BREAKS_OFF = 2.0
"""An agent who breaks off so soon after an aside has been stopped by it, in seconds."""


@dataclass(frozen=True)
class Line:
    """One sentence of the transcript; seconds from the INVITE."""

    who: str
    """"caller" or "agent"."""
    start: float
    end: float
    text: str | None
    """None for a sound without words."""
    source: str
    """"script", "agent" (his own record) or "recognised" (from what the caller heard)."""
    interrupted: bool = False


@dataclass(frozen=True)
class TurnFigures:
    """One turn of the caller and what came of it."""

    caller_said: str | None
    """What the script says; None for a WAV file without text."""
    agent_heard: str
    """What the agent's recogniser made of the audio; empty without the agent's record."""
    agent_said: str
    response_ms: int | None
    cut_in: bool


@dataclass(frozen=True)
class Figures:
    """The figures of a call, with everything that a report draws."""

    script: str
    about: str
    call_id: str
    t0: float
    """Unix time of the INVITE."""
    length: float
    """Of the recording, in seconds."""
    invite_to_ok_ms: int | None
    invite_to_greeting_ms: int | None
    turns: tuple[TurnFigures, ...]
    barge_in_ms: int | None
    """Median over the interruptions that the script wants; None without any."""
    false_interruptions: int
    hangup: Record
    quality: Record | None
    failure: Record | None
    conversation: Conversation = field(repr=False)
    lines: tuple[Line, ...] = field(repr=False)
    events: tuple[Record, ...] = field(repr=False)
    """The agent's record, as it was written."""
    ladder: tuple[Record, ...] = field(repr=False)
    """SIP messages: `{"t": seconds from the INVITE, "sent": by the caller, "first", "peer"}`."""
    files: dict[str, str] = field(default_factory=dict[str, str])

    def as_json(self) -> Record:
        """What `--json` writes."""
        return {
            "script": self.script,
            "ok": self.failure is None,
            "failure": self.failure,
            "invite_to_ok_ms": self.invite_to_ok_ms,
            "invite_to_greeting_ms": self.invite_to_greeting_ms,
            "turns": [vars(turn) for turn in self.turns],
            "barge_in_ms": self.barge_in_ms,
            "false_interruptions": self.false_interruptions,
            "hangup": self.hangup,
            "quality": self.quality,
            "dropouts": len(self.conversation.dropouts),
            "both_talk_ms": round(self.conversation.both_talk_ms),
            "call_id": self.call_id,
            "files": self.files,
        }


def figures(folder: Path, records: Path | None) -> Figures:
    """The figures of the call whose `call.wav` and `call.json` stand in `folder`.

    `records` is the directory in which agent and service keep theirs; without it, or when the call left none,
    the agent's words are those that the caller's side recognised, and the ladder is the caller's own.
    """
    call: Record = json.loads((folder / "call.json").read_text())
    recording = read_recording(folder / "call.wav")
    heard = recording.measure()
    stem = record_stem(call["call_id"])
    events = _read_lines(records, f"{stem}.conversation.jsonl")
    lines = _lines(call, events)
    return Figures(
        script=call["script"],
        about=call["about"],
        call_id=call["call_id"],
        t0=call["t0"],
        length=len(recording.sent) / 8000,
        invite_to_ok_ms=_whole(heard.invite_to_ok_ms),
        invite_to_greeting_ms=_whole(heard.invite_to_greeting_ms),
        turns=tuple(_turns(call, heard, events, lines)),
        barge_in_ms=_barge_in(call, heard),
        false_interruptions=_false_interruptions(call, heard, lines),
        hangup={"by": call["end"]["by"], "sip_code": call["end"]["code"]},
        quality=_quality(call),
        failure=call["failure"],
        conversation=heard,
        lines=tuple(sorted(lines, key=lambda line: line.start)),
        events=tuple(events),
        ladder=tuple(_ladder(call, _read_lines(records, f"{stem}.ladder.jsonl"))),
    )


def _read_lines(records: Path | None, name: str) -> list[Record]:
    """JSON lines of a record; an agent that was killed may leave half a line at the end."""
    path = None if records is None else records / name
    if path is None or not path.is_file():
        return []
    found: list[Record] = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def _lines(call: Record, events: Sequence[Record]) -> list[Line]:
    """Who said what when: the caller from his script, the agent from his record or as he was understood."""
    t0 = call["t0"]
    lines = [Line("caller", said["start"], said["end"], said["text"], "script") for said in call["said"]]
    own = [event for event in events if event.get("who") == "agent" and event.get("event") == "said"]
    if own:
        for event in own:
            start, end = event.get("started") or event["t"], event.get("stopped") or event["t"]
            cut = bool(event.get("interrupted"))
            lines.append(Line("agent", start - t0, end - t0, event["text"], "agent", cut))
    else:
        lines += [Line("agent", h["start"], h["end"], h["text"], "recognised") for h in call["heard"]]
    return lines


def _turns(
    call: Record, heard: Conversation, events: Sequence[Record], lines: Sequence[Line]
) -> list[TurnFigures]:
    t0 = call["t0"]
    understood = [
        (Span(event.get("started", event["t"]) - t0, event.get("stopped", event["t"]) - t0), event["text"])
        for event in events
        if event.get("who") == "caller" and event.get("event") == "turn"
    ]
    found: list[TurnFigures] = []
    for index, turn in enumerate(heard.turns):
        following = heard.turns[index + 1].caller.start if index + 1 < len(heard.turns) else float("inf")
        said = next(
            (s for s in call["said"] if s["turn"] and turn.caller.overlaps(Span(s["start"], s["end"]))), None
        )
        caught = [
            text for span, text in understood if turn.caller.start < span.end and span.start < turn.caller.end
        ]
        answers = [
            line.text or ""
            for line in lines
            if line.who == "agent"
            and turn.caller.start < line.start < following
            and line.end > turn.caller.end
        ]
        found.append(
            TurnFigures(
                caller_said=said["text"] if said else None,
                agent_heard=" ".join(caught),
                agent_said=" ".join(answers),
                response_ms=_whole(turn.response_ms),
                cut_in=turn.cut_in,
            )
        )
    return found


def _false_interruptions(call: Record, heard: Conversation, lines: Sequence[Line]) -> int:
    """Asides that stopped the agent for good.

    Heard as silence; or known from the agent's record, when he broke off and said something else.
    """
    broken = [line for line in lines if line.who == "agent" and line.interrupted]
    count = 0
    for aside in heard.asides:
        cut = any(aside.sound.start <= line.end <= aside.sound.end + BREAKS_OFF for line in broken)
        answered = any(
            s["turn"] and s["start"] <= aside.sound.end + BREAKS_OFF <= s["end"] for s in call["said"]
        )
        count += aside.stopped or (cut and not answered)
    return count


def _barge_in(call: Record, heard: Conversation) -> int | None:
    """Over the interruptions that an `interrupt` step made."""
    wanted = [Span(s["start"] - 0.1, s["end"]) for s in call["said"] if s["turn"] and s.get("interrupts")]
    times = [
        found.silence_ms
        for found in heard.interruptions
        if any(span.start <= found.at <= span.end for span in wanted)
    ]
    return _whole(median(times)) if times else None


def _quality(call: Record) -> Record | None:
    """MOS of what the caller received; packets that came too late to be played are lost to his ear, too.

    `mos` and `r` are None for a caller who received nothing: there is nothing to rate.
    """
    got = call["quality"]
    if got is None:
        return None
    expected = max(1, got["packets"] + got["lost"])
    rated = assess(call["codec"], 100 * (got["lost"] + got["late"]) / expected, got["jitter_ms"], 0.0)
    return {
        "mos": round(rated.mos, 2) if got["packets"] else None,
        "r": round(rated.r, 1) if got["packets"] else None,
        "loss_pct": got["loss_pct"],
        "late_pct": round(100 * got["late"] / expected, 3),
        "jitter_ms": got["jitter_ms"],
        "jitter_buffer_ms": got["jitter_buffer_ms"],
        "packets": got["packets"],
        "codec": call["codec"],
        "estimate": rated.estimate,
    }


def _ladder(call: Record, service: Sequence[Record]) -> list[Record]:
    t0 = call["t0"]
    if service:
        return [
            {"t": m["t"] - t0, "sent": m["dir"] == "in", "first": m["first"], "peer": m["peer"]}
            for m in service
        ]
    return [
        {
            "t": m["t"] - t0,
            "sent": m["sent"],
            "first": f"SIP/2.0 {m['code']} {m['reason']}" if m["code"] else m["method"],
            "peer": "",
        }
        for m in call["sip"]
    ]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
