"""The parent of all child processes of a supervisor: a tiny program that outlives it to clean up.

`lab.processes.Supervisor` runs this file (`python -I -S guardian.py FD`) and talks to it in JSON lines over a
socket. Why not start the children directly: a supervisor that is killed with SIGKILL cannot clean up after
itself. The guardian notices that the socket closed, and ends every process below it: TERM to each child, a
grace period, then KILL to every descendant, also to those that left their group (on Linux it adopts orphans).
Should the guardian itself be killed, the kernel kills its direct children (PR_SET_PDEATHSIG) and the
supervisor their groups.

Requests: `{"start": name, "argv": […], "env": {…}, "cwd": path, "log": path}`,
`{"signal": name, "number": int}` (KILL reaches the whole group, every other signal its leader, who knows best
how to end what it started).
Events: `{"event": "started", "name": …, "pid": …}`, `{"event": "failed", "name": …, "error": …}`,
`{"event": "exited", "name": …, "code": …}` (a negative code is the signal that ended it).

Only the standard library, one thread, no import of ours: it must start fast and never fail for a reason of
its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRACE = 3.0
"""Seconds between TERM and KILL once the supervisor is gone."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(descriptor: int) -> None:
    """Serve the supervisor at the other end of this socket until it closes, then end every descendant."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    Guardian(control).run()


class Guardian:
    """Children by name, and the loop that starts, signals and reaps them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._names: dict[int, str] = {}  # process id (also group and session id) of each child that runs
        self._buffer = b""
        self._ended = False
        self._wake = -1  # readable when a signal came
        self._prctl = _prctl()
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> None:
        """Return when the supervisor is gone and nothing is left below this process."""
        self._wake, wake_writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGHUP, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        self._read()
                    else:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self._wake, 4096)
                self._reap()
        self._end_all()

    def _on_term(self, *_: object) -> None:
        self._ended = True

    def _read(self) -> None:
        try:
            data = self._control.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._ended = True
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "start" in request:
                self._start(request)
            else:
                self._signal(request["signal"], request["number"])

    def _start(self, request: dict[str, Any]) -> None:
        name = request["start"]
        try:
            with Path(request["log"]).open("ab") as log:
                child = subprocess.Popen(
                    request["argv"],
                    env=request["env"],
                    cwd=request["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=self._die_with_guardian,  # safe: this process has one thread
                )
        except OSError as error:
            self._send({"event": "failed", "name": name, "error": str(error)})
            return
        child.returncode = 0  # reaped in `_reap`, not by Popen
        self._names[child.pid] = name
        self._send({"event": "started", "name": name, "pid": child.pid})

    def _die_with_guardian(self) -> None:
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def _signal(self, name: str, number: int) -> None:
        for pid, known in self._names.items():
            if known == name:
                _send_signal(pid, number)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            name = self._names.pop(found.si_pid, None)
            if name is not None:
                # Before it is reaped, while its number cannot name another group: what it left in its group
                # ends too.
                _send_signal(found.si_pid, signal.SIGKILL)
            _, status = os.waitpid(found.si_pid, 0)
            if name is not None:
                self._send({"event": "exited", "name": name, "code": os.waitstatus_to_exitcode(status)})

    def _send(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; the read side will say so
            self._control.sendall(json.dumps(event).encode() + b"\n")

    def _end_all(self) -> None:
        for pid in self._names:
            _send_signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        self._reap()
        while self._names and time.monotonic() < deadline:
            select.select([self._wake], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            self._reap()
        for pid in self._names:
            _send_signal(pid, signal.SIGKILL)
        # What left its group was adopted by this process when its parent ended.
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            select.select([self._wake], [], [], 0.01)


def descendants(root: int) -> list[int]:
    """Process ids below `root`, from /proc; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # "pid (name) state ppid …", and the name may hold anything.
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    ahead = [root]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _prctl() -> Callable[[int, int], None]:
    """Linux's prctl(2); elsewhere nothing: groups are then all that the clean-up knows."""
    if sys.platform != "linux":
        return lambda _option, _value: None
    function = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: function(option, value, 0, 0, 0)


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _nothing(*_: object) -> None:
    """A handler, so that SIGCHLD wakes the selector."""


if __name__ == "__main__":
    main(int(sys.argv[1]))
