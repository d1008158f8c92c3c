"""The files that a report leaves beside `call.wav` and `call.json`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from .figures import Figures, Line, figures
from .ladder import draw
from .page import page


def write_report(folder: Path, records: Path | None) -> Figures:
    """Measure the call in `folder`; write `transcript.json`, `ladder.txt`, `metrics.json`, `call.html` there.

    `records`: where agent and service keep their records of calls, if that is on this machine.
    """
    call = figures(folder, records)
    names = ("call.wav", "call.json", "transcript.json", "ladder.txt", "metrics.json", "call.html")
    call = dataclasses.replace(call, files={name: str(folder / name) for name in names})
    _write(folder / "transcript.json", [_spoken(line) for line in call.lines])
    (folder / "ladder.txt").write_text(draw(call.ladder))
    _write(folder / "metrics.json", {**call.as_json(), **_details(call)})
    (folder / "call.html").write_text(page(call, (folder / "call.wav").read_bytes()))
    return call


def _spoken(line: Line) -> dict[str, Any]:
    times = {"start": round(line.start, 3), "end": round(line.end, 3)}
    return {**dataclasses.asdict(line), **times}


def _details(call: Figures) -> dict[str, Any]:
    """What the ear heard, span by span; seconds from the INVITE."""
    heard = call.conversation
    return {
        "voice": {
            who: [[round(span.start, 3), round(span.end, 3)] for span in spans]
            for who, spans in (("caller", heard.caller), ("agent", heard.agent))
        },
        "gaps": [
            {"at_s": round(gap.span.start, 3), "ms": round(gap.span.duration * 1000), "dropout": gap.dropout}
            for gap in heard.gaps
        ],
        "interruptions": [
            {"at_s": round(found.at, 3), "silence_ms": round(found.silence_ms)}
            for found in heard.interruptions
        ],
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
