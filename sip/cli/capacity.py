"""`sip capacity`: lines, ports, bandwidth and processes for a number of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip import capacity as sizing
from sip.cli import output
from sip.cli.options import Json
from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from sip.presets.preset import Preset

_LIVEKIT_SIP_PORTS = 5000
"""Calls that the default range of livekit-sip, 10000-20000, has even ports for."""


def capacity(
    calls: Annotated[
        float | None, typer.Argument(metavar="[CALLS]", help="Calls a minute.", show_default=False)
    ] = None,
    length: Annotated[
        float | None, typer.Argument(metavar="[MINUTES]", help="Minutes a call.", show_default=False)
    ] = None,
    calls_per_minute: Annotated[float | None, typer.Option(metavar="N", help="The same as CALLS.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="The same as MINUTES.")] = None,
    blocking: Annotated[
        float, typer.Option(metavar="PERCENT", help="Calls that may find all lines taken.")
    ] = 1,
    headroom: Annotated[float, typer.Option(metavar="PERCENT", help="Lines in reserve.")] = 20,
    lines: Annotated[
        int, typer.Option(metavar="N", help="Lines that you have: how many calls do they lose?")
    ] = 0,
    carrier: Annotated[
        str, typer.Option(metavar="NAME", help="A preset, for its limits; without it all carriers.")
    ] = "",
    outbound: Annotated[
        bool, typer.Option("--outbound", help="The calls go out: carriers limit these by the second.")
    ] = False,
    cpu_per_call: Annotated[
        float, typer.Option(metavar="PERCENT", help="Of a core, that a call costs `sip serve`.")
    ] = sizing.CPU_PER_CALL,
    calls_per_worker: Annotated[
        int, typer.Option(metavar="N", help="Calls at once of one agent worker (AGENT_MAX_CALLS).")
    ] = sizing.CALLS_PER_CORE * sizing.CORES_PER_WORKER,
    ptime: Annotated[float, typer.Option(metavar="MS", help="Milliseconds of audio a packet.")] = 20,
    srtp: Annotated[bool, typer.Option("--srtp", help="Encrypted audio.")] = False,
    as_json: Json = False,
) -> None:
    """What a number of calls takes: lines (Erlang B), carrier limits, RTP ports, bandwidth, processes.

    10 calls a minute of 3 minutes are 30 erlang: 42 lines lose less than 1 % of the calls.
    """
    demand = sizing.Demand(
        _one("CALLS", calls, calls_per_minute),
        _one("MINUTES", length, minutes),
        blocking / 100,
        headroom / 100,
        cpu_per_call,
        calls_per_worker,
        ptime,
        srtp,
        lines,
    )
    plan = sizing.plan(demand)
    limits = [_limits(preset, plan, outbound) for preset in _presets(carrier)]
    if as_json:
        output.as_json(_document(demand, plan, limits))
        return
    _show(demand, plan)
    print()
    _bandwidth(plan)
    print()
    _carriers(limits, outbound)
    for note in _notes(demand, plan):
        output.warn(note)


def _one(name: str, argument: float | None, option: float | None) -> float:
    value = argument if option is None else option
    if value is None or (argument is not None and option is not None):
        why = "it is missing" if value is None else "it is given twice"
        raise ConfigurationError(name, why, "Such as sip capacity 10 3: 10 calls a minute of 3 minutes")
    return value


def _presets(name: str) -> list[Preset]:
    from sip import presets

    if name:
        return [presets.load(name)]
    return [preset for each in presets.names() if (preset := presets.load(each)).kind == "carrier"]


def _limits(preset: Preset, plan: sizing.Capacity, outbound: bool) -> dict[str, Any]:
    """What a carrier lets through, and whether that is enough; None where nobody knows."""
    cps, concurrency = (preset.facts[name] for name in ("cps", "concurrency"))
    per_second = cps.value if isinstance(cps.value, (int, float)) else None
    at_once = concurrency.value if isinstance(concurrency.value, (int, float)) else None
    return {
        "carrier": preset.name,
        "verified": all(fact.verified for fact in (cps, concurrency) if fact.value is not None),
        "cps": per_second,
        "cps_note": cps.note,
        "cps_enough": None if per_second is None or not outbound else per_second >= plan.peak_cps,
        "concurrency": at_once,
        "concurrency_note": concurrency.note,
        "concurrency_enough": None if at_once is None else at_once >= plan.calls,
    }


def _show(demand: sizing.Demand, plan: sizing.Capacity) -> None:
    lost = f"{plan.blocking * 100:.2g} % of the calls are lost"
    wanted = "" if demand.lines else f" ({demand.blocking * 100:g} % may be)"
    reserve = "" if demand.lines else f", with {demand.headroom * 100:g} % in reserve"
    output.fields(
        [
            ("offered load", f"{plan.load:g} erlang (calls at once, on average)"),
            ("lines", f"{plan.lines}: {lost}{wanted}"),
            ("calls at once", f"{plan.calls}{reserve}"),
            ("new calls", f"{plan.cps:.3g} a second, {plan.peak_cps} in a busy one"),
            ("RTP ports", f"{plan.rtp_ports} UDP ports, such as {sizing.RTP_PORT}-{plan.last_port}"),
            (
                "agent workers",
                f"{plan.workers} of {demand.calls_per_worker} calls"
                f" (assumed: {sizing.CALLS_PER_CORE} a core; AGENT_MAX_CALLS, --calls-per-worker)",
            ),
            (
                "sip serve",
                f"{plan.media_processes} media processes of {plan.calls_per_media_process} calls"
                f" (assumed: {demand.cpu_per_call:g} % of a core a call, to {sizing.CPU_LIMIT:g} %)",
            ),
        ]
    )


def _bandwidth(plan: sizing.Capacity) -> None:
    output.table(
        ("codec", "kbit/s a call", "Mbit/s each way", "Mbit/s both ways", "LiveKit"),
        [
            (codec.name, f"{rate:.1f}", f"{total:.2f}", f"{2 * total:.2f}", codec.served)
            for codec, rate, total in plan.bandwidth
        ],
    )


def _carriers(limits: list[dict[str, Any]], outbound: bool) -> None:
    def verdict(enough: bool | None) -> str:
        return "" if enough is None else "enough" if enough else "too few"

    rows: list[tuple[object, ...]] = []
    for each in limits:
        second = verdict(each["cps_enough"]) if outbound else ""
        notes = "; ".join(dict.fromkeys(filter(None, (each["cps_note"], each["concurrency_note"]))))
        if not each["verified"]:
            notes = f"not verified: {notes}" if notes else "not verified"
        known = each["cps"] is not None or each["concurrency"] is not None
        if known or len(limits) == 1:
            once = verdict(each["concurrency_enough"])
            rows.append((each["carrier"], each["cps"], second, each["concurrency"], once, notes))
    columns = ("carrier", "calls out a second", "", "at once", "", "note")
    output.table(columns, rows, colour=lambda _, text: "red" if text == "too few" else None)
    unknown = [each["carrier"] for each in limits if each["cps"] is None and each["concurrency"] is None]
    if unknown and len(limits) > 1:
        output.say(f"limits not known: {', '.join(unknown)}")


def _notes(demand: sizing.Demand, plan: sizing.Capacity) -> list[str]:
    notes: list[str] = []
    if plan.blocking > demand.blocking:
        enough = sizing.lines_for(plan.load, demand.blocking)
        notes.append(f"{plan.lines} lines are too few for {demand.blocking * 100:g} %: that takes {enough}")
    if plan.last_port > 65_535:
        notes.append("one address has too few ports for that: spread the calls over several machines")
    elif plan.calls > _LIVEKIT_SIP_PORTS:
        notes.append("livekit-sip has ports for 5000 calls: widen rtp_port, or take several machines")
    return notes


def _document(demand: sizing.Demand, plan: sizing.Capacity, limits: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "demand": demand,
        "erlang": plan.load,
        "lines": plan.lines,
        "blocking": plan.blocking,
        "calls_at_once": plan.calls,
        "cps": plan.cps,
        "peak_cps": plan.peak_cps,
        "rtp_ports": plan.rtp_ports,
        "rtp_port_range": [sizing.RTP_PORT, plan.last_port],
        "workers": plan.workers,
        "media_processes": plan.media_processes,
        "calls_per_media_process": plan.calls_per_media_process,
        "bandwidth": [
            {
                "codec": codec.name,
                "kbit_s_per_call_each_way": round(rate, 3),
                "mbit_s_each_way": round(total, 3),
                "mbit_s_both_ways": round(2 * total, 3),
                "livekit": codec.served,
            }
            for codec, rate, total in plan.bandwidth
        ],
        "carriers": limits,
        "notes": _notes(demand, plan),
    }
