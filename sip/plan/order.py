"""In which order the steps of a plan can be carried out.

livekit-server refuses each write that would leave two trunks with one number, or two rules with one
combination of trunk, numbers and PIN, even for a moment. So whoever takes such a key waits for the step that
gives it up; and where objects swap keys, one of them steps aside first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sip.model import InboundTrunk, Rule
from sip.plan.conflicts import keys
from sip.plan.steps import Step

_PHASES = {
    ("create", "trunk"): 0,
    ("update", "trunk"): 1,
    ("create", "rule"): 2,
    ("update", "rule"): 3,
    ("delete", "rule"): 4,
    ("delete", "trunk"): 5,
}


@dataclass
class _Node:
    """A step and what it waits for: `must` it, or would better."""

    step: Step
    must: set[int] = field(default_factory=set[int])
    better: set[int] = field(default_factory=set[int])
    rank: tuple[int, str, str, str] = (0, "", "", "")


def rank(step: Step) -> tuple[int, str, str, str]:
    """Where a step stands when nothing else decides: what is new first, what goes last, then by name."""
    return (
        _PHASES[step.action, "rule" if step.kind == "rule" else "trunk"],
        step.kind,
        step.name,
        step.id,
    )


def ordered(steps: Iterable[Step]) -> tuple[Step, ...]:
    """All steps, in an order in which livekit-server takes each of them; swaps get one step more."""
    nodes = [_Node(step, rank=rank(step)) for step in sorted(steps, key=rank)]
    _link(nodes)
    done: list[Step] = []
    left = set(range(len(nodes)))
    ready = _Ready(nodes)
    while left:
        index = ready.pop()
        if index is None:
            if not ready.forget_wishes(left):
                done.append(_step_aside(nodes, left, ready))
            continue
        left.discard(index)
        done.append(nodes[index].step)
        ready.done(index)
    return tuple(done)


class _Ready:
    """Nodes that wait for nothing more, best first."""

    def __init__(self, nodes: Sequence[_Node]) -> None:
        self._nodes = nodes
        self._waiting = [node.must | node.better for node in nodes]
        self._followers: dict[int, set[int]] = {}
        for index, waiting in enumerate(self._waiting):
            for each in waiting:
                self._followers.setdefault(each, set()).add(index)
        self._heap = [(node.rank, index) for index, node in enumerate(nodes) if not self._waiting[index]]
        heapq.heapify(self._heap)

    def pop(self) -> int | None:
        """The next one, or None when all that are left wait."""
        return heapq.heappop(self._heap)[1] if self._heap else None

    def done(self, index: int) -> None:
        """Whoever waited for it waits no more."""
        for follower in sorted(self._followers.pop(index, ())):
            self._release(follower, {index})

    def forget_wishes(self, left: Iterable[int]) -> bool:
        """Let go of what would only be better, of the first node that this frees; False when none is."""
        for index in sorted(left, key=lambda index: self._nodes[index].rank):
            waiting = self._waiting[index]
            if waiting and not waiting & self._nodes[index].must:
                self._release(index, set(waiting))
                return True
        wished = [index for index in left if self._waiting[index] - self._nodes[index].must]
        for index in wished:
            self._release(index, self._waiting[index] - self._nodes[index].must)
        return bool(wished)

    def waits_for(self, index: int) -> set[int]:
        """What it still waits for."""
        return self._waiting[index]

    def _release(self, index: int, of: set[int]) -> None:
        if self._waiting[index]:
            self._waiting[index] -= of
            if not self._waiting[index]:
                heapq.heappush(self._heap, (self._nodes[index].rank, index))


def _link(nodes: list[_Node]) -> None:
    created = {
        node.step.name: index
        for index, node in enumerate(nodes)
        if node.step.action == "create" and node.step.kind == "inbound"
    }
    updated = {
        node.step.id: index
        for index, node in enumerate(nodes)
        if node.step.action == "update" and node.step.kind == "inbound"
    }
    freed: dict[object, int] = {}
    leaving: dict[str, int] = {}
    for index, node in enumerate(nodes):
        old, new = node.step.old, node.step.new
        for key in keys(old) - keys(new):
            freed[key] = index
        if node.step.action == "delete" and node.step.kind == "inbound":
            leaving[node.step.id] = index
    for index, node in enumerate(nodes):
        old, new = node.step.old, node.step.new
        # Also who has a key already waits: a conflict that is live makes the server refuse any write of it.
        node.must |= {freed[key] for key in keys(new) if key in freed} - {index}
        if isinstance(new, Rule):
            node.must |= {created[name] for name in new.trunks if name in created}
            node.better |= {updated[id] for id in new.trunks if id in updated}
        if isinstance(old, Rule):
            for trunk in old.trunks:
                if trunk in leaving:
                    nodes[leaving[trunk]].better.add(index)


def _step_aside(nodes: list[_Node], left: set[int], ready: _Ready) -> Step:
    """All that are left wait for each other: one of them takes a number that nobody has, for a moment."""
    seen: list[int] = []
    index = min(left, key=lambda index: nodes[index].rank)
    while index not in seen:
        seen.append(index)
        index = min(ready.waits_for(index))
    step = nodes[index].step
    assert isinstance(step.old, InboundTrunk | Rule), "only updates of trunks and of rules swap keys"
    aside = replace(step.old, numbers=(f"moving-{step.id}",), managed=True)
    nodes[index].step = replace(step, old=aside)  # its changes stay those that people are told of
    ready.done(index)
    return replace(step, new=aside, changes=(), aside=True)
