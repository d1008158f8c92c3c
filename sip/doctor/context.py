"""What the checks look at: a server, a local stack if there is one, settings, files. Asked once, shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sip.api.connect import Target
from sip.api.live import Live
from sip.errors import SipError
from sip.local import LocalStack
from sip.model import State

_Answer = TypeVar("_Answer")


class CannotRun(Exception):
    """A check cannot look at its matter; the text says why."""


@dataclass
class Context:
    """One run of the doctor."""

    target: Target
    live: Live
    """Open."""
    stack: LocalStack | None = None
    """The local stack behind the target; None for any other server."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment over `.env`."""
    directory: Path = field(default_factory=Path.cwd)
    """Where `.env` and `trunks.yaml` stand."""
    sip_address: str = ""
    """`host[:port]` of the SIP service, where it is known."""
    probe: bool = True
    """Whether agents may be called into an empty room for a moment."""
    presets: tuple[str, ...] = ()
    """Names of presets whose codecs must fit."""
    call: bool = False
    """Whether a test call may be placed."""
    number: str = ""
    """Whom the test call dials; empty: a number of the stack or of a trunk."""
    _state: asyncio.Future[State] | None = None

    async def state(self) -> State:
        """All trunks and rules. Raises `CannotRun` when the API does not give them."""
        if self._state is None:
            self._state = asyncio.ensure_future(self.live.fetch())
        try:
            return await asyncio.shield(self._state)
        except SipError:
            raise CannotRun("the LiveKit API does not answer") from None

    async def ask(self, request: Awaitable[_Answer], what: str) -> _Answer:
        """A request of the API, once it is known to answer at all."""
        await self.state()
        try:
            return await self.live.ask(request, what)
        except SipError as error:
            raise CannotRun(str(error)) from error

    def trunk_name(self, id: str, state: State) -> str:
        """A trunk's name, else its id."""
        named = {trunk.id: trunk.name for trunk in (*state.inbound, *state.outbound)}
        return named.get(id) or id

    @property
    def serves(self) -> str:
        """Address that a `sip serve` of this machine would take its calls on; empty: none is meant to run."""
        if self.stack or self.target.cloud or not self.settings.get("REDIS_URL"):
            return ""
        return f"{self.settings.get('SIP_HOST') or '127.0.0.1'}:{self.settings.get('SIP_PORT') or '5060'}"
