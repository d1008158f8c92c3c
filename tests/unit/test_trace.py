"""`sip trace`: captures with planted faults, and what is said about them."""

from __future__ import annotations

import gzip
import json
import random
import struct
from pathlib import Path

import dpkt
import pytest
from typer.testing import CliRunner

from sip.cli import build
from sip.finding import Finding
from sip.trace import CaptureError, Trace, read
from sip.trace.rtp import Stream
from tests.unit.capture_kit import (
    ALICE,
    BOB,
    EPOCH,
    LINKS,
    MEDIA_A,
    MEDIA_B,
    Dialogue,
    Recorder,
    answered,
    sdp,
)


def trace(recorder: Recorder, tmp_path: Path) -> Trace:
    """What is read from a capture of it."""
    return read(recorder.save(tmp_path / "call.pcap"))


def found(trace: Trace, number: int = 0) -> dict[str, Finding]:
    """What is said of a call, by name."""
    return {finding.name: finding for finding in trace.findings[trace.calls[number].call_id]}


def talk(recorder: Recorder) -> None:
    """Audio both ways."""
    recorder.rtp(1.05, MEDIA_A, MEDIA_B, ssrc=1)
    recorder.rtp(1.05, MEDIA_B, MEDIA_A, ssrc=2)


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
@pytest.mark.parametrize("link", LINKS)
def test_clean_call_on_any_link(link: str, form: str, tmp_path: Path) -> None:
    """A clean call is found whole on every link layer and in both formats, with nothing to complain of."""
    recorder = Recorder()
    answered(recorder)
    talk(recorder)
    trace = read(recorder.save(tmp_path / "call.cap", link, form))
    (call,) = trace.calls
    assert [m.first.split(" sip:")[0] for m in call.messages] == [
        "INVITE", "SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK",
        "ACK", "BYE", "SIP/2.0 200 OK",
    ]  # fmt: skip
    assert (call.answered - call.started, call.duration) == pytest.approx((1.0, 5.01), abs=1e-3)
    assert [(s.received, s.lost, s.codec) for s in call.streams] == [(250, 0, "PCMU")] * 2
    assert all(s.quality.mos > 4.3 for s in call.streams)
    assert not trace.findings[call.call_id]
    assert not trace.notes


def test_ipv6(tmp_path: Path) -> None:
    """A call over IPv6 is found like any other."""
    recorder = Recorder()
    answered(recorder, caller=("2001:db8::1", 5060), callee=("2001:db8::2", 5060))
    assert trace(recorder, tmp_path).calls[0].hosts[0].host == "2001:db8::1"


@pytest.mark.parametrize("seed", range(5))
def test_loss_is_exact(seed: int, tmp_path: Path) -> None:
    """Planted losses are counted one by one, across the wrap of the sequence number and in bursts."""
    chance = random.Random(seed)
    lost = frozenset(n for n in range(1, 999) if chance.random() < 0.03) | frozenset(range(500, 560))
    recorder = Recorder()
    answered(recorder)
    recorder.rtp(1.05, MEDIA_A, MEDIA_B, packets=1000, lost=lost)
    stream = trace(recorder, tmp_path).calls[0].streams[0]
    runs = sum(1 for n in lost if n - 1 not in lost)
    assert (stream.lost, stream.received, stream.bursts) == (len(lost), 1000 - len(lost), runs)
    assert stream.gap_max == pytest.approx(0.02 * (60 + 1), abs=0.1)


def test_jitter_is_that_of_rfc_3550(tmp_path: Path) -> None:
    """Jitter is the figure of RFC 3550 A.8, computed here a second time over the same arrivals."""
    recorder = Recorder()
    answered(recorder)
    recorder.rtp(1.05, MEDIA_A, MEDIA_B, packets=400, jitter=0.015, seed=3)  # less than a packet: in order
    stream = trace(recorder, tmp_path).calls[0].streams[0]
    chance, jitter, last = random.Random(3), 0.0, None
    for _ in range(400):
        late = chance.uniform(0, 0.015)
        if last is not None:
            jitter += (abs(late - last) - jitter) / 16
        last = late
    assert stream.jitter == pytest.approx(jitter, abs=2e-5)
    assert (stream.lost, stream.reordered) == (0, 0)


