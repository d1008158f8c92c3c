"""The report of a call: figures joined from recording and records, the ladder, the page, the table."""

from __future__ import annotations

import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from lab.ear import RATE, write_stereo
from lab.report import Figures, print_summary, write_report
from lab.report.ladder import draw, shown
from sip.model import record_stem

T0 = 1_800_000_000.0
CALL_ID = "abc@caller"


def voice(seconds: float, pitch: float) -> NDArray[np.int16]:
    """A buzz with the pitch and the level of a voice."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 9))
    return np.asarray(wave * 3000, np.int16)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A call of two turns: a question with an answer, and an interruption; records of agent and service."""
    sent, heard = np.zeros(14 * RATE, np.int16), np.zeros(14 * RATE, np.int16)

    def say(channel: NDArray[np.int16], start: float, end: float, pitch: float) -> None:
        sound = voice(end - start, pitch)
        channel[int(start * RATE) : int(start * RATE) + len(sound)] = sound

    say(heard, 0.8, 2.0, 210)
    say(sent, 3.0, 4.5, 120)
    say(heard, 5.1, 7.3, 210)
    say(sent, 7.0, 7.6, 120)
    say(heard, 8.4, 9.4, 210)
    write_stereo(tmp_path / "call.wav", sent, heard)
    sidecar: dict[str, Any] = {
        "script": "scripts/a_b.yaml",
        "about": "Asks & interrupts.",
        "t0": T0,
        "call_id": CALL_ID,
        "codec": "PCMU",
        "transport": "udp",
        "invite": 0.0,
        "answered": 0.45,
        "ended": 10.0,
        "end": {"by": "agent", "code": 200, "reason": "OK"},
        "said": [
            {"start": 3.0, "end": 4.5, "text": "When do you open?", "turn": True, "interrupts": False},
            {"start": 7.0, "end": 7.6, "text": None, "turn": True, "interrupts": True},
        ],
        "heard": [{"start": 0.8, "end": 2.0, "text": "Hello", "turn": True, "interrupts": False}],
        "sip": [{"t": T0, "sent": True, "method": "INVITE", "code": 0, "reason": ""}],
        "quality": {
            "packets": 480, "lost": 20, "loss_pct": 4.0, "jitter_ms": 2.5, "jitter_buffer_ms": 40, "late": 0
        },
        "failure": None,
        "turns": [[3.0, 4.5], [7.0, 7.6]],
        "asides": [],
    }  # fmt: skip
    (tmp_path / "call.json").write_text(json.dumps(sidecar))
    records = tmp_path / "records"
    records.mkdir()
    stem = record_stem(CALL_ID)
    agent = [
        {"t": T0 + 2, "who": "agent", "event": "said", "text": "Hello.",
         "started": T0 + 0.8, "stopped": T0 + 2},
        {"t": T0 + 5, "who": "caller", "event": "turn", "text": "When do you <open>?",
         "started": T0 + 3, "stopped": T0 + 4.6},
        {"t": T0 + 7, "who": "agent", "event": "said", "text": "From nine", "interrupted": True,
         "started": T0 + 5.1, "stopped": T0 + 7.3},
        {"t": T0 + 9, "who": "agent", "event": "said", "text": "Yes?",
         "started": T0 + 8.4, "stopped": T0 + 9.4},
    ]  # fmt: skip
    lines = [json.dumps(line) for line in agent]
    (records / f"{stem}.conversation.jsonl").write_text("\n".join(lines) + '\n{"half a li')
    ladder = [
        {"t": T0 + t, "dir": way, "transport": "udp", "peer": "127.0.0.1:5", "first": first}
        for t, way, first in (
            (0.001, "in", "INVITE sip:+1555@h SIP/2.0"),
            (0.449, "out", "SIP/2.0 200 OK"),
            (10, "out", "BYE sip:+1555@h SIP/2.0"),
        )
    ]
    (records / f"{stem}.ladder.jsonl").write_text("\n".join(json.dumps(line) for line in ladder))
    return tmp_path


@pytest.fixture
def report(call: Path) -> Figures:
    """The report of that call."""
    return write_report(call, call / "records")


def test_figures_of_a_call(report: Figures) -> None:
    """Times come from the recording, words from the records, quality from the RTP."""
    found = report.as_json()
    assert found["invite_to_ok_ms"] == 450
    assert found["invite_to_greeting_ms"] == pytest.approx(800, abs=15)
    first, second = found["turns"]
    assert first["response_ms"] == pytest.approx(600, abs=15)
    assert {**first, "response_ms": 0} == {
        "caller_said": "When do you open?",
        "agent_heard": "When do you <open>?",
        "agent_said": "From nine",
        "response_ms": 0,
        "cut_in": False,
    }
    assert (second["caller_said"], second["agent_said"]) == (None, "Yes?")
    assert second["response_ms"] == pytest.approx(800, abs=15)
    assert found["barge_in_ms"] == pytest.approx(300, abs=15)
    assert found["false_interruptions"] == 0
    assert found["hangup"] == {"by": "agent", "sip_code": 200}
    assert found["quality"]["loss_pct"] == 4.0
    assert found["quality"]["mos"] == pytest.approx(4.0, abs=0.08)
    assert found["ok"]


