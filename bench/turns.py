"""`./run bench turns`: how fast the agent answers and falls silent, and how often it does so wrongly.

Each case is played in real time to a session with the real plugins against the local speech servers.
`--policy` compares `ours` with `framework` (its defaults) and `short` (voice activity alone, 0.3 s).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp

from agent.turns import turn_options
from bench.corpus import Case, cases, speak
from bench.turn_cases import Outcome, Policies, Servers, run_case, understood

RESULTS = Path(__file__).parent / "results" / "turns.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 0 when every case ran, 1 when one failed, 2 for wrong use."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), stream=sys.stderr)
    chosen = _choose(options)
    if not chosen:
        print("no case matches", file=sys.stderr)
        return 2
    if options.load:
        outcomes = _load(options.load)
    elif options.through == "sip":
        from bench.turn_calls import possible, run_calls

        chosen = [case for case in chosen if possible(case)]
        outcomes = {"ours, by SIP": asyncio.run(run_calls(chosen, options.stack))}
    else:
        outcomes = asyncio.run(_run(chosen, options))
    return _report(chosen, outcomes, options)


def _load(files: list[Path]) -> dict[str, list[Outcome]]:
    """Outcomes of earlier runs with `--json`, put together."""
    found: dict[str, list[Outcome]] = {}
    for file in files:
        for policy, outcomes in json.loads(file.read_text())["outcomes"].items():
            found.setdefault(policy, []).extend(Outcome(**outcome) for outcome in outcomes)
    return found


async def _run(chosen: list[Case], options: argparse.Namespace) -> dict[str, list[Outcome]]:
    for case in chosen:
        speak(case)  # make all audio, and load what makes it, before the clock matters
    process = await asyncio.create_subprocess_exec(
        *(options.server or [sys.executable, "-m", "lab.speech", "--log-level", "warning"]),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ready = (await process.stdout.readline()).decode()
        if not ready.startswith("READY "):
            raise RuntimeError(f"the speech servers did not start: {ready!r}")
        found = json.loads(ready.removeprefix("READY "))
        servers = Servers(found["deepgram"], found["openai"], found["cartesia"])
        async with aiohttp.ClientSession() as http:
            return {name: await _policy(name, chosen, servers, http, options) for name in options.policy}
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _policy(
    name: str, chosen: list[Case], servers: Servers, http: aiohttp.ClientSession, options: argparse.Namespace
) -> list[Outcome]:
    policies = Policies(turn_options)
    slots = asyncio.Semaphore(options.jobs)
    done = 0

    async def one(case: Case) -> Outcome:
        nonlocal done
        async with slots:
            try:
                outcome = await run_case(case, name, policies, servers, http)
            except Exception as error:  # noqa: BLE001 (one broken case must not lose the others' results)
                outcome = Outcome(
                    case.name, case.kind, case.held_out, error=f"{type(error).__name__}: {error}"
                )
            done += 1
            if options.verbose:
                print(
                    f"{name} {done}/{len(chosen)} {json.dumps(dataclasses.asdict(outcome))}", file=sys.stderr
                )
            return outcome

    # Shuffled, so that cases of one kind do not all run side by side.
    order = random.Random(1).sample(range(len(chosen)), len(chosen))
    tasks = {index: asyncio.create_task(one(chosen[index])) for index in order}
    await asyncio.gather(*tasks.values())
    return [tasks[index].result() for index in range(len(chosen))]


@dataclasses.dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    def __str__(self) -> str:
        return f"{self.count} of {self.of}" + (f" ({100 * self.count / self.of:.0f} %)" if self.of else "")


def _share(found: Iterable[bool]) -> Share:
    values = list(found)
    return Share(sum(values), len(values))


def _median(found: Iterable[float | None]) -> float | None:
    values = [value for value in found if value is not None]
    return round(statistics.median(values)) if values else None


def summary(outcomes: list[Outcome], by_name: dict[str, Case]) -> dict[str, object]:
    """The figures of one policy on one part of the corpus."""
    fine = [outcome for outcome in outcomes if not outcome.error]
    finished = [o for o in fine if o.kind == "finished"]
    stops = [o for o in fine if o.kind == "stop"]
    asides = [o for o in fine if o.kind == "aside"]
    figures: dict[str, object] = {
        "finished: response_ms, median": _median(o.response_ms for o in finished),
        "finished: response_ms, 90th percentile": _percentile([o.response_ms for o in finished], 0.9),
        "finished: answered and understood": _share(
            o.answered and understood(by_name[o.case], o) for o in finished
        ),
        "finished: talked into": _share(o.talked_into for o in finished),
    }
    for pause_ms in (400, 700, 1000):
        group = [o for o in fine if o.kind == "pause" and o.pause_ms == pause_ms]
        figures[f"pause of {pause_ms} ms: talked into"] = _share(o.talked_into for o in group)
    figures |= {
        "pauses: response_ms after the end, median": _median(
            o.response_ms for o in fine if o.kind == "pause"
        ),
        "interruption: barge_in_ms, median": _median(o.barge_in_ms for o in stops),
        "interruption: barge_in_ms, 90th percentile": _percentile([o.barge_in_ms for o in stops], 0.9),
        "interruption: agent stopped": _share(o.stopped for o in stops),
    }
    groups = {"backchannels": _spoken, "sounds": _sound, "echo": _echo}
    for name, belongs in groups.items():
        group = [o for o in asides if belongs(by_name[o.case])]
        figures[f"{name}: stopped for good"] = _share(o.stopped for o in group)
        figures[f"{name}: paused at all"] = _share(o.held_ms > 0 for o in group)
        figures[f"{name}: pause in ms, median of those"] = _median(o.held_ms for o in group if o.held_ms > 0)
    figures["asides: stopped for good"] = _share(o.stopped for o in asides)
    figures["cases that failed"] = _share(bool(o.error) for o in outcomes)
    return figures


def _spoken(case: Case) -> bool:
    return bool(case.text)


def _sound(case: Case) -> bool:
    return bool(case.sound) and case.sound != "echo"


def _echo(case: Case) -> bool:
    return case.sound == "echo"


def _percentile(found: list[float | None], share: float) -> float | None:
    values = sorted(value for value in found if value is not None)
    return round(values[min(len(values) - 1, int(share * len(values)))]) if values else None


def _report(chosen: list[Case], outcomes: dict[str, list[Outcome]], options: argparse.Namespace) -> int:
    by_name = {case.name: case for case in chosen}
    columns: dict[str, dict[str, object]] = {}
    for policy, found in outcomes.items():
        for held_out, label in ((False, "tuned on"), (True, "held out")):
            part = [o for o in found if o.held_out is held_out]
            if part:
                columns[f"{policy}, {label}"] = summary(part, by_name)
    if options.json:
        print(
            json.dumps(
                {
                    "summary": columns,
                    "outcomes": {
                        name: [dataclasses.asdict(o) for o in found] for name, found in outcomes.items()
                    },
                },
                default=str,
                indent=1,
            )
        )
    else:
        print(_table(columns))
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(_document(columns, outcomes))
    return int(any(o.error for found in outcomes.values() for o in found))


def _table(columns: dict[str, dict[str, object]]) -> str:
    rows = list(next(iter(columns.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {row} | "
        + " | ".join("-" if figures[row] is None else str(figures[row]) for figures in columns.values())
        + " |"
        for row in rows
    ]
    return "\n".join(lines)


def _document(columns: dict[str, dict[str, object]], outcomes: dict[str, list[Outcome]]) -> str:
    counts = ", ".join(f"{policy} {len(found)}" for policy, found in outcomes.items())
    setting = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    command = "`./run bench turns --policy ours framework short --write`"
    return (
        "# Turn-taking\n\n"
        f"{command}, {time.strftime('%d %B %Y')}, {setting},\n"
        f"local speech servers. Cases: {counts} (every sixth or so where there are fewer). How to read it:\n"
        f"[docs/turns.md](../../docs/turns.md).\n\n{_table(columns)}\n"
    )


def _choose(options: argparse.Namespace) -> list[Case]:
    found = [case for case in cases() if not options.kind or case.kind in options.kind]
    if options.part != "all":
        found = [case for case in found if case.held_out == (options.part == "held-out")]
    if options.match:
        found = [case for case in found if options.match in case.name]
    if options.shard:
        number, of = (int(part) for part in options.shard.split("/"))
        found = found[number - 1 :: of]
    if options.n:
        by_kind: dict[tuple[str, bool], list[Case]] = {}
        for case in found:
            by_kind.setdefault((case.kind, case.held_out), []).append(case)
        found = [case for group in by_kind.values() for case in group[: options.n]]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench turns", description=__doc__)
    parser.add_argument("--policy", nargs="+", default=["ours"], choices=["ours", "framework", "short"])
    parser.add_argument("--kind", nargs="+", default=[], choices=["finished", "pause", "stop", "aside"])
    parser.add_argument("--part", default="all", choices=["all", "tuning", "held-out"])
    parser.add_argument("--match", default="", help="only cases whose name holds this")
    parser.add_argument("-n", type=int, default=0, help="at most so many cases of each kind; 0: all")
    parser.add_argument("--through", default="line", choices=["line", "sip"], help="sip: real calls")
    parser.add_argument("--stack", default="", help="with --through sip: a running stack, not one of its own")
    parser.add_argument("--shard", default="", help="2/5: every fifth case, from the second on")
    parser.add_argument("--load", nargs="+", type=Path, default=[], help="report on files of --json instead")
    parser.add_argument("--jobs", type=int, default=4, help="cases at the same time (%(default)s)")
    parser.add_argument("--json", action="store_true", help="everything measured, as JSON")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--verbose", action="store_true", help="each case as it ends")
    parser.add_argument("--server", nargs="+", default=[], help="command that starts the speech servers")
    parser.add_argument("--log-level", default="error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
