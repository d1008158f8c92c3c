"""One phone call, from answer to hang-up: a worker, and a LiveKit Agents plugin.

`server` is the whole worker (`python -m livekit.agents start agent.py`). The verbs work in anybody's session:
`turn_options()` (end of turn and barge-in on the telephone), `hangup` and `follow_caller`,
`transfer`, `Failsafe`. All names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from livekit.agents import Plugin

if TYPE_CHECKING:
    from agent.call import Call, wait_until_answered
    from agent.failsafe import Failsafe
    from agent.hangup import follow_caller, hangup, hangup_soon
    from agent.transfer import transfer
    from agent.turns import TurnOptions, turn_options
    from agent.worker import PhoneServer

    server: PhoneServer

__version__ = "0.1.0"
_HOMES = {
    "Call": "agent.call",
    "wait_until_answered": "agent.call",
    "Failsafe": "agent.failsafe",
    "follow_caller": "agent.hangup",
    "hangup": "agent.hangup",
    "hangup_soon": "agent.hangup",
    "transfer": "agent.transfer",
    "TurnOptions": "agent.turns",
    "turn_options": "agent.turns",
}
__all__ = [
    "Call",
    "Failsafe",
    "TurnOptions",
    "follow_caller",
    "hangup",
    "hangup_soon",
    "server",
    "transfer",
    "turn_options",
    "wait_until_answered",
]


class PhoneAgentPlugin(Plugin):
    """Makes the framework list and preload this package; on the main thread, like every plugin."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __name__, logging.getLogger(__name__))


Plugin.register_plugin(PhoneAgentPlugin())


@cache
def _server() -> PhoneServer:
    return importlib.import_module("agent.worker").build_server()


def __getattr__(name: str) -> Any:
    if name == "server":
        return _server()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # The framework looks here for a server to run.
    return sorted({*globals(), *__all__})
