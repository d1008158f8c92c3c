"""The caller against an answering peer made of sockets: SIP, times on the recording, verdicts."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.caller import parse_script, place_call
from lab.ear import read_recording

TONE = 8000 * np.sin(2 * np.pi * 1000 * np.arange(160) / 8000)
JITTER_BUFFER = 0.040


class Beeps:
    """Says everything as a beep of 100 ms, so that no model is needed."""

    def speak(self, text: str, rate: int, voice: str) -> NDArray[np.int16]:
        """1 kHz."""
        return (8000 * np.sin(2 * np.pi * 1000 * np.arange(rate // 10) / rate)).astype(np.int16)


@dataclass(frozen=True)
class Nothing:
    """What was recognised."""

    text: str = ""


class Deaf:
    """Recognises nothing."""

    def transcribe(self, pcm16: NDArray[np.int16], rate: int) -> Nothing:
        """Nothing at all."""
        return Nothing()


def mulaw(samples: NDArray[np.float64]) -> bytes:
    """G.711 µ-law of 16-bit samples (ITU-T G.711)."""
    magnitude = np.minimum(np.abs(samples).astype(int), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    sign = np.where(samples < 0, 0x80, 0)
    return (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()


@dataclass
class Peer:
    """Answers one INVITE after `rings` seconds (or refuses it), then beeps twice a second. Keeps times."""

    refuse: str = ""
    rings: float = 0.1
    bye_after: float = 0.0
    reinvite_after: float = 0.0
    silent: bool = False
    beeps_sent: list[float] = field(default_factory=list[float])
    beeps_heard: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """(arrival of the packet, first loud sample in it)."""
    digits: list[int] = field(default_factory=list[int])
    requests: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for each in (self._sip, self._rtp):
            each.bind(("127.0.0.1", 0))
            each.settimeout(0.2)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._signal, daemon=True)]
        self._threads[0].start()

    @property
    def uri(self) -> str:
        """Whom to call."""
        return f"sip:+15550100@127.0.0.1:{self._sip.getsockname()[1]}"

    def close(self) -> None:
        """Stop all threads."""
        self._over.set()
        for thread in self._threads:
            thread.join(2)
        self._sip.close()
        self._rtp.close()

    def _signal(self) -> None:
        while not self._over.is_set():
            try:
                data, source = self._sip.recvfrom(65535)
            except TimeoutError:
                continue
            message = data.decode()
            method = message.split()[0]
            self.requests.append(method)
            if method == "INVITE":
                self._invited(message, source)
            elif method in ("BYE", "CANCEL"):
                self._sip.sendto(self._response(message, "200 OK"), source)
                if method == "CANCEL":
                    self._sip.sendto(self._response(self._invite, "487 Request Terminated"), source)

    def _invited(self, invite: str, source: Any) -> None:
        self._invite = invite
        self._sip.sendto(self._response(invite, "180 Ringing"), source)
        if self.silent:
            return
        time.sleep(self.rings)
        if self.refuse:
            self._sip.sendto(self._response(invite, self.refuse), source)
            return
        media = re.search(r"m=audio (\d+)", invite)
        assert media is not None
        sdp = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self._rtp.getsockname()[1]} RTP/AVP 0 101\r\n"
            "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
        self._sip.sendto(self._response(invite, "200 OK", sdp), source)
        for work in (self._listen, lambda: self._talk(int(media[1]), invite, source)):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()

    def _response(self, request: str, status: str, body: str = "") -> bytes:
        kept = [
            line + (";tag=peer" if line.startswith("To:") and "tag=" not in line else "")
            for line in request.split("\r\n")
            if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")
        ]
        port = self._sip.getsockname()[1]
        kept += [f"Contact: <sip:peer@127.0.0.1:{port}>", f"Content-Length: {len(body)}"]
        if body:
            kept.append("Content-Type: application/sdp")
        return "\r\n".join((f"SIP/2.0 {status}", *kept, "", body)).encode()

    def _listen(self) -> None:
        last_event = b""
        while not self._over.is_set():
            try:
                packet = self._rtp.recv(2000)
            except TimeoutError:
                continue
            now = time.time()
            if packet[1] & 0x7F == 101 and packet[4:8] != last_event:
                last_event = packet[4:8]
                self.digits.append(packet[12])
            elif packet[1] & 0x7F == 0:
                loud = np.flatnonzero((np.frombuffer(packet[12:], np.uint8) & 0x70) != 0x70)
                if len(loud):
                    self.beeps_heard.append((now, int(loud[0])))

    def _talk(self, port: int, invite: str, source: Any) -> None:
        start, late = time.time(), 0.0
        for number in range(100_000):
            if self._over.wait(max(0.0, start + number * 0.02 - time.time())):
                return
            if self.bye_after and number * 0.02 >= self.bye_after:
                self._sip.sendto(self._bye(invite), source)
                return
            if self.reinvite_after and number == round(self.reinvite_after / 0.02):
                self._sip.sendto(self._hold(invite), source)
            beep = number % 25 == 12
            header = struct.pack("!BBHII", 0x80, 0, number, number * 160, 7)
            if not number:
                late = time.time() - start
            if beep:
                # As the stream's own clock has it: a thread that sends late does not move the audio.
                self.beeps_sent.append(start + late + number * 0.02)
            self._rtp.sendto(header + mulaw(TONE if beep else np.zeros(160)), ("127.0.0.1", port))

    def _bye(self, invite: str) -> bytes:
        return self._request("BYE", 1, invite)

    def _hold(self, invite: str) -> bytes:
        sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        sdp += f"m=audio {self._rtp.getsockname()[1]} RTP/AVP 0\r\na=sendonly\r\n"
        return self._request("INVITE", 1, invite, sdp)

    def _request(self, method: str, sequence: int, invite: str, body: str = "") -> bytes:
        lines = {line.split(":")[0]: line.partition(": ")[2] for line in invite.split("\r\n")}
        contact = lines["Contact"].partition("<")[2].partition(">")[0]
        port = self._sip.getsockname()[1]
        head = (
            f"{method} {contact} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}",
            f"From: {lines['To']};tag=peer",
            f"To: {lines['From']}",
            f"Call-ID: {lines['Call-ID']}",
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:peer@127.0.0.1:{port}>",
            "Max-Forwards: 70",
            "Content-Type: application/sdp",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join((*head, "", body)).encode()


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A peer on free ports; parameters are its fields."""
    made = Peer(**getattr(request, "param", {}))
    yield made
    made.close()


