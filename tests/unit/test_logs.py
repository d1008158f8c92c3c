"""One format for the logs of all processes of the SIP service."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest

from sip.service.control import Ready, decode
from sip.service.logs import JsonLines
from sip.service.media_pool import launch_media


def test_a_line_is_one_json_object() -> None:
    """Time in UTC, level, logger, message, structured fields; line breaks and exceptions stay inside."""
    record = logging.makeLogRecord({"name": "a.b", "levelno": 30, "levelname": "WARNING", "call_id": "SCL_1"})
    record.msg, record.args = "two\nlines of %s", ("text",)
    record.created, record.msecs = 1_800_000_000.25, 250.0
    text = JsonLines().format(record)
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "a.b",
        "message": "two\nlines of text",
        "call_id": "SCL_1",
    }


async def test_media_process_logs_like_the_edge(capfd: pytest.CaptureFixture[str]) -> None:
    """What a media process says stands beside the edge's lines in one log, and is JSON as they are."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await launch_media(theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.timeout(20):
            ready, _ = decode(await reader.readline())
            assert isinstance(ready, Ready)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.connect(("127.0.0.1", ready.sip_port))
                stranger.send(invite(stranger.getsockname()[1], ready.sip_port))
                seen = ""
                while "nobody announced" not in seen:
                    await asyncio.sleep(0.02)
                    seen += capfd.readouterr().err
    finally:
        writer.close()
        await process.wait()
    assert [json.loads(line)["level"] for line in seen.splitlines()] == ["warning"]


def invite(ours: int, theirs: int) -> bytes:
    """An INVITE for a call that no edge has announced."""
    body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    body += f"m=audio {ours} RTP/AVP 0\r\n"
    lines = (
        f"INVITE sip:x@127.0.0.1:{theirs} SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:{ours};branch=z9hG4bK1;rport",
        "From: <sip:y@127.0.0.1>;tag=1",
        f"To: <sip:x@127.0.0.1:{theirs}>",
        "Call-ID: 1",
        "CSeq: 1 INVITE",
        f"Contact: <sip:y@127.0.0.1:{ours}>",
        "Max-Forwards: 70",
        "Content-Type: application/sdp",
        f"Content-Length: {len(body)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
