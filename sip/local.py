"""The state file of a local stack: how any command finds a running stack without flags.

`sip stack up` writes it once every part answers and removes it at the end. Environment and flags win over it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sip.errors import ServiceError, StackNotFound


def state_dir() -> Path:
    """Where state files stand: `$XDG_STATE_HOME/livekit-phone-agent`, by default under `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "livekit-phone-agent"


@dataclass(frozen=True)
class LocalStack:
    """What runs, and where it answers. Addresses are `host:port`; urls carry their scheme."""

    name: str
    pid: int
    """Process id of the supervisor: the stack is up while it lives."""
    directory: str
    """Logs (`logs/<part>.log`), call records (`records/`) and recordings of this stack."""
    livekit_url: str
    api_key: str
    api_secret: str
    redis_url: str
    sip_address: str
    speech_url: str
    """Base of the local speech servers; empty when the worker talks to real providers."""
    agent_name: str
    numbers: tuple[str, ...]
    """Numbers that reach the agent."""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """`{part: {"pid": int, "log": path, "address": str}}`."""

    @property
    def path(self) -> Path:
        """The state file itself."""
        return state_dir() / f"{self.name}.json"

    def save(self) -> None:
        """Write the file so that a reader sees all of it or none; only its owner can read it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(self.path)

    def remove(self) -> None:
        """Forget the stack; a second call is no error."""
        self.path.unlink(missing_ok=True)

    def alive(self) -> bool:
        """Whether the supervisor still runs: the process exists, and holds the stack's name.

        The lock tells it from a stranger that was given the same process id later.
        """
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return NameLock(self.name).held()


class NameLock:
    """A stack's name, held by its supervisor as long as it lives: the kernel lets go of it at its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = state_dir() / f"{name}.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Hold the name. Raises `ServiceError` when a running stack has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(50):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                    self._descriptor = descriptor
                    return
            except BlockingIOError:
                time.sleep(0.002)  # `held` in another process holds it, too, but only for an instant
            except FileNotFoundError:
                pass  # its last holder removed the file between our two looks at it
            os.close(descriptor)
        raise ServiceError(
            f"a local stack named {self.name!r} runs already",
            "",
            "Stop it with `./run sip stack down`, or choose another name with --name",
        )

    def release(self) -> None:
        """Let go; a second call is no error."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)  # before others can have it; `acquire` notices
            os.close(self._descriptor)
            self._descriptor = None

    def held(self) -> bool:
        """Whether some process holds the name now."""
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def load(name: str = "") -> LocalStack:
    """The stack of this name, or the only one that runs.

    Raises `StackNotFound` when there is none, or several and no name was given.
    """
    found = [stack for stack in running() if not name or stack.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(stack.name for stack in found)
        raise StackNotFound("several local stacks run", names, "Name one of them with --name.")
    wanted = f"no local stack named {name!r} runs" if name else "no local stack runs"
    raise StackNotFound(wanted, "", "Start one with `./run sip stack up --detach`.")


def running() -> list[LocalStack]:
    """All stacks whose supervisor lives, sorted by name; files of dead ones are left to `sip stack down`."""
    stacks: list[LocalStack] = []
    for path in sorted(state_dir().glob("*.json")):
        stack = read(path)
        if stack is not None and stack.alive():
            stacks.append(stack)
    return stacks


def read(path: Path) -> LocalStack | None:
    """One state file; None when it vanished or is not one of ours."""
    try:
        data = json.loads(path.read_text())
        data["numbers"] = tuple(data["numbers"])
        return LocalStack(**data)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None