@dataclass(frozen=True)
class Outcome:
    """What a call left."""

    failed: int
    events: list[dict[str, Any]]
    call: dict[str, Any]
    out: Path


async def place(peer: Peer, script: str, tmp_path: Path, ring: float = 5.0, codec: str = "PCMU") -> Outcome:
    """Call the peer and do a script."""
    events: list[dict[str, Any]] = []
    result = await place_call(
        parse_script(script, "test.yaml", tmp_path),
        peer.uri,
        tmp_path,
        codec=codec,
        ring=ring,
        emit=lambda event, **fields: events.append({"event": event, **fields}),
        speaker=Beeps(),
        ears=Deaf(),
    )
    call = json.loads((tmp_path / "call.json").read_text())
    return Outcome(int(result.failure is not None), events, call, tmp_path)


def onsets(channel: NDArray[np.int16]) -> list[float]:
    """First loud samples after at least 50 ms of quiet, in seconds."""
    loud = np.flatnonzero(np.abs(channel.astype(int)) > 1500)
    return [float(at) / 8000 for at in loud[np.diff(loud, prepend=-10_000) > 400]]


async def test_both_channels_are_on_one_clock(peer: Peer, tmp_path: Path) -> None:
    """A beep is recorded where the wire had it, to 5 ms; heard is what left the jitter buffer of 40 ms."""
    done = await place(
        peer, "- pause: 700\n- say: beep\n- pause: 600\n- say: beep\n- pause: 900\n- hang_up", tmp_path
    )
    assert done.failed == 0, done.events
    recording = read_recording(done.out / "call.wav")
    t0 = done.call["t0"]
    sent = [at + t0 for at in onsets(recording.sent)]
    starts = [
        peer.beeps_heard[0],
        *(b for a, b in zip(peer.beeps_heard, peer.beeps_heard[1:], strict=False) if b[0] - a[0] > 0.2),
    ]
    wire = [arrival - (160 - first) / 8000 for arrival, first in starts]
    assert len(sent) == 2
    assert sent == [pytest.approx(at, abs=0.005) for at in wire]
    heard = [at + t0 for at in onsets(recording.heard)]
    assert len(heard) >= 4
    sources = [max(at for at in peer.beeps_sent if at < beep) for beep in heard]
    # A machine that sends late makes the jitter buffer longer, by whole packets.
    longest = done.call["quality"]["jitter_buffer_ms"] / 1000
    for source, beep in zip(sources, heard, strict=True):
        delay = beep - source
        assert JITTER_BUFFER - 0.005 <= delay <= longest + 0.005
        assert abs((delay - JITTER_BUFFER + 0.01) % 0.02 - 0.01) <= 0.005


