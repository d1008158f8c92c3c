"""`sip trace`: the calls of a capture, drawn and explained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.cli import output
from sip.cli.options import Json
from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from sip.finding import Finding
    from sip.trace import Call, Stream, Trace

_COLOURS: dict[str, output.Colour] = {"error": "red", "warning": "yellow", "info": "dim"}


def trace(
    file: Annotated[
        Path,
        typer.Argument(help="pcap or pcapng (also gzipped), a *.ladder.jsonl of `sip serve`, or its folder."),
    ],
    call: Annotated[int, typer.Option("--call", min=0, help="Only this call of the list.")] = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Registrations, OPTIONS and the like, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw each call of a capture as a ladder, say what went wrong, and rate its audio.

    Loss and jitter are counted as in RFC 3550; MOS is the E-model of ITU-T G.107. Exit code 0 when the
    file could be read, whatever became of its calls.
    """
    from sip.trace import read

    found = read(file)
    calls = found.calls + (found.others if everything else [])
    if call > len(calls):
        raise ConfigurationError(f"there is no call {call}", f"{file} holds {len(calls)}")
    chosen = [(call, calls[call - 1])] if call else list(enumerate(calls, 1))
    if as_json:
        output.as_json(_document(found, chosen))
        return
    for note in found.notes:
        output.warn(note)
    if not calls:
        output.say(f"no calls in {file} ({found.packets} packets)")
    # More than a few ladders are read one by one; the list says which.
    if not call and len(chosen) > 1:
        _list(chosen, found)
    for number, each in chosen if len(chosen) <= 20 else []:
        _show(number, each, found)
    if len(chosen) > 20:
        output.say("Show one with --call N.")
    if not call and found.strangers:
        print("\nRTP of no call in this file")
        _streams(found.strangers)


def _list(chosen: list[tuple[int, Call]], found: Trace) -> None:
    output.table(
        ("call", "from", "to", "outcome", "seconds", "findings"),
        [
            (
                number,
                _name(call, "caller"),
                _name(call, "called"),
                outcome(call),
                f"{call.duration:.1f}",
                ", ".join(dict.fromkeys(f.name for f in found.findings[call.call_id])),
            )
            for number, call in chosen
        ],
    )


def _show(number: int, call: Call, found: Trace) -> None:
    import time

    from sip.trace.ladder import draw

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started))
    title = f"Call {number}: {_name(call, 'caller')} to {_name(call, 'called')}, {outcome(call)}"
    print(f"\n{output.paint(title, 'bold')}")
    print(f"Call-ID {call.call_id}, {when}" + (f", {call.duration:.1f} s" if call.answered else ""))
    print()
    print("\n".join(draw(call)))
    if call.streams:
        print()
        _streams(call.streams)
    if found.measured and len(found.calls) == 1:
        _measured(found.measured)
    findings = found.findings[call.call_id]
    if findings:
        print()
    for finding in findings:
        _finding(finding)


def _finding(finding: Finding) -> None:
    mark = output.paint(f"{finding.severity:<8}", _COLOURS.get(finding.severity, "dim"))
    print(f"{mark} {finding.name}: {finding.what}")
    if finding.mend:
        print(f"{'':8} → {finding.mend}")


def _streams(streams: list[Stream]) -> None:
    output.table(
        ("rtp from", "to", "codec", "seconds", "packets", "lost", "jitter ms", "max", "gap s", "mos"),
        [
            (
                str(each.source),
                str(each.target),
                each.codec or "?",
                f"{each.ended - each.started:.1f}",
                each.received,
                f"{each.lost} ({each.loss:.1f} %)",
                f"{each.jitter_mean * 1000:.1f}",
                f"{each.jitter_max * 1000:.1f}",
                f"{each.gap_max:.2f}",
                f"{each.quality.mos:.2f}" + ("*" if each.quality.estimate else ""),
            )
            for each in streams
        ],
    )
    if any(each.quality.estimate for each in streams):
        output.say("* the codec stands outside the narrowband scale: an estimate")


def _measured(summary: dict[str, Any]) -> None:
    quality = summary.get("quality") or {}
    if quality:
        print("\nMeasured by the SIP service: " + ", ".join(f"{k} {v}" for k, v in quality.items()))


def outcome(call: Call) -> str:
    """How the call went, in two words."""
    final = call.final
    if final is None:
        return "ringing" if call.rang else "no answer" if call.invite else call.method
    from sip.codes import phrase

    return "answered" if final.code < 300 else f"{final.code} {phrase(final.code)}"


def _name(call: Call, who: str) -> str:
    first = call.invite or call.messages[0]
    return getattr(first, who) or "anonymous"


def _document(found: Trace, chosen: list[tuple[int, Call]]) -> dict[str, Any]:
    return {
        "packets": found.packets,
        "notes": found.notes,
        "calls": [_call(number, call, found) for number, call in chosen],
        "other_rtp": [_stream(stream) for stream in found.strangers],
        "measured": found.measured,
    }


def _call(number: int, call: Call, found: Trace) -> dict[str, Any]:
    final = call.final
    return {
        "call": number,
        "call_id": call.call_id,
        "method": call.method,
        "from": _name(call, "caller"),
        "to": _name(call, "called"),
        "started": call.started,
        "rang": call.rang or None,
        "answered": call.answered or None,
        "code": final.code if final else None,
        "duration_s": round(call.duration, 3),
        "messages": [
            {
                "t": each.t,
                "from": str(each.source),
                "to": str(each.target),
                "transport": each.transport,
                "first": each.first,
                "again": any(each is repeat for repeat in call.repeats),
            }
            for each in call.messages
        ],
        "rtp": [_stream(stream) for stream in call.streams],
        "findings": found.findings[call.call_id],
    }


def _stream(each: Stream) -> dict[str, Any]:
    return {
        "from": str(each.source),
        "to": str(each.target),
        "ssrc": f"{each.ssrc:08x}",
        "codec": each.codec,
        "clock": each.clock,
        "started": each.started,
        "ended": each.ended,
        "received": each.received,
        "lost": each.lost,
        "loss_pct": round(each.loss, 3),
        "bursts": each.bursts,
        "duplicates": each.duplicates,
        "reordered": each.reordered,
        "restarts": each.restarts,
        "events": each.events,
        "jitter_ms": round(each.jitter_mean * 1000, 3),
        "jitter_max_ms": round(each.jitter_max * 1000, 3),
        "gap_max_s": round(each.gap_max, 3),
        "mos": round(each.quality.mos, 2),
        "r": round(each.quality.r, 1),
        "estimate": each.quality.estimate,
    }