def test_clock_of_an_unknown_codec(tmp_path: Path) -> None:
    """Opus that no SDP names is measured by its own clock, so that no jitter is made up."""
    recorder = Recorder()
    for number in range(100):
        head = struct.pack(">BBHII", 0x80, 111, number, 960 * number, 7)
        recorder.udp(0.02 * number, ("192.0.2.1", 9000), ("192.0.2.2", 9002), head + bytes(60))
    (stream,) = trace(recorder, tmp_path).strangers
    assert (stream.clock, stream.received) == (48_000, 100)
    assert stream.jitter_max < 0.001


def test_late_packets_are_no_loss() -> None:
    """Packets out of order, doubled, or after a restart of the sender are told from lost ones."""
    stream = Stream(("a", 1), ("b", 2), 1, 0)  # pyright: ignore[reportArgumentType] # any pair will do
    for number in [10, 11, 13, 12, 12, 14, 16, 40_000, 40_001]:
        stream.add(number * 0.02, number, number * 160, 0, speech=True)
    stream.finish()
    assert (stream.received, stream.lost, stream.reordered, stream.duplicates, stream.restarts) == (
        8,
        1,
        1,
        1,
        1,
    )


def test_sip_over_tcp(tmp_path: Path) -> None:
    """Messages cut into segments that arrive in the wrong order are put together."""
    recorder = Recorder()
    answered(recorder, tcp=True)
    (call,) = trace(recorder, tmp_path).calls
    assert len(call.messages) == 7
    assert call.answered


def test_fragments(tmp_path: Path) -> None:
    """A datagram in IP fragments is put together, whatever their order."""
    recorder, plain = Recorder(), Recorder()
    Dialogue(plain).request(0, "INVITE", sdp(MEDIA_A), X_Long="y" * 2000)
    packet = dpkt.ip.IP(plain.packets[0][1])
    recorder.fragments(0, ALICE, BOB, bytes(packet.data.data))  # pyright: ignore[reportAttributeAccessIssue]
    (call,) = trace(recorder, tmp_path).calls
    assert call.messages[0].size > 2000


def test_no_response(tmp_path: Path) -> None:
    """An INVITE that nobody answers is told with the address that kept silent."""
    recorder = Recorder()
    call = Dialogue(recorder)
    for t in (0, 0.5, 1.5, 3.5):
        call.request(t, "INVITE", sdp(MEDIA_A))
    finding = found(trace(recorder, tmp_path))["no-response"]
    assert finding.severity == "error"
    assert "203.0.113.9:5060" in finding.what
    assert "4 time" in finding.what


def test_missing_ack(tmp_path: Path) -> None:
    """A 200 that is sent again and again names the ACK that never came, and the private Contact."""
    recorder = Recorder()
    call = Dialogue(recorder, callee=BOB)
    call.request(0, "INVITE", sdp(MEDIA_A))
    for t in (1, 1.5, 2.5, 4.5):
        call.response(t, 200, "OK", body=sdp(MEDIA_B))
    assert found(trace(recorder, tmp_path))["missing-ack"].severity == "error"


@pytest.mark.parametrize(
    ("code", "phrase", "name"),
    [(486, "Busy Here", "refused-486"), (404, "Not Found", "refused-404"), (488, "No", "no-common-codec")],
)
def test_refusals(code: int, phrase: str, name: str, tmp_path: Path) -> None:
    """A refusal is told with its meaning; 488 with the codecs that were offered."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A, "18"))
    call.response(0.1, code, phrase, Reason='Q.850;cause=17;text="user busy"')
    call.request(0.11, "ACK")
    finding = found(trace(recorder, tmp_path))[name]
    assert finding.severity == "error"
    assert "user busy" in finding.what
    assert code != 488 or "G729" in finding.what


@pytest.mark.parametrize(("second", "name"), [(True, "wrong-credentials"), (False, "no-credentials")])
def test_credentials(second: bool, name: str, tmp_path: Path) -> None:
    """Wrong credentials are told from none."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A))
    call.response(0.1, 407, "Proxy Authentication Required")
    call.request(0.11, "ACK")
    if second:
        call.sequence = 2
        call.request(0.2, "INVITE", sdp(MEDIA_A), Proxy_Authorization='Digest username="x"')
        call.response(0.3, 407, "Proxy Authentication Required")
        call.request(0.31, "ACK")
    assert name in found(trace(recorder, tmp_path))


