"""What a local stack should be: ports, keys, which parts run."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.stack import livekit_config
from sip.errors import ConfigurationError
from sip.local import state_dir

PROJECT = Path(__file__).resolve().parents[2]
"""Where `agent.py` and `livekit.yaml` stand."""

NUMBERS = ("+15550100",)
"""The number that reaches the agent, from the range that is kept for fiction."""


def new_secret() -> str:
    """An API secret; livekit-server wants 32 characters or more."""
    return secrets.token_hex(24)


def new_key() -> str:
    """An API key, in the shape that LiveKit gives them."""
    return "API" + secrets.token_hex(6)


@dataclass(frozen=True)
class Options:
    """One stack. Ports: 0 means any free one. Everything listens on 127.0.0.1."""

    name: str = "local"
    directory: Path | None = None
    """Logs, records and configuration; by default `<state directory>/<name>`."""
    sip_port: int = 0
    livekit_port: int = 0
    redis_url: str = field(default_factory=lambda: os.environ.get("REDIS_URL", ""))
    """A store to use instead of the embedded one.

    One stack a store: its message bus is shared by all databases.
    """
    agent: bool = True
    """Start the worker. Without it a call waits for an agent that you start yourself."""
    speech: bool = True
    """Start the local speech servers; without them the worker needs the real providers' keys."""
    service: bool = True
    """Start the SIP service."""
    agent_name: str = field(default_factory=lambda: os.environ.get("AGENT_NAME") or "phone-agent")
    numbers: tuple[str, ...] = NUMBERS
    api_key: str = field(default_factory=new_key)
    api_secret: str = field(default_factory=new_secret, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """More settings for every part (`.env.example`); they win over this process's environment."""
    speech_arguments: tuple[str, ...] = ()
    """More arguments for `python -m lab.speech`."""

    def __post_init__(self) -> None:
        problems: list[str] = []
        if self.redis_url:
            try:
                livekit_config.redis(self.redis_url)
            except ConfigurationError as error:
                problems.append(str(error))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", self.name):
            problems.append(
                f"the name {self.name!r} may hold letters, digits, dots, underscores and hyphens only"
            )
        for what, port in (("SIP", self.sip_port), ("livekit-server", self.livekit_port)):
            if not 0 <= port <= 65535:
                problems.append(f"the {what} port {port} is not between 0 and 65535")
        if not self.numbers:
            problems.append("there is no number that could reach the agent")
        if len(self.api_secret) < 32:
            problems.append("the API secret has fewer than 32 characters, which livekit-server refuses")
        if problems:
            raise ConfigurationError("the stack cannot be started", "; ".join(problems))

    @property
    def home(self) -> Path:
        """The stack's directory."""
        return self.directory or state_dir() / self.name
