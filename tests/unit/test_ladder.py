"""The signalling record of a call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sip.model import record_stem
from sip.service.calls.ladder import Ladder
from sip.service.signalling.peer import Peer

PEER = Peer("udp", "192.0.2.1", 5060)


def test_messages_and_summary(tmp_path: Path) -> None:
    """Each message is a line as it happens; the summary is one file; only the owner reads them."""
    ladder = Ladder(tmp_path, "a/b@c", lambda: 12.5)
    ladder.add("in", PEER, b"INVITE sip:x SIP/2.0\r\nTo: <sip:x>\r\n\r\n")
    ladder.add("out", PEER, b"SIP/2.0 404 Not Found\r\n\r\n")
    ladder.summarise({"code": 404})
    stem = record_stem("a/b@c")
    file = tmp_path / f"{stem}.ladder.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["dir"], line["t"], line["first"]) for line in lines] == [
        ("in", 12.5, "INVITE sip:x SIP/2.0"),
        ("out", 12.5, "SIP/2.0 404 Not Found"),
    ]
    assert lines[0]["peer"] == "192.0.2.1:5060"
    assert json.loads((tmp_path / f"{stem}.signal.json").read_text()) == {"code": 404}
    assert file.stat().st_mode & 0o077 == 0


def test_digest_responses_are_blotted_out(tmp_path: Path) -> None:
    """With the response and the nonce a password could be guessed offline."""
    ladder = Ladder(tmp_path, "x")
    ladder.add(
        "in", PEER, b'INVITE sip:x SIP/2.0\r\nProxy-Authorization: Digest nonce="n", response="abc"\r\n\r\n'
    )
    text = (tmp_path / "x.ladder.jsonl").read_text()
    assert "abc" not in text
    assert "INVITE" in text


def test_keys_pressed_are_blotted_out(tmp_path: Path) -> None:
    """SIP INFO may bring a PIN or a card's number; that a key was pressed stays to be seen."""
    ladder = Ladder(tmp_path, "x")
    for head, body in (
        ("Content-Type: application/dtmf-relay", "Signal=7\r\nDuration=160\r\n"),
        ("c: Application/DTMF", "7"),
    ):
        ladder.add("in", PEER, f"INFO sip:x SIP/2.0\r\nCSeq: 2 INFO\r\n{head}\r\n\r\n{body}".encode())
    lines = [json.loads(line) for line in (tmp_path / "x.ladder.jsonl").read_text().splitlines()]
    assert [line["first"] for line in lines] == ["INFO sip:x SIP/2.0"] * 2
    assert not any("7" in line["text"] for line in lines)


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No records wanted: none made, and messages are still counted."""
    monkeypatch.chdir(tmp_path)
    ladder = Ladder(None, "x")
    ladder.add("in", PEER, b"INVITE\r\n\r\n")
    ladder.summarise({})
    assert ladder.messages == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_does_not_end_the_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and that is all."""
    Ladder(tmp_path / "missing", "x").add("in", PEER, b"INVITE\r\n\r\n")
    assert "cannot write a call record" in caplog.text