async def test_the_sidecar_of_a_call(peer: Peer, tmp_path: Path) -> None:
    """`call.json` has the SIP messages with times, what was said when, the keys pressed and who hung up."""
    done = await place(peer, "- say: hello\n- press: '7#'\n- pause: 300\n- hang_up", tmp_path)
    assert done.failed == 0, done.events
    call = done.call
    assert [(m["method"], m["code"]) for m in call["sip"]] == [
        ("INVITE", 0), ("INVITE", 180), ("INVITE", 200), ("ACK", 0), ("BYE", 0), ("BYE", 200),
    ]  # fmt: skip
    assert call["answered"] == pytest.approx(0.1, abs=0.05)
    assert call["end"] == {"by": "caller", "code": 200, "reason": "OK"}
    assert [(line["text"], line["turn"]) for line in call["said"]] == [("hello", True)]
    assert call["said"][0]["end"] - call["said"][0]["start"] == pytest.approx(
        0.1, abs=0.0015
    )  # both ends are rounded to ms
    assert call["quality"]["packets"] > 20
    assert call["quality"]["lost"] == 0
    assert peer.digits == [7, 11]
    assert [event["event"] for event in done.events][:2] == ["dialing", "ringing"]


@pytest.mark.parametrize("peer", [{"refuse": "404 Not Found"}], indirect=True)
async def test_a_refusal_that_was_expected(peer: Peer, tmp_path: Path) -> None:
    """A script may demand that the call is refused with a code."""
    done = await place(peer, "- expect_hang_up: {code: 404}", tmp_path)
    assert (done.failed, done.call["end"]["code"], done.call["answered"]) == (0, 404, None)


@pytest.mark.parametrize("peer", [{"refuse": "486 Busy Here"}], indirect=True)
async def test_a_refusal_that_was_not(peer: Peer, tmp_path: Path) -> None:
    """A call that is refused fails its first step, with the code."""
    done = await place(peer, "- say: hello", tmp_path)
    assert done.failed == 1
    assert "486" in done.call["failure"]["what"]


@pytest.mark.parametrize("peer", [{"bye_after": 0.8}], indirect=True)
async def test_the_far_end_hangs_up(peer: Peer, tmp_path: Path) -> None:
    """Who ended the call, and with what, is known and can be demanded."""
    done = await place(peer, "- expect_hang_up: {by: agent, code: 200}", tmp_path)
    assert (done.failed, done.call["end"]) == (0, {"by": "agent", "code": 200, "reason": "OK"})


@pytest.mark.parametrize("peer", [{"bye_after": 0.5}], indirect=True)
async def test_a_call_that_ends_too_early(peer: Peer, tmp_path: Path) -> None:
    """A step that finds the call gone says who ended it."""
    done = await place(peer, "- wait_for_silence: {ms: 5000}\n- say: hello", tmp_path)
    assert done.failed == 1
    assert done.call["failure"]["step"] == "wait_for_silence"
    assert "the agent had ended the call" in done.call["failure"]["what"]


@pytest.mark.parametrize("peer", [{"silent": True}], indirect=True)
async def test_nobody_answers(peer: Peer, tmp_path: Path) -> None:
    """After a while the caller gives up with CANCEL, and the script has failed."""
    done = await place(peer, "- say: hello", tmp_path, ring=0.7)
    assert done.failed == 1
    assert "CANCEL" in peer.requests
    assert done.call["end"]["by"] == "caller"


async def test_words_that_are_not_heard(peer: Peer, tmp_path: Path) -> None:
    """An expectation that is not met fails with the words that were missed."""
    done = await place(peer, "- expect: {any: [noon, nine], within: 0.5}", tmp_path)
    assert done.failed == 1
    assert done.call["failure"]["what"] == "did not hear noon or nine within 0.5 s"


async def test_an_echo_is_late_and_faint(peer: Peer, tmp_path: Path) -> None:
    """What was heard goes out again 200 ms later and 20 dB fainter."""
    done = await place(peer, "- echo: {down: 20, late: 200, seconds: 2}\n- pause: 300\n- hang_up", tmp_path)
    assert done.failed == 0, done.events
    recording = read_recording(done.out / "call.wav")
    loud = np.flatnonzero(np.abs(recording.sent.astype(int)) > 300)
    echoes = [float(at) / 8000 for at in loud[np.diff(loud, prepend=-10_000) > 400]]
    sources = onsets(recording.heard)
    assert len(echoes) >= 3
    delays = [min((at - source for source in sources if source < at), default=9.0) for at in echoes]
    assert delays == [pytest.approx(0.2, abs=0.03)] * len(echoes)
    assert np.abs(recording.sent.astype(int)).max() == pytest.approx(800, rel=0.15)


@pytest.mark.parametrize("peer", [{"reinvite_after": 0.6}], indirect=True)
async def test_a_reinvite_is_answered(peer: Peer, tmp_path: Path) -> None:
    """A re-INVITE that holds the call gets 200 with our session, stops our audio, and does not end it."""
    done = await place(peer, "- pause: 1500\n- say: beep\n- hang_up", tmp_path)
    assert done.failed == 0, done.events
    assert [(m["method"], m["code"], m["sent"]) for m in done.call["sip"] if m["method"] != "BYE"][-2:] == [
        ("INVITE", 0, False),
        ("INVITE", 200, True),
    ]
    assert peer.beeps_heard == []
