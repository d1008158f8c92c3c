"""`./run bench service`: what a SIP service adds to a call, at one call and at ten.

- Round trip: a sweep goes from a caller through the service to a participant that says what it hears, and
  back. The excess is that minus the same through two SIP agents back to back, measured in the same run.
- Answer: INVITE to 200 when somebody already speaks in the room.
- Processor time of the service, all its processes together, per call.

Without `--sip` a local stack is started: livekit-server, a store and our own service. With it any LiveKit SIP
service is measured; LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET then name its livekit-server (by
default the local stack that runs), and `--pid` its process where processor time is wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from livekit import api
from rich.console import Console
from rich.table import Table

from bench import _invite
from lab.stack import Options, Stack
from lab.stack.ports import HOST, free_port
from sip import local
from sip.errors import ConfigurationError, ServiceError, SipError

RESULTS = Path(__file__).parent / "results" / "service.md"
TALK_S = 16.0
ANSWERS = 9
EXCESS_MS = {1: 95, 10: 142}
"""What livekit-sip v1.11 needed."""
ANSWER_MS = 60
CPU_PCT = 5.0
LIVEKIT_SIP = "livekit-sip v1.11.0: excess 95 and 142 ms, answer 23 ms, 3.4 % of a core per call"


@dataclass(frozen=True)
class Target:
    """The service that is measured, and the livekit-server behind it."""

    sip: tuple[str, int]
    url: str
    key: str
    secret: str
    pid: int | None


@dataclass(frozen=True)
class Result:
    """Figures of one number of calls: medians in ms, processor time in percent of a core per call."""

    calls: int
    reference_ms: float
    round_trip_ms: float
    lost: int
    """Sweeps that did not come back."""
    cpu_pct: float | None

    @property
    def excess_ms(self) -> float:
        return self.round_trip_ms - self.reference_ms


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 0 when it could be measured, whatever the figures."""
    options = _parser().parse_args(arguments)
    progress = Console(stderr=True)
    try:
        results, answers = asyncio.run(_run(options, progress))
    except (SipError, _invite.Refused, api.TwirpError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(_as_json(results, answers), indent=2))
    else:
        Console().print(_table(results, answers))
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(_markdown(results, answers))
    return 0


async def _run(options: argparse.Namespace, progress: Console) -> tuple[list[Result], list[float]]:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(_target(options))
        results: list[Result] = []
        for calls in options.calls:
            progress.print(f"{calls} call(s) …")
            reference = await _reference(calls)
            results.append(await _service(target, calls, reference))
        progress.print("answer …")
        return results, await _answers(target)


@asynccontextmanager
async def _target(options: argparse.Namespace) -> AsyncGenerator[Target]:
    if options.sip:
        yield _named(options)
        return
    with tempfile.TemporaryDirectory() as directory:
        wanted = Options(name=f"bench-{os.getpid()}", directory=Path(directory), agent=False, speech=False)
        async with Stack(wanted) as stack:
            yield _of_stack(stack.local)


def _named(options: argparse.Namespace) -> Target:
    host, _, port = options.sip.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError(f"{options.sip!r} is no HOST:PORT")
    environment = {name: os.environ.get(f"LIVEKIT_{name}", "") for name in ("URL", "API_KEY", "API_SECRET")}
    if all(environment.values()):
        url, key, secret = environment.values()
    else:
        stack = local.load()
        url, key, secret = stack.livekit_url, stack.api_key, stack.api_secret
    return Target((host, int(port)), url, key, secret, options.pid)


def _of_stack(stack: local.LocalStack) -> Target:
    host, _, port = stack.sip_address.rpartition(":")
    pid = int(stack.parts["sip"]["pid"])
    return Target((host, int(port)), stack.livekit_url, stack.api_key, stack.api_secret, pid)


async def _reference(calls: int) -> float:
    """Median round trip through two SIP agents back to back."""
    port = free_port(socket.SOCK_DGRAM)
    async with _helper("bench._callers", {"echo_port": port}):
        trips, _ = await _talk([f"sip:echo{index}@{HOST}:{port}" for index in range(calls)], None)
    return statistics.median(_heard(trips))


async def _service(target: Target, calls: int, reference: float) -> Result:
    async with _rooms(target, calls) as numbers:
        uris = [f"sip:{number}@{target.sip[0]}:{target.sip[1]}" for number in numbers]
        trips, cpu = await _talk(uris, target.pid)
    heard = _heard(trips)
    lost = sum(trip is None for call in trips for trip in call)
    return Result(calls, reference, statistics.median(heard), lost, None if cpu is None else cpu / calls)


async def _answers(target: Target) -> list[float]:
    async with _rooms(target, 1) as numbers:
        times: list[float] = []
        for _ in range(ANSWERS + 1):
            times.append(await _invite.answer_ms(numbers[0], target.sip))
            await asyncio.sleep(0.5)
    return times[1:]  # the first one warms up both sides


@asynccontextmanager
async def _rooms(target: Target, count: int) -> AsyncGenerator[list[str]]:
    """Numbers that lead to a room each, where somebody speaks and echoes. All is taken back at the end."""
    run = secrets.token_hex(3)
    numbers = [f"+1555{secrets.randbelow(10**7):07d}" for _ in range(count)]
    names = [f"bench-{run}-{index}" for index in range(count)]
    async with api.LiveKitAPI(target.url.replace("ws", "http", 1), target.key, target.secret) as livekit:
        made = [await _number(livekit, number, room) for number, room in zip(numbers, names, strict=True)]
        orders = {"url": target.url, "tokens": [_token(target, name) for name in names]}
        try:
            async with _helper("bench._room", orders):
                yield numbers
        finally:
            for trunk, rule in made:
                await livekit.sip.delete_dispatch_rule(
                    api.DeleteSIPDispatchRuleRequest(sip_dispatch_rule_id=rule)
                )
                await livekit.sip.delete_trunk(api.DeleteSIPTrunkRequest(sip_trunk_id=trunk))