def test_challenge_that_is_answered_is_no_fault(tmp_path: Path) -> None:
    """A digest challenge on the way to the answer is not complained of."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A))
    call.response(0.1, 407, "Proxy Authentication Required")
    call.request(0.11, "ACK")
    call.sequence = 2
    call.request(0.2, "INVITE", sdp(MEDIA_A), Proxy_Authorization='Digest username="x"')
    call.response(0.3, 200, "OK", body=sdp(MEDIA_B))
    call.request(0.31, "ACK")
    assert not found(trace(recorder, tmp_path))


def test_one_way_audio(tmp_path: Path) -> None:
    """Audio that goes one way only names the side that heard nothing."""
    recorder = Recorder()
    answered(recorder)
    recorder.rtp(1.05, MEDIA_A, MEDIA_B)
    finding = found(trace(recorder, tmp_path))["one-way-audio"]
    assert finding.what.startswith("198.51.100.7:5060 heard nothing")


def test_on_hold_is_not_one_way(tmp_path: Path) -> None:
    """A side that asked for silence is not said to be without audio."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A, direction="sendonly"))
    call.response(1.0, 200, "OK", body=sdp(MEDIA_B, direction="recvonly"))
    call.request(1.01, "ACK")
    recorder.rtp(1.05, MEDIA_A, MEDIA_B)
    assert "one-way-audio" not in found(trace(recorder, tmp_path))


def test_no_audio_and_no_capture_of_it(tmp_path: Path) -> None:
    """Silence both ways is an error only where the capture holds RTP at all."""
    recorder = Recorder()
    answered(recorder)
    assert found(trace(recorder, tmp_path))["no-rtp-captured"].severity == "info"
    recorder.rtp(0, ("192.0.2.1", 7000), ("192.0.2.2", 7002), packets=20)
    again = trace(recorder, tmp_path)
    assert found(again)["no-audio"].severity == "error"
    assert len(again.strangers) == 1


def test_private_address(tmp_path: Path) -> None:
    """A private address in the SDP of a public peer is an error; inside one network it is right."""
    public, inside = Recorder(), Recorder()
    answered(public, offer=("192.168.1.5", 40_000))
    answered(inside, caller=("10.0.0.1", 5060), callee=("10.0.0.2", 5060), offer=("10.0.0.1", 40_000))
    assert "192.168.1.5" in found(trace(public, tmp_path))["private-address-in-sdp"].what
    assert "private-address-in-sdp" not in found(trace(inside, tmp_path))


def test_retransmissions_and_double_capture(tmp_path: Path) -> None:
    """The same message half a second later was sent again; a millisecond later it was captured twice."""
    recorder = Recorder()
    call = answered(recorder)
    recorder.packets.append((0.0005, recorder.packets[0][1]))
    call.request(6.51, "BYE")
    result = trace(recorder, tmp_path)
    assert "BYE" in found(result)["retransmissions"].what
    assert "captured twice" in result.notes[0]


