"""All extensions that the service registers: sends their requests over the far side, at the right times."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sip import registered
from sip.errors import ConfigurationError
from sip.model import Registration
from sip.registered import Registered
from sip.service.registrations.link import Link
from sip.service.registrations.registration import Extension, Outcome
from sip.service.signalling.peer import Peer
from sip.wanted import desired

logger = logging.getLogger(__name__)

FAREWELL = 2.0
"""Seconds for taking all registrations back at the end; a PBX that is gone must not hold up the stop."""
KEEP_ALIVE = {"udp": 25.0, "tcp": 60.0}
"""Seconds between keep-alives: NATs forget a UDP flow after 30 s; RFC 5626 4.4.1 wants less than 120 s."""


def wanted(file: Path) -> list[Registration]:
    """The registrations of a file. Raises `ConfigurationError` for what cannot be registered."""
    found = desired.read(file)
    for fault in found.warnings:
        logger.warning("registrations: %s", fault)
    problems = [
        f"{found.place(kind, name, field) or file}: {field}: {variable} is not set"
        for (kind, name, field), variable in found.unset.items()
        if kind == "registration"
    ]
    for each in found.state.registrations:
        if each.transport == "tls":
            place = found.place("registration", each.name, "transport") or file
            problems.append(
                f"{place}: registrations.{each.name}.transport: TLS is not served, use udp or tcp"
            )
    if problems:
        raise ConfigurationError("the extensions cannot be registered", "; ".join(problems))
    if not found.state.registrations:
        logger.warning("the file holds no registrations", extra={"file": str(file)})
    return list(found.state.registrations)


class Registrations:
    """`start` registers and keeps registering, `stop` takes everything back."""

    def __init__(
        self,
        wanted: Sequence[Registration],
        link: Link,
        sip_address: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._link, self._sip_address, self._sleep, self._now = link, sip_address, sleep, now
        self._extensions = [Extension(each) for each in wanted]
        self.states = {each.name: Registered(each.name, since=now()) for each in wanted}
        self._peers: dict[Extension, Peer] = {}
        """Addresses of the registrars, as last looked up."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin; what comes of it is logged and stands in `states`."""
        if self._extensions:
            self._save()
        for extension in self._extensions:
            task = asyncio.get_running_loop().create_task(self._keep(extension))
            self._tasks.add(task)
            task.add_done_callback(partial(self._done, extension.wanted))

    async def stop(self) -> None:
        """Take back what is registered; at most `FAREWELL` seconds. Stopping twice is safe."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leaving, self._extensions = self._extensions, []
        if not leaving:
            return
        held = [each for each in leaving if self._held(self.states[each.wanted.name])]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await asyncio.gather(*(self._ask(each, leave=True) for each in held))
        with contextlib.suppress(OSError):
            registered.remove(self._sip_address)

    async def _keep(self, extension: Extension) -> None:
        while True:
            outcome = await self._ask(extension)
            self._tell(extension.wanted, outcome)
            await self._rest(extension, outcome)

    async def _ask(self, extension: Extension, *, leave: bool = False) -> Outcome:
        """One attempt, with all the requests that it takes."""
        extension.begin()
        try:
            peer = self._peers[extension] = await self._link.find(extension.peer)
        except OSError as error:
            return extension.unreachable(f"the registrar's name has no address: {error.strerror or error}")
        while True:
            request = extension.request(self._link.contact(peer, extension.user), leave=leave)
            if outcome := extension.answered(await self._link.ask(request, peer)):
                return outcome

    async def _rest(self, extension: Extension, outcome: Outcome) -> None:
        """Wait for the next attempt; less when the connection breaks, for calls come that way, too."""
        left = outcome.wait
        alive = outcome.status == "registered" and (extension.peer.reliable or outcome.behind_nat)
        pause = KEEP_ALIVE[extension.peer.transport]
        while alive and left > pause:
            await self._sleep(pause)
            left -= pause
            if not self._link.keep_alive(self._peers[extension]):
                return
        await self._sleep(left)

    def _tell(self, wanted: Registration, outcome: Outcome) -> None:
        """Log what changed, and let `sip doctor` see it."""
        before, now = self.states[wanted.name], self._now()
        news = (before.status, before.code, before.reason) != (outcome.status, outcome.code, outcome.reason)
        self.states[wanted.name] = replace(
            before,
            status=outcome.status,
            code=outcome.code,
            reason=outcome.reason,
            mend=outcome.mend,
            since=now if before.status != outcome.status else before.since,
            until=now + outcome.granted if outcome.granted else before.until,
            behind_nat=outcome.behind_nat,
        )
        self._save()
        extra: dict[str, object] = {"registration": wanted.name, "again_in": round(outcome.wait)}
        if not news:
            logger.debug("registration is unchanged: %s", outcome.status, extra=extra)
        elif outcome.status == "registered":
            logger.info("registered", extra=extra)
            if outcome.behind_nat:
                logger.warning("the registrar sees another address: set SIP_ADVERTISE", extra=extra)
        else:
            extra |= {"code": outcome.code, "why": outcome.reason, "mend": outcome.mend}
            level = logging.ERROR if outcome.status == "refused" else logging.WARNING
            logger.log(level, f"registration {outcome.status}", extra=extra)

    def _held(self, state: Registered) -> bool:
        """Whether the registrar may have the extension; the answer to the first request may be under way."""
        return state.until > self._now() or state.status == "trying"

    def _save(self) -> None:
        try:
            registered.save(self._sip_address, list(self.states.values()))
        except OSError as error:
            # `sip doctor` will say that it cannot see them; calls do not depend on it.
            logger.warning("the state of the registrations cannot be written", extra={"error": str(error)})

    def _done(self, wanted: Registration, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("internal error", exc_info=error)
            self._tell(wanted, Outcome("lost", 0, reason="an internal error", mend="Restart `sip serve`"))
