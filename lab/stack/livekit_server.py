"""livekit-server: the one on PATH, or one that is built once from its pinned Go module and cached.

The build needs neither Go nor a C compiler on the machine: without a `go` that is new enough, the toolchain
comes as a wheel from PyPI. See `lab.stack.toolchain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from lab.processes import Command, Supervisor, quote
from lab.stack.events import Event, Listener
from lab.stack.toolchain import cache_dir, find_go, output_of
from sip.errors import SetupError

VERSION = "1.13.5"
MODULE = f"github.com/livekit/livekit-server/cmd/server@v{VERSION}"
PART = "livekit-server"
_SCRATCH = "build-"
MEND = (
    f"Install livekit-server {VERSION} (https://docs.livekit.io/home/self-hosting/local/) so that it is on "
    "PATH, or Go 1.26 or newer (https://go.dev/dl), then try again"
)


async def find(supervisor: Supervisor, on_event: Listener) -> Path:
    """Path of a livekit-server that runs here; builds it when there is none.

    Raises `SetupError`, with what to install instead, when it cannot be had.
    """
    if path := shutil.which(PART):
        version = await version_of(Path(path))
        if version != VERSION:
            on_event(Event(PART, "warning", f"{path} is version {version}; this was tried with {VERSION}"))
        return Path(path)
    binary = cached()
    if not _is_there(binary):
        await _build(supervisor, binary, on_event)
    return binary


def cached() -> Path:
    """Where the built binary stands, whether it exists or not."""
    return cache_dir() / PART / VERSION / PART


async def version_of(binary: Path) -> str:
    """What `--version` says. Raises `SetupError` when the program does not run on this machine."""
    text = await output_of(str(binary), "--version")
    found = re.search(r"(\d+\.\d+\.\d+\S*)", text or "")
    if not found:
        raise SetupError(f"{binary} does not run", "it prints no version", MEND)
    return found[1]


_GO_OWN = ("GOFLAGS", "GOOS", "GOARCH", "GOWORK", "GOROOT", "GOBIN", "GOEXPERIMENT")


def build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of `go install`: the user's, without what would change a pinned build."""
    kept = {key: value for key, value in environment.items() if key not in _GO_OWN}
    return kept | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


async def _build(supervisor: Supervisor, binary: Path, on_event: Listener) -> None:
    _prepare(binary.parent)
    async with _only_one(binary.with_name("build.lock"), on_event):
        if _is_there(binary):
            return  # whoever held the lock has built it
        started = time.monotonic()
        log = _fresh_log(binary)
        on_event(Event(PART, "progress", f"building {VERSION} from source, once (about two minutes)"))
        go = await find_go(supervisor, log, lambda text: on_event(Event(PART, "progress", text)))
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=binary.parent) as scratch:
            command = Command(
                "livekit-server build",
                [str(go), "install", "-v", "-trimpath", "-ldflags", "-s -w", MODULE],
                log=log,
                env=build_environment(os.environ) | {"GOBIN": scratch},
                cwd=Path(scratch),
            )
            build = asyncio.create_task(supervisor.run(command))
            try:
                await _follow(build, log, started, on_event)
                code = await build
            finally:
                build.cancel()  # no news once it is done; else it ends the compiler
                await asyncio.wait([build])
            built = Path(scratch) / "server"
            if code != 0:
                raise SetupError(
                    f"{PART} {VERSION} could not be built",
                    f"`go install` ended with exit code {code}",
                    f"{MEND}. {quote(log)}",
                )
            if (version := await version_of(built)) != VERSION:
                raise SetupError(f"{PART} {VERSION} could not be built", f"the result is {version}", MEND)
            built.replace(binary)  # whole or not at all
        on_event(Event(PART, "progress", f"built in {time.monotonic() - started:.0f} s: {binary}"))


async def _follow(build: asyncio.Task[int], log: Path, started: float, on_event: Listener) -> None:
    """Tell how far the build is, once a second."""
    while not (await asyncio.wait([build], timeout=1.0))[0]:
        seconds = time.monotonic() - started
        on_event(Event(PART, "working", f"{_progress(log)}, {seconds:.0f} s", seconds))


def _progress(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    modules = sum(line.startswith("go: downloading") for line in lines)
    packages = sum(not line.startswith("go: ") for line in lines)
    return f"{modules} modules fetched, {packages} packages compiled"


def _prepare(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)


def _is_there(binary: Path) -> bool:
    return binary.exists()


def _fresh_log(binary: Path) -> Path:
    """An empty log; what builds that were killed left behind is removed (the lock is held)."""
    for left in binary.parent.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    log = binary.with_name("build.log")
    log.write_text("")
    return log


@contextlib.asynccontextmanager
async def _only_one(lock: Path, on_event: Listener) -> AsyncGenerator[None]:
    """Hold the lock file; the kernel lets go of it when its holder dies."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    on_event(Event(PART, "progress", "another build is under way; waiting for it"))
                told = True
                await asyncio.sleep(0.2)  # flock has no wait that an event loop could be woken by
        yield
    finally:
        os.close(descriptor)
