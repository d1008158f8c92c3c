"""A server for plans: it keeps trunks and rules, and refuses what livekit-server refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sip.dispatch.decide import rule_conflict, trunk_conflict
from sip.errors import ApiError
from sip.model import InboundTrunk, OutboundTrunk, Rule, State


class FakeServer:
    """Trunks and rules in memory. `fails_at` is the number of the write that fails, counted from 0."""

    def __init__(self, state: State, fails_at: int | None = None) -> None:
        self.items: dict[str, Any] = {
            item.id: item for item in (*state.inbound, *state.outbound, *state.rules)
        }
        self.fails_at, self.writes = fails_at, 0
        self._made = 0

    @property
    def state(self) -> State:
        """What is there now."""
        items = list(self.items.values())
        return State(
            tuple(item for item in items if isinstance(item, InboundTrunk)),
            tuple(item for item in items if isinstance(item, OutboundTrunk)),
            tuple(item for item in items if isinstance(item, Rule)),
        )

    async def create(self, item: Any) -> Any:
        """Make it under a new id."""
        self._write()
        assert not item.id, "the server gives ids itself"
        self._made += 1
        self._check(item, "")
        prefix = "SDR" if isinstance(item, Rule) else "ST"
        made = replace(item, id=f"{prefix}_new{self._made}_{len(self.items)}")
        self.items[made.id] = made
        return made

    async def update(self, old: Any, new: Any) -> Any:
        """Put the new one in the old one's place."""
        self._write()
        assert old.id == new.id, "an update keeps the id"
        assert old.id in self.items, "what is updated is there"
        self._check(new, old.id)
        self.items[new.id] = new
        return new

    async def delete(self, item: Any) -> None:
        """Remove it."""
        self._write()
        del self.items[item.id]

    def _write(self) -> None:
        number, self.writes = self.writes, self.writes + 1
        if number == self.fails_at:
            raise ApiError("the server failed", "it was told to", code="internal")

    def _check(self, new: Any, id: str) -> None:
        state = self.state
        if isinstance(new, InboundTrunk):
            others = [trunk for trunk in state.inbound if trunk.id != id]
            if trunk_conflict(new, others):
                raise ApiError("refused", "Conflicting inbound SIP Trunks", code="invalid_argument")
        elif isinstance(new, Rule):
            assert all(trunk.startswith("ST_") for trunk in new.trunks), "the API takes ids"
            others = [rule for rule in state.rules if rule.id != id]
            if rule_conflict([*others, new]):
                raise ApiError("refused", "Dispatch rule for the same trunk", code="invalid_argument")