def test_cancelled(tmp_path: Path) -> None:
    """A caller who gave up is no error."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A))
    call.response(0.1, 180, "Ringing")
    call.request(9, "CANCEL")
    call.response(9.1, 487, "Request Terminated")
    assert found(trace(recorder, tmp_path))["cancelled"].severity == "info"


def test_loss_and_jitter_are_told(tmp_path: Path) -> None:
    """A bad stream gets findings with its figures, and a MOS that is worse."""
    recorder = Recorder()
    answered(recorder)
    recorder.rtp(1.05, MEDIA_A, MEDIA_B, lost=frozenset(range(50, 90)), jitter=0.2)
    result = trace(recorder, tmp_path)
    assert {"packet-loss", "jitter", "poor-quality"} <= set(found(result))
    assert result.calls[0].streams[0].quality.mos < 3.6


def test_ports_used_again(tmp_path: Path) -> None:
    """A later call on the same ports gets its own streams only."""
    recorder = Recorder()
    answered(recorder)
    talk(recorder)
    later = Recorder()
    answered(later, call_id="two@example")
    later.rtp(1.05, MEDIA_A, MEDIA_B, ssrc=9)
    recorder.packets += [(t + 100, packet) for t, packet in later.packets]
    first, second = trace(recorder, tmp_path).calls
    assert [s.ssrc for s in first.streams] == [1, 2]
    assert [s.ssrc for s in second.streams] == [9]


def test_several_interfaces(tmp_path: Path) -> None:
    """A pcapng file with two interfaces of different link types gives the packets of both."""
    recorder = Recorder()
    answered(recorder)
    a, b = tmp_path / "a", tmp_path / "b"
    half = Recorder(recorder.packets[:3])
    rest = Recorder(recorder.packets[3:])
    half.save(a, "ethernet", "pcapng")
    rest.save(b, "raw", "pcapng")
    both = tmp_path / "both.pcapng"
    both.write_bytes(a.read_bytes() + b.read_bytes())  # two sections, each with its own interface
    assert len(read(both).calls[0].messages) == 7


@pytest.mark.parametrize("content", [b"", b"hello, this is no capture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_foreign_files(content: bytes, tmp_path: Path) -> None:
    """A file that is no capture is refused with what it should be."""
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match="no capture"):
        read(path)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(CaptureError, match=r"nowhere\.pcap cannot be read"):
        read(tmp_path / "nowhere.pcap")


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    """What stands before the damage is told, and that there is damage; no wrong byte makes it fail."""
    recorder = Recorder()
    answered(recorder)
    path = tmp_path / "call.pcap"
    for form in ("pcap", "pcapng"):
        whole = recorder.save(path, form=form).read_bytes()
        path.write_bytes(whole[:-10])
        result = read(path)
        assert len(result.calls[0].messages) == 6
        assert "damaged" in result.notes[0]
        for at in range(24, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
            read(path)


def test_gzip(tmp_path: Path) -> None:
    """A gzipped capture is read, and one that ends early is noted."""
    recorder = Recorder()
    answered(recorder)
    path = tmp_path / "call.pcap.gz"
    packed = gzip.compress(recorder.bytes())
    path.write_bytes(packed)
    assert len(read(path).calls[0].messages) == 7
    path.write_bytes(packed[:-200])
    assert "damaged" in read(path).notes[0]


def test_random_bytes_are_no_stream(tmp_path: Path) -> None:
    """Other UDP traffic is not taken for RTP."""
    chance, recorder = random.Random(0), Recorder()
    for number in range(2000):
        recorder.udp(number * 0.01, ("192.0.2.1", 53), ("192.0.2.2", 4000), chance.randbytes(40))
    result = trace(recorder, tmp_path)
    assert (result.calls, result.strangers, result.packets) == ([], [], 2000)


def ladder_file(tmp_path: Path) -> Path:
    """A refused call, as the SIP service writes it down."""
    recorder = Recorder()
    call = Dialogue(recorder)
    call.request(0, "INVITE", sdp(MEDIA_A))
    call.response(0.1, 404, "Not Found")
    path = tmp_path / "one_example.ladder.jsonl"
    with path.open("w") as file:
        for (t, packet), direction in zip(recorder.packets, ("in", "out"), strict=True):
            text = bytes(dpkt.ip.IP(packet).data.data).decode()  # pyright: ignore[reportAttributeAccessIssue]
            line = {"t": EPOCH + t, "dir": direction, "transport": "udp", "peer": "192.0.2.8:5060"}
            file.write(json.dumps({**line, "first": text.split("\r\n")[0], "text": text}) + "\n")
    return path


def test_own_record(tmp_path: Path) -> None:
    """The SIP service's own ladder is read like a capture, alone or as a folder, with what it measured."""
    path = ladder_file(tmp_path)
    (tmp_path / "one_example.signal.json").write_text('{"quality": {"mos": 4.2}}')
    result = read(path)
    assert "refused-404" in found(result)
    assert result.measured == {"quality": {"mos": 4.2}}
    assert len(read(tmp_path).calls) == 1


def test_foreign_record(tmp_path: Path) -> None:
    """Another JSON lines file is refused with its line."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"hello": 1}\n')
    with pytest.raises(CaptureError, match="line 1"):
        read(path)


def test_command(tmp_path: Path) -> None:
    """The command draws the ladder with its findings; `--json` gives the same as data; `--call` chooses."""
    recorder = Recorder()
    answered(recorder)
    recorder.rtp(1.05, MEDIA_A, MEDIA_B)
    Dialogue(recorder, call_id="two@example").request(3, "INVITE")
    path = recorder.save(tmp_path / "call.pcap")
    text = CliRunner().invoke(build(), ["trace", str(path)])
    assert text.exit_code == 0, text.output
    assert "180 Ringing" in text.output
    assert "one-way-audio" in text.output
    data = json.loads(CliRunner().invoke(build(), ["trace", str(path), "--call", "1", "--json"]).stdout)
    (call,) = data["calls"]
    assert (call["code"], call["rtp"][0]["received"]) == (200, 250)
    assert call["findings"][0]["name"] == "one-way-audio"
