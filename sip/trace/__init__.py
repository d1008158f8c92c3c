"""What a capture, or a record of `sip serve`, tells of the calls in it: `read(path)` gives a `Trace`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sip.finding import Finding
from sip.trace.calls import Call, Sorter, attribute
from sip.trace.capture import Capture, CaptureError
from sip.trace.explain import explain
from sip.trace.messages import read as read_message
from sip.trace.network import Datagram, Network
from sip.trace.records import is_record, messages, summary
from sip.trace.rtp import Collector, Stream
from sip.trace.streams import START, Streams

__all__ = ["Call", "CaptureError", "Stream", "Trace", "read"]


@dataclass(frozen=True)
class Trace:
    """Everything found in a file. Calls stand in the order of their first message."""

    calls: list[Call]
    """What began with an INVITE, or has a BYE."""
    others: list[Call]
    """Registrations, OPTIONS and the like."""
    strangers: list[Stream]
    """RTP that belongs to no call."""
    findings: dict[str, list[Finding]]
    """By Call-ID."""
    packets: int = 0
    notes: list[str] = field(default_factory=list[str])
    """What was wrong with the file, or could not be read in it."""
    measured: dict[str, Any] | None = None
    """The SIP service's own summary of its record."""


def read(path: Path) -> Trace:
    """Read a capture (pcap, pcapng, gzipped or not), a ladder of ours or a directory of ladders.

    Memory does not grow with the audio in it. Raises `CaptureError` for a file that is none of them.
    """
    if not path.exists():
        raise CaptureError(f"{path} cannot be read", "there is no such file")
    if is_record(path):
        sorter = Sorter()
        # Ladders are files of one call each: their lines are in order, the calls may overlap.
        for message in messages(path):
            sorter.add(message)
        return _told(sorter, [], 0, 0.0, [], rtp=False, measured=summary(path))
    return _capture(path)


def _capture(path: Path) -> Trace:
    capture, network, streams = Capture(path), Network(), Streams()
    sorter, collector = Sorter(), Collector()
    end = 0.0
    for packet in capture:
        end = max(end, packet.t)
        for each in network.read(packet):
            if isinstance(each, Datagram):
                whole, transport = ([each.payload] if START.match(each.payload) else []), "udp"
                if not whole:
                    collector.add(each)
            else:
                whole, transport = streams.feed(each), "tcp"
            for data in whole:
                message = read_message(each.t, each.source, each.target, transport, data)
                if message and sorter.add(message) and message.sdp:
                    collector.announce(message.sdp)
    notes = [f"the file is damaged: {capture.damage}; the rest was not read"] if capture.damage else []
    if streams.encrypted:
        notes.append(f"{streams.encrypted} connection(s) are encrypted (TLS): their SIP cannot be read")
    if streams.gaps:
        notes.append(f"{streams.gaps} TCP gap(s): the capture misses packets")
    if sorter.doubled:
        notes.append(f"{sorter.doubled} message(s) were captured twice, on two interfaces; shown once")
    for link, count in network.strange.items():
        notes.append(f"{count} packet(s) of link type {link} could not be taken apart")
    if sorter.left_out or collector.left_out:
        notes.append(
            f"the file holds more than is kept: {sorter.left_out} SIP messages and"
            f" {collector.left_out} RTP packets were left out"
        )
    return _told(sorter, collector.streams(), capture.count, end, notes, rtp=True)


def _told(
    sorter: Sorter,
    streams: list[Stream],
    packets: int,
    end: float,
    notes: list[str],
    *,
    rtp: bool,
    measured: dict[str, Any] | None = None,
) -> Trace:
    everything = sorted(sorter.calls.values(), key=lambda call: call.started)
    calls = [call for call in everything if call.invite or call.bye]
    strangers = attribute(calls, streams)
    others = [call for call in everything if not (call.invite or call.bye)]
    findings: dict[str, list[Finding]] = {}
    for call in everything:
        found = explain(call, rtp_seen=bool(streams), end=end or call.ended)
        if not rtp:
            found = [each for each in found if each.name != "no-rtp-captured"]
        findings[call.call_id] = found
    return Trace(calls, others, strangers, findings, packets, notes, measured)
