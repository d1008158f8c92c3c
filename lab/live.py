"""A conversation on the terminal while it happens: the caller's events and the agent's record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from sip.model import record_stem

COLOURS = {"caller": "cyan", "agent": "yellow", "system": "dim"}


class Live:
    """Prints both sides. Times are seconds from the INVITE."""

    def __init__(self, console: Console, records: Path | None) -> None:
        self._console, self._records = console, records
        self._t0: float | None = None
        self._path: Path | None = None
        self._read = 0
        self.complete = asyncio.Event()
        """The agent's record has its last line."""

    def caller(self, event: Mapping[str, Any]) -> None:
        """One event of the caller process."""
        t, text = float(event["t"]), str(event.get("text") or "")
        match event["event"]:
            case "dialing":
                self._t0 = t
                if self._records is not None:
                    stem = record_stem(str(event["call_id"]))
                    self._path = self._records / f"{stem}.conversation.jsonl"
                self._line(t, "system", f"INVITE sent ({event['codec']}, {event['transport']})")
            case "ringing":
                self._line(t, "system", "180 Ringing")
            case "answered":
                self._line(t, "system", "200 OK")
            case "saying":
                self._line(t, "caller", text or f"(plays {event['seconds']:g} s of audio)")
            case "pressed":
                self._line(t, "caller", f"(presses {event['digits']} keys)")
            case "sounding":
                self._line(t, "caller", f"({event['kind']})")
            case "heard" if self._path is None or not self._path.exists():
                self._line(t, "agent", text, note="as the caller understood it")
            case "failed":
                self._line(t, "system", f"{event['step']} failed: {event['what']}", style="red")
            case "ended":
                by, code = event["by"] or "nobody", event["code"]
                self._line(t, "system", f"call ended by the {by} (SIP {code} {event['reason']})")
            case _:
                return

    def agent(self) -> None:
        """What the agent's record has gained since the last look."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._recorded(json.loads(line))

    def _recorded(self, event: Mapping[str, Any]) -> None:
        t, text = float(event["t"]), str(event.get("text") or "")
        match (event.get("who"), event.get("event")):
            case ("agent", "said"):
                note = "interrupted" if event.get("interrupted") else ""
                self._line(float(event.get("started") or t), "agent", text, note=note)
            case ("caller", "turn"):
                self._line(t, "system", f"agent heard: {text}")
            case ("agent", "tool"):
                self._line(t, "system", f"agent calls {event.get('name')}")
            case ("system", "failure" | "error"):
                what = f"agent: {event.get('event')}: {text or event.get('what')}"
                self._line(t, "system", what, style="red")
            case ("system", "summary"):
                self.complete.set()
            case _:
                return

    def _line(self, t: float, who: str, text: str, note: str = "", style: str = "") -> None:
        at = t - self._t0 if self._t0 is not None else 0.0
        line = Text(f"{at:7.2f} s  ", style="dim")
        if who == "system":
            line.append(f"        {text}", style=style or "dim")
        else:
            line.append(f"{who:<8}", style=f"bold {COLOURS[who]}").append(text)
        if note:
            line.append(f"  ({note})", style="dim")
        self._console.print(line, soft_wrap=True, highlight=False)