async def _number(livekit: api.LiveKitAPI, number: str, room: str) -> tuple[str, str]:
    trunk = await livekit.sip.create_inbound_trunk(
        api.CreateSIPInboundTrunkRequest(trunk=api.SIPInboundTrunkInfo(name=room, numbers=[number]))
    )
    rule = await livekit.sip.create_dispatch_rule(
        api.CreateSIPDispatchRuleRequest(
            dispatch_rule=api.SIPDispatchRuleInfo(
                name=room,
                trunk_ids=[trunk.sip_trunk_id],
                rule=api.SIPDispatchRule(dispatch_rule_direct=api.SIPDispatchRuleDirect(room_name=room)),
            )
        )
    )
    return trunk.sip_trunk_id, rule.sip_dispatch_rule_id


def _token(target: Target, room: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken(target.key, target.secret).with_identity("echo").with_grants(grants).to_jwt()


async def _talk(uris: list[str], pid: int | None) -> tuple[list[list[float | None]], float | None]:
    """Round trips of all calls, and the processor time of `pid` and its children meanwhile, in percent."""
    async with _helper("bench._callers", {"targets": uris, "seconds": TALK_S}, "talking") as process:
        assert process.stdout
        before, began = _cpu(pid), time.monotonic()
        line = await process.stdout.readline()
        after, ended = _cpu(pid), time.monotonic()
    if not line:
        raise ServiceError("the callers have failed", "", "Their errors stand above.")
    cpu = None if before is None or after is None else (after - before) / (ended - began) * 100
    return json.loads(line), cpu


@asynccontextmanager
async def _helper(
    module: str, orders: dict[str, Any], signal: str = "ready"
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process of the bench's own, once it says `signal`; it ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(orders).encode() + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        if not line or json.loads(line) != signal:
            raise ServiceError(f"{module} did not start", line.decode(), "Its errors stand above.")
        yield process
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def _cpu(pid: int | None) -> float | None:
    """Seconds that a process and all that it started have used."""
    if pid is None:
        return None
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _heard(trips: list[list[float | None]]) -> list[float]:
    heard = [trip for call in trips for trip in call if trip is not None]
    if not heard:
        raise ServiceError("no sweep came back", "no audio goes through")
    return heard


def _as_json(results: list[Result], answers: list[float]) -> dict[str, Any]:
    return {
        "calls": [asdict(result) | {"excess_ms": result.excess_ms} for result in results],
        "answer_ms": {"median": statistics.median(answers), "all": answers},
    }


def _rows(results: list[Result], answers: list[float]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for result in results:
        calls = f"{result.calls} call" + ("s" if result.calls > 1 else "")
        bar = EXCESS_MS.get(result.calls)
        rows.append((f"reference, {calls}", f"{result.reference_ms:.0f} ms", ""))
        rows.append((f"round trip, {calls}", f"{result.round_trip_ms:.0f} ms", f"{result.lost} lost"))
        rows.append((f"excess, {calls}", f"{result.excess_ms:.0f} ms", f"<= {bar} ms" if bar else ""))
        if result.cpu_pct is not None:
            wanted = f"<= {CPU_PCT:g} %" if result.calls == 10 else ""
            rows.append((f"processor time a call, {calls}", f"{result.cpu_pct:.1f} %", wanted))
    spread = f"{min(answers):.0f}-{max(answers):.0f} ms"
    rows.append(("INVITE to 200", f"{statistics.median(answers):.0f} ms", f"<= {ANSWER_MS} ms ({spread})"))
    return rows


def _table(results: list[Result], answers: list[float]) -> Table:
    table = Table(title="SIP service, PCMU, one room a call")
    for name in ("figure", "median", "wanted"):
        table.add_column(name, justify="left" if name != "median" else "right")
    for row in _rows(results, answers):
        table.add_row(*row)
    return table


def _markdown(results: list[Result], answers: list[float]) -> str:
    lines = [
        "# The SIP service alone",
        "",
        f"`./run bench service`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}, {platform.system()} {platform.machine()}.",
        f"Beside it: {LIVEKIT_SIP}.",
        "",
        "| figure | median | wanted |",
        "|---|---|---|",
        *(f"| {name} | {value} | {wanted} |" for name, value, wanted in _rows(results, answers)),
        "",
        "The reference is two baresip agents back to back with their default buffers: 100 ms of jitter",
        "buffer each. The service has none of its own, so its excess can be small although audio passes a",
        "room twice. Rooms' jitter buffers grow on a busy machine and take seconds to shrink: measure on an",
        "idle one.",
        "",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench service", description=__doc__.split("\n\n")[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("--sip", metavar="HOST:PORT", help="measure this service instead of our own")
    parser.add_argument("--pid", type=int, help="the service's process, for its processor time")
    parser.add_argument(
        "--calls",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1, 10],
        help="numbers of calls to measure with (1,10)",
    )
    parser.add_argument("--json", action="store_true", help="figures for machines")
    parser.add_argument("--write", action="store_true", help=f"renew {RESULTS.name} under bench/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
