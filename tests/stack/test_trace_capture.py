"""`sip trace` on what a real tcpdump saw of a real call."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from lab.checkup import call
from sip.local import LocalStack
from sip.trace import read

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        shutil.which("tcpdump") is None, reason="tcpdump is not installed (apt-get install tcpdump)"
    ),
]


@pytest.mark.parametrize("interface", ["lo", "any"])
async def test_captured_call(stack: LocalStack, tmp_path: Path, interface: str) -> None:
    """A call over loopback is found with both its streams, and nothing is wrong with it."""
    path = tmp_path / "call.pcap"
    command = ["tcpdump", "-i", interface, "-U", "-s", "0", "-Z", "root", "-w", str(path), "udp"]
    dump = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        assert dump.stderr
        seen = b""
        while b"listening on" not in seen:
            seen = await asyncio.wait_for(dump.stderr.readline(), 10)
            if not seen:
                pytest.skip("tcpdump may not capture here (it needs root or CAP_NET_RAW)")
        placed = await call(stack.numbers[0], stack.sip_address)
        assert placed.spoke is not None
    finally:
        if dump.returncode is None:
            dump.terminate()
        await dump.communicate()
    trace = read(path)
    service = stack.sip_address.rpartition(":")[2]
    (found,) = [each for each in trace.calls if any(str(end.port) == service for end in each.hosts[1:2])]
    assert found.answered
    outward, inward = sorted(found.streams, key=lambda stream: str(stream.target.port) != service)[:2]
    assert {outward.codec, inward.codec} == {"PCMU"}
    counts = [(stream.received, stream.lost) for stream in (outward, inward)]
    assert all(received > 10 and lost == 0 for received, lost in counts), counts
    assert not [each for each in trace.findings[found.call_id] if each.severity == "error"]
