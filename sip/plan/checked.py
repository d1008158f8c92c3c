"""A plan for what a file wants, with all that is wrong placed in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sip.model import State
from sip.plan.plan import Mismatch, Plan, PlanError, plan
from sip.wanted.desired import Desired
from sip.wanted.document import Fault, FileError, Place


def checked_plan(
    desired: Desired,
    live: State,
    *,
    prune: bool = False,
    allow: Iterable[str] = (),
    busy: Mapping[str, int] | None = None,
    hidden: bool = False,
) -> Plan | None:
    """`sip.plan.plan.plan` for a file.

    An entry with values that cannot work is only refused when the plan would write it: what is live already
    may be like that. Raises `FileError` with everything else that keeps a plan from being made.
    """
    invalid = [fault for _, fault in desired.invalid]
    try:
        made = plan(
            desired.state,
            live,
            prune=prune,
            allow=allow,
            busy=busy,
            unset=desired.unset,
            hidden=hidden,
        )
    except PlanError as error:
        faults = [*desired.warnings, *invalid, *(_fault(desired, problem) for problem in error.problems)]
        raise FileError(_file(desired), faults) from None
    steps = made.steps if made else ()
    touched = {(step.kind, text) for step in steps for text in (step.id, step.name) if text}
    touched |= {(step.kind, step.new.name) for step in steps if step.new}
    refused = [fault for key, fault in desired.invalid if key in touched or key[0] == "registration"]
    if refused:
        raise FileError(_file(desired), [*desired.warnings, *refused])
    return made


def _fault(desired: Desired, problem: Mismatch) -> Fault:
    place = desired.place(problem.kind, problem.item, problem.field) or Place(_file(desired))
    path = desired.paths.get((problem.kind, problem.item), problem.item)
    return Fault(place, f"{path}.{problem.field}", problem.reason, problem.mend)


def _file(desired: Desired) -> str:
    return next((places[""].file for places in desired.places.values()), "the file")
