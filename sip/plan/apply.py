"""Carries a plan out, one write at a time, and says how far it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sip.errors import SipError
from sip.model import InboundTrunk, Rule
from sip.plan.plan import Plan
from sip.plan.steps import Step


class Writer(Protocol):
    """What writes to a LiveKit server: `sip.api.live.Live`."""

    async def create(self, item: Any) -> Any: ...  # noqa: D102
    async def update(self, old: Any, new: Any) -> Any: ...  # noqa: D102
    async def delete(self, item: Any) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Done:
    """A step that was carried out; `id` is that of its object."""

    step: Step
    id: str


class UnsafePlan(SipError):
    """A plan with findings that were not allowed; nothing was written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__("nothing was written", "the plan is unsafe", "See its findings")


class ApplyError(SipError):
    """The server refused a step, or could not be reached: what was done stays, what was not is told."""

    def __init__(self, done: tuple[Done, ...], failed: Step, left: tuple[Step, ...], cause: SipError) -> None:
        self.done, self.failed, self.left, self.cause = done, failed, left, cause
        total = len(done) + 1 + len(left)
        parts = [f"step {len(done) + 1} of {total} failed: {failed}", f"  {cause}"]
        if done:
            parts += ["Done:", *(f"  {each.step}" for each in done)]
        parts += ["Not done:", f"  {failed}", *(f"  {step}" for step in left)]
        parts.append("Once that is mended, `sip apply` goes on from here.")
        super().__init__("\n".join(parts))

    def __str__(self) -> str:
        return self.what


async def apply(
    plan: Plan, writer: Writer, progress: Callable[[Step], None] | None = None
) -> tuple[Done, ...]:
    """Carry out all steps. `progress` hears of each one that is done.

    Raises `UnsafePlan` before anything is written, and `ApplyError` at the first step that fails, since the
    steps after it may need it, and also when it is cancelled (Ctrl-C): it ends there either way.
    """
    if plan.refused:
        raise UnsafePlan(plan)
    done: list[Done] = []
    made: dict[str, str] = {}
    for index, step in enumerate(plan.steps):
        try:
            id = await _carry_out(step, writer, made)
        except SipError as error:
            raise ApplyError(tuple(done), step, plan.steps[index + 1 :], error) from error
        except asyncio.CancelledError as error:
            cause = SipError("interrupted", "whether the server still carried this step out is not known")
            raise ApplyError(tuple(done), step, plan.steps[index + 1 :], cause) from error
        if isinstance(step.new, InboundTrunk) and step.action == "create":
            made[step.new.name] = id
        done.append(Done(step, id))
        if progress:
            progress(step)
    return tuple(done)


async def _carry_out(step: Step, writer: Writer, made: dict[str, str]) -> str:
    """Id of the object that was written or deleted."""
    new = step.new
    if isinstance(new, Rule):
        new = replace(new, trunks=tuple(made.get(trunk, trunk) for trunk in new.trunks))
    if step.action == "create":
        return str((await writer.create(new)).id)
    if step.action == "update":
        await writer.update(step.old, new)
    else:
        await writer.delete(step.old)
    return step.id
