"""`./run bench plan`: how long `sip plan` takes with 1,000 trunks and 2,000 rules, as a whole process.

A local stack of store and livekit-server alone is started and filled by `sip apply` (timed, too). Then whole
processes are timed, from start to exit: with nothing to do, with a change of every tenth object, and against
a file of which nothing is live. Above 3 s the bench fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.stack import Options, Stack
from sip.errors import SipError
from sip.local import LocalStack

RESULTS = Path(__file__).parent / "results" / "plan.md"
LIMIT_S = 3.0
INBOUND, OUTBOUND, RULES = 800, 200, 2000


@dataclass(frozen=True)
class Result:
    """Seconds of whole processes of one kind."""

    what: str
    seconds: list[float]
    limit: float | None = LIMIT_S

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def slow(self) -> bool:
        return self.limit is not None and self.median > self.limit


def main(arguments: list[str] | None = None) -> int:
    """Run the bench; 1 when a plan takes too long."""
    options = _parser().parse_args(arguments)
    try:
        results = asyncio.run(_run(options.n))
    except (SipError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([asdict(result) | {"median": result.median} for result in results], indent=2))
    else:
        print("\n".join(_rows(results)))
    if options.write:
        RESULTS.write_text(_markdown(results))
    return int(any(result.slow for result in results))


async def _run(times: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wanted = Options(
            name=f"bench-{os.getpid()}",
            directory=directory / "stack",
            agent=False,
            speech=False,
            service=False,
        )
        async with Stack(wanted) as stack:
            return await asyncio.to_thread(_measure, stack.local, directory, times)


def _measure(stack: LocalStack, directory: Path, times: int) -> list[Result]:
    """All figures. Raises `RuntimeError` when a command does not do what it is timed for."""
    files = {"same": _text(0), "changed": _text(10), "other": _text(0, "other-", 1_000_000)}
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(text)

    def timed(*arguments: str, says: str) -> float:
        environment = os.environ | {
            "LIVEKIT_URL": stack.livekit_url,
            "LIVEKIT_API_KEY": stack.api_key,
            "LIVEKIT_API_SECRET": stack.api_secret,
        }
        started = time.perf_counter()
        command = [sys.executable, "-m", "sip.cli", *arguments]
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - started
        if done.returncode or says not in done.stdout:
            raise RuntimeError(f"sip {arguments[0]}: {done.stderr or done.stdout}"[:2000])
        return took

    def plans(what: str, file: str, says: str) -> Result:
        print(f"{what} …", file=sys.stderr)
        return Result(what, [timed("plan", f"{file}.yaml", says=says) for _ in range(times)])

    total = INBOUND + OUTBOUND + RULES
    print("filling the server …", file=sys.stderr)
    filled = Result(
        f"apply, {total} writes", [timed("apply", "same.yaml", "--yes", says=f"{total} created")], None
    )
    # Only trunks are changed: an inbound one in ten loses a number, which asks for live calls, too.
    changed = -(-INBOUND // 10)
    return [
        plans("plan, nothing to do", "same", "nothing to do"),
        plans(f"plan, {changed} updates", "changed", f"0 to create, {changed} to update, 0 to delete"),
        plans(f"plan, {total} creations", "other", f"{total} to create"),
        filled,
    ]


def _text(every: int, prefix: str = "", first: int = 0) -> str:
    """The file; every n-th inbound trunk has another number when `every` is given."""
    return "\n".join(_lines(every, prefix, first)) + "\n"


def _lines(every: int, prefix: str, first: int) -> Iterator[str]:
    yield "inbound:"
    for index in range(INBOUND):
        number = 12_000_000_000 + first + 2 * index + (5_000_000 if every and index % every == 0 else 0)
        yield f"  {prefix}in-{index}:"
        yield f'    numbers: ["+{number}", "+{number + 1}"]'
        yield f"    allowed_addresses: [203.0.113.{index % 256}/32]"
        yield "    headers_to_attributes: {X-Account: account}"
    yield "outbound:"
    for index in range(OUTBOUND):
        yield f"  {prefix}out-{index}:"
        yield f"    address: sip-{index}.example.com"
        yield '    numbers: ["*"]'
    yield "rules:"
    for index in range(RULES):
        trunk = index % INBOUND
        yield f"  {prefix}rule-{index}:"
        yield f"    trunks: [{prefix}in-{trunk}]"
        yield f'    inbound_numbers: ["+1300{index:07d}"]'
        yield f"    room: desk-{index}-"
        yield "    agent: phone-agent"


def _rows(results: list[Result]) -> list[str]:
    rows = ["| what | median | slowest | wanted |", "|---|---|---|---|"]
    for result in results:
        wanted = f"< {result.limit:g} s" if result.limit else ""
        rows.append(f"| {result.what} | {result.median:.2f} s | {max(result.seconds):.2f} s | {wanted} |")
    return rows


def _markdown(results: list[Result]) -> str:
    lines = [
        "# Plans of many trunks and rules",
        "",
        f"`./run bench plan`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}, {platform.system()} {platform.machine()};"
        f" {INBOUND + OUTBOUND} trunks and {RULES} rules on a livekit-server on the same machine.",
        "Whole processes, from start to exit: reading the file, asking the server, comparing, printing.",
        "",
        *_rows(results),
        "",
        "One write takes as long as the server needs to check it against all that it has.",
        "",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench plan", description=__doc__.split("\n\n")[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("-n", type=int, default=5, help="processes of each kind (5)")
    parser.add_argument("--json", action="store_true", help="figures for machines")
    parser.add_argument("--write", action="store_true", help=f"renew {RESULTS.name} under bench/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
