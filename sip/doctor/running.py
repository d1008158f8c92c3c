"""Runs the checks side by side, each with its own time limit, and never fails because one of them does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from sip.doctor import (
    agents,
    files,
    gaps,
    network,
    providers,
    registrations,
    routing,
    server,
    service,
    trial_call,
)
from sip.doctor.context import CannotRun, Context
from sip.finding import Finding, Severity, ordered, worst

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One check. It gives findings; none means that all is well, which is said in `well`."""

    name: str
    run: Callable[[Context], Awaitable[Sequence[Finding]]]
    well: str
    """What is said when nothing was found."""
    limit: float = 10.0
    """Seconds."""


CHECKS: tuple[Check, ...] = (
    Check("livekit-api", server.api, "the LiveKit API answers and takes the key"),
    Check("clock", server.clock, "this machine's clock agrees with the server's"),
    Check("tls-certificate", server.certificates, "certificates are valid"),
    Check("redis", service.redis, "the store answers"),
    Check("sip-service", service.alive, "the SIP service answers OPTIONS"),
    Check("sip-port", service.ports, "the SIP port is free, or our own service holds it"),
    Check("public-address", network.addresses, "the addresses in use can be reached by who must reach them"),
    Check("routing", routing.paths, "every inbound trunk leads to a rule, and every rule to a trunk"),
    Check("openings", routing.openings, "no trunk or rule lets strangers in"),
    Check("fields", routing.fields, "fields of trunks and rules are sound"),
    Check("codecs", routing.codecs, "codecs of trunks can be spoken"),
    Check("service-gaps", gaps.unsupported, "the SIP service does all that trunks and rules ask for"),
    Check("registrations", registrations.registrations, "the PBX has registered every extension"),
    Check("agents", agents.workers, "every rule's agent has a worker that takes calls", 30.0),
    Check("secrets", files.secrets, "no secret lies open in .env or trunks.yaml"),
    Check("providers", providers.keys, "speech and language providers answer and take their keys"),
    Check("test-call", trial_call.place, "a test call was answered, and the agent spoke", 90.0),
)


@dataclass(frozen=True)
class Report:
    """All findings, gravest first."""

    findings: tuple[Finding, ...]

    @property
    def severity(self) -> Severity:
        """The gravest."""
        return worst(self.findings)

    @property
    def works(self) -> bool:
        """Whether nothing was found that keeps calls from working."""
        return self.severity != "error"


async def run(
    context: Context,
    checks: Iterable[Check] = CHECKS,
    done: Callable[[Check], None] = lambda _: None,
) -> Report:
    """Run the checks; `done` hears of each that is over.

    The test call comes last: what else is wrong explains it, and a probe of the agents would disturb it.
    """
    chosen = [check for check in checks if check.name != "test-call" or context.call]

    async def one(check: Check) -> list[Finding]:
        found = await _look(check, context)
        done(check)
        return found

    first = [check for check in chosen if check.name != "test-call"]
    found = await asyncio.gather(*(one(check) for check in first))
    last = [await one(check) for check in chosen if check not in first]
    return Report(tuple(ordered(finding for findings in (*found, *last) for finding in findings)))


async def _look(check: Check, context: Context) -> list[Finding]:
    try:
        async with asyncio.timeout(check.limit):
            found = list(await check.run(context))
    except CannotRun as why:
        return [Finding(check.name, "skipped", str(why))]
    except TimeoutError:
        return [Finding(check.name, "skipped", f"it took longer than {check.limit:g} s")]
    except Exception as error:
        # A fault of ours in one check must not hide what the others found.
        logger.debug("check failed", exc_info=True)
        return [Finding(check.name, "skipped", f"the check itself failed: {type(error).__name__}: {error}")]
    if any(finding.severity in ("error", "warning") for finding in found):
        return found
    skipped = [finding for finding in found if finding.severity == "skipped"]
    if skipped and len(skipped) == len(found):
        return found
    return [*found, Finding(check.name, "ok", check.well)]
