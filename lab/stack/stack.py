"""A local stack as an object.

`async with Stack(options) as stack:` and everything answers until the block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lab import probes
from lab.processes import Command, PartDied, Process, Supervisor
from lab.stack import livekit_config, livekit_server, parts
from lab.stack.events import Event, Listener, silent
from lab.stack.options import Options
from lab.stack.ports import HOST, check_free, free_port
from lab.stack.provision import Provisioned, provision
from sip.errors import ServiceError
from sip.local import LocalStack, NameLock

Found = TypeVar("Found")


class Stack:
    """Valkey, livekit-server, the SIP service, the speech servers and the worker, on loopback.

    When a part dies, `died` is set, everything else is stopped, and the task that entered the block is
    cancelled: leaving the block then raises `PartDied` with the last lines of that part's log.
    """

    def __init__(self, options: Options | None = None, on_event: Listener = silent) -> None:
        self.options = options or Options()
        self.directory = self.options.home.absolute()
        self.provisioned = Provisioned("", "")
        self._on_event = on_event
        self._local: LocalStack | None = None
        self._lock = NameLock(self.options.name)
        self._supervisor = Supervisor(self._on_exit)
        self._ready: dict[str, dict[str, Any]] = {}
        self._died: asyncio.Future[PartDied] | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._stopping: asyncio.Task[None] | None = None

    @property
    def local(self) -> LocalStack:
        """Addresses and keys of the running stack, as in the state file."""
        if self._local is None:
            raise ServiceError("the stack is not up")
        return self._local

    async def __aenter__(self) -> Stack:
        await self.start()
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
        await self.stop()
        if self._died is not None and self._died.done():
            died = self._died.result()
            if self._interrupted and isinstance(error, asyncio.CancelledError):
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                raise died from None
            if error is None:
                raise died

    async def start(self) -> None:
        """Return when every part answers. On any failure nothing is left running."""
        self._died = asyncio.get_running_loop().create_future()
        self._check_ports()
        self._lock.acquire()
        try:
            await self._supervisor.__aenter__()
            await self._start_parts()
        except BaseException as error:
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise _first(error) from None
            raise

    async def wait(self) -> PartDied:
        """Wait for a part to die, and return that."""
        if self._died is None:
            raise ServiceError("the stack is not up")
        return await asyncio.shield(self._died)

    async def stop(self) -> None:
        """End every part and forget the state file.

        Stopping twice is safe, and a second caller waits for the first.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="stop stack")
        await asyncio.shield(self._stopping)

    def kill(self) -> None:
        """End every part at once, without grace; `stop` still has to be called."""
        for process in self._supervisor.processes:
            process.signal(signal.SIGKILL)

    async def _stop(self) -> None:
        self._on_event(Event("stack", "stopping"))
        if self._local is not None:
            self._local.remove()
        try:
            for names in parts.STOP_ORDER:
                running = [p for p in self._supervisor.processes if p.name in names and not p.exited.done()]
                await asyncio.gather(*(process.stop() for process in running))
        finally:
            await self._supervisor.close()
            self._lock.release()
        self._on_event(Event("stack", "stopped"))

    def _check_ports(self) -> None:
        if self.options.sip_port:
            check_free(self.options.sip_port, "--sip-port", udp=True)
        if self.options.livekit_port:
            check_free(self.options.livekit_port, "--livekit-port")

    async def _start_parts(self) -> None:
        options = self.options
        shutil.rmtree(self.directory / "logs", ignore_errors=True)
        records = self.directory / "records"
        records.mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as group:
            speech = group.create_task(self._start_speech())
            redis = group.create_task(self._start_redis())
            binary = group.create_task(livekit_server.find(self._supervisor, self._on_event))
            livekit = group.create_task(self._start_livekit(binary, redis))
            service = group.create_task(self._start_service(livekit, redis, records))
            if options.agent:
                group.create_task(self._start_agent(livekit, redis, speech, records))
        self._local = LocalStack(
            name=options.name,
            pid=os.getpid(),
            directory=str(self.directory),
            livekit_url=livekit.result(),
            api_key=options.api_key,
            api_secret=options.api_secret,
            redis_url=redis.result(),
            sip_address=service.result(),
            speech_url=speech.result(),
            agent_name=options.agent_name,
            numbers=options.numbers,
            parts=self._ready,
        )
        self._local.save()
        self._on_event(Event("stack", "ready", options.name))

    async def _start_redis(self) -> str:
        if self.options.redis_url:
            url = self.options.redis_url
            try:
                if await probes.redis_ping(url):
                    return url
                why = "it answers, but not PONG"
            except (OSError, TimeoutError) as error:
                why = str(error) or f"no answer within {probes.TRY:g} s"
            raise ServiceError(
                "the store at REDIS_URL does not answer PING", why, "Start it, or unset REDIS_URL"
            )
        data = self.directory / "valkey"
        data.mkdir(parents=True, exist_ok=True)

        async def start() -> str:
            port = free_port()
            await self._launch(
                parts.VALKEY,
                parts.valkey(port, data),
                lambda: probes.redis_ping(f"redis://{HOST}:{port}"),
                address=f"{HOST}:{port}",
            )
            return f"redis://{HOST}:{port}"

        return await self._with_free_port(start)

    async def _start_livekit(self, binary: Awaitable[Path], redis: Awaitable[str]) -> str:
        options, redis_url, path = self.options, await redis, await binary
        template = livekit_config.load()

        async def start() -> str:
            port = options.livekit_port or free_port()
            config = livekit_config.local(
                template,
                port=port,
                udp_port=free_port(socket.SOCK_DGRAM),
                redis_url=redis_url,
                api_key=options.api_key,
                api_secret=options.api_secret,
            )
            file = self.directory / "livekit.yaml"
            livekit_config.write(config, file)
            await self._launch(
                parts.SERVER,
                parts.livekit_server(path, file),
                lambda: probes.http_ok(f"http://{HOST}:{port}/"),
                address=f"{HOST}:{port}",
            )
            return f"ws://{HOST}:{port}"

        url = await self._with_free_port(start)
        self.provisioned = await provision(
            url,
            options.api_key,
            options.api_secret,
            numbers=options.numbers,
            agent_name=options.agent_name,
            stack=options.name,
        )
        return url

    async def _start_service(self, livekit: Awaitable[str], redis: Awaitable[str], records: Path) -> str:
        if not self.options.service:
            return ""
        env = parts.environment(
            self.options,
            livekit_url=await livekit,
            redis_url=await redis,
            speech_url="",
            records=records,
        )
        ready = await self._launch(
            parts.SIP,
            parts.sip_service(),
            self._ready_line(parts.SIP),
            env=env,
            address=lambda found: found["sip"],
        )
        return ready["sip"]

    async def _start_speech(self) -> str:
        if not self.options.speech:
            return ""
        ready = await self._launch(
            parts.SPEECH,
            parts.speech(0, self.options.speech_arguments),
            self._ready_line(parts.SPEECH),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.options.environment},
            address=lambda found: found["url"].rpartition("//")[2],
        )
        return ready["url"]

    async def _start_agent(
        self, livekit: Awaitable[str], redis: Awaitable[str], speech: Awaitable[str], records: Path
    ) -> None:
        env = parts.environment(
            self.options,
            livekit_url=await livekit,
            redis_url=await redis,
            speech_url=await speech,
            records=records,
        )

        async def start() -> None:
            port = free_port()

            async def registered() -> bool:
                # The health endpoint answers before the worker is registered; the log says when it is, which
                # is after an idle job process is warm.
                return await probes.log_has(
                    self._log(parts.AGENT), "registered worker"
                ) and await probes.http_ok(f"http://{HOST}:{port}/")

            await self._launch(
                parts.AGENT,
                parts.agent(),
                registered,
                env=parts.agent_environment(env, port),
                address=f"{HOST}:{port}",
            )

        await self._with_free_port(start)

    async def _launch(
        self,
        name: str,
        argv: list[str],
        probe: Callable[[], Awaitable[Found]],
        *,
        address: str | Callable[[Found], str],
        env: dict[str, str] | None = None,
    ) -> Found:
        self._on_event(Event(name, "starting"))
        log = self._log(name)
        log.unlink(missing_ok=True)
        process = await self._supervisor.start(
            Command(
                name, argv, log, dict(os.environ) if env is None else env, self.directory, parts.GRACE[name]
            )
        )
        found = await process.ready(probe, parts.DEADLINES[name])
        where = address if isinstance(address, str) else address(found)
        self._ready[name] = {"pid": process.pid, "log": str(log), "address": where}
        self._on_event(Event(name, "ready", where, time.monotonic() - process.started))
        return found

    async def _with_free_port(self, start: Callable[[], Awaitable[Found]], tries: int = 3) -> Found:
        """Run `start`, again when somebody else took its free port between the choice and the use."""
        while True:
            tries -= 1
            try:
                return await start()
            except PartDied as died:
                taken = any(re.search("already in use|port is taken", line.lower()) for line in died.lines)
                if tries == 0 or not taken:
                    raise

    def _ready_line(self, name: str) -> Callable[[], Awaitable[dict[str, Any]]]:
        async def probe() -> dict[str, Any]:
            return await probes.ready_line(self._log(name)) or {}

        return probe

    def _log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def _on_exit(self, process: Process) -> None:
        if (
            process.name not in self._ready
            or self._died is None
            or self._died.done()
            or self._stopping is not None
        ):
            return  # while it starts, whoever waits for it is told
        died = PartDied(process.name, process.exited.result(), process.command.log)
        self._died.set_result(died)
        self._on_event(Event(process.name, "died", str(died)))
        if self._owner is not None:
            self._interrupted = True
            self._owner.cancel()
        self._stopping = asyncio.create_task(self._stop(), name="stop stack")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell: parts that start side by side fail together, one cause is enough."""
    error: BaseException = group
    with contextlib.suppress(IndexError):
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    return error
