"""The logs of several parts as one stream of lines."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lab.processes import last_lines

PAUSE = 0.1
"""Seconds between two looks at the files while following them."""


def show(logs: Mapping[str, Path], count: int, *, follow: bool, alive: Callable[[], bool]) -> Iterator[str]:
    """The last `count` lines of each log, then, with `follow`, what is added as long as `alive()`.

    Lines carry the part's name when there is more than one log.
    """
    width = max((len(name) for name in logs), default=0)
    prefixes = {name: f"{name:<{width}} | " if len(logs) > 1 else "" for name in logs}
    ends = {name: path.stat().st_size if path.exists() else 0 for name, path in logs.items()}
    for name, path in logs.items():
        yield from (prefixes[name] + line for line in last_lines(path, count))
    if not follow:
        return
    files = {name: path.open("rb") for name, path in logs.items() if path.exists()}
    try:
        for name, file in files.items():
            file.seek(ends[name])
        rest = dict.fromkeys(files, b"")
        running = True
        while running:
            running = alive()  # asked before the last look, so that last words are shown
            for name, file in files.items():
                *lines, rest[name] = (rest[name] + _added(file)).split(b"\n")
                yield from (prefixes[name] + line.decode(errors="replace") for line in lines)
            if running:
                time.sleep(PAUSE)
    finally:
        for file in files.values():
            file.close()


def _added(file: io.BufferedReader) -> bytes:
    return file.read() or b""