def test_files_of_a_report(report: Figures) -> None:
    """Every file that is named is there, and the figures are in metrics.json as they are printed."""
    assert set(report.files) == {
        "call.wav", "call.json", "transcript.json", "ladder.txt", "metrics.json", "call.html"
    }  # fmt: skip
    assert all(Path(file).is_file() for file in report.files.values())
    metrics = json.loads(Path(report.files["metrics.json"]).read_text())
    assert report.as_json().items() <= metrics.items()
    transcript = json.loads(Path(report.files["transcript.json"]).read_text())
    assert [(line["who"], line["text"]) for line in transcript] == [
        ("agent", "Hello."),
        ("caller", "When do you open?"),
        ("agent", "From nine"),
        ("caller", None),
        ("agent", "Yes?"),
    ]


def test_without_records_the_callers_side_is_enough(call: Path) -> None:
    """A call to a stranger's agent is reported with what was recognised, and the caller's SIP messages."""
    found = write_report(call, None)
    assert [line.text for line in found.lines if line.who == "agent"] == ["Hello"]
    assert found.turns[0].agent_heard == ""
    assert [message["first"] for message in found.ladder] == ["INVITE"]


def test_a_caller_who_received_nothing(call: Path) -> None:
    """Without a packet there is nothing to rate: no MOS in the figures, a dash for people."""
    sidecar = json.loads((call / "call.json").read_text())
    sidecar["quality"] |= {"packets": 0, "lost": 0, "loss_pct": 0.0, "jitter_ms": 0.0}
    (call / "call.json").write_text(json.dumps(sidecar))
    found = write_report(call, call / "records")
    quality = found.as_json()["quality"]
    assert (quality["mos"], quality["r"], quality["packets"]) == (None, None, 0)
    shown = io.StringIO()
    print_summary(found, Console(file=shown, width=120))
    assert re.search(r"MOS\W+-\W.*0 packets", shown.getvalue())
    assert '<b class="bad">–</b><span>MOS' in Path(found.files["call.html"]).read_text()


def test_a_backchannel_that_broke_the_agent_off(call: Path) -> None:
    """An agent who breaks off after an aside and says something else was stopped by it."""
    sidecar = json.loads((call / "call.json").read_text())
    sidecar["said"][1] |= {"turn": False, "interrupts": False}
    sidecar["turns"], sidecar["asides"] = [[3.0, 4.5]], [[7.0, 7.6]]
    (call / "call.json").write_text(json.dumps(sidecar))
    assert write_report(call, call / "records").false_interruptions == 1
    assert write_report(call, None).false_interruptions == 0
    assert write_report(call, call / "records").barge_in_ms is None


class Checker(html.parser.HTMLParser):
    """Collects open tags and everything that points outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open."""
        if tag not in ("meta", "br", "input", "path", "line"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open and close at once."""

    def handle_endtag(self, tag: str) -> None:
        """Close."""
        while self.open and self.open[-1] in ("td", "tr", "p") and self.open[-1] != tag:
            self.open.pop()
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words."""
        self.text += data


def test_the_page_stands_alone(report: Figures) -> None:
    """The page is well formed, loads nothing from anywhere, escapes words, and shows the measured times."""
    page = Path(report.files["call.html"]).read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert [link[:22] for link in checker.links] == ["data:audio/wav;base64,"]
    assert not re.search(r"https?://|@import|url\(", page)
    assert "When do you <open>?" in checker.text
    assert "Asks & interrupts." in checker.text
    for turn in report.turns:
        assert f"{turn.response_ms} ms" in checker.text
    assert f"silent in {report.barge_in_ms} ms" in checker.text
    assert "as the script demands" in checker.text
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_the_page_of_a_failure(call: Path) -> None:
    """A step that failed stands at the top with what was heard."""
    sidecar = json.loads((call / "call.json").read_text())
    sidecar["failure"] = {"step": "expect", "line": 7, "what": "did not hear noon", "heard": "Good <day>"}
    (call / "call.json").write_text(json.dumps(sidecar))
    page = Path(write_report(call, None).files["call.html"]).read_text()
    assert "<b>expect</b>, line 7: did not hear noon. Heard: “Good &lt;day&gt;”" in page


def test_the_table(report: Figures) -> None:
    """The table has set-up, turns, barge-in, MOS, loss, jitter and who hung up."""
    out = io.StringIO()
    print_summary(report, Console(file=out, width=140))
    printed = out.getvalue()
    for wanted in (
        "450 ms",
        "When do you open?",
        "(WAV file)",
        "barge-in",
        "MOS",
        "4.00 %",
        "2.5 ms",
        "SIP 200",
    ):
        assert wanted in printed


def test_the_ladder() -> None:
    """Arrows point the way of the message, with times in ms."""
    text = draw([
        {"t": 0.0, "sent": True, "first": "INVITE sip:+15550100@127.0.0.1 SIP/2.0"},
        {"t": 0.0125, "sent": False, "first": "SIP/2.0 180 Ringing"},
    ])  # fmt: skip
    lines = text.splitlines()
    assert re.fullmatch(r"\s+0\.0   \|-+ INVITE \+15550100 -+>\|", lines[2])
    assert re.fullmatch(r"\s+12\.5   \|<-+ 180 Ringing -+\|", lines[3])
    assert draw([]) == "no SIP messages were recorded\n"
    assert shown("BYE sip:+15550100@h SIP/2.0") == "BYE"
