"""The media processes: started, watched, replaced, drained. The edge alone knows how many there are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

from sip.errors import ServiceError
from sip.service.control import Channel, Drain, Load, Message, Ready

logger = logging.getLogger(__name__)

START_TIMEOUT = 30.0
RESTART_DELAYS = (0.0, 1.0, 5.0)
"""Seconds before a process that ended is replaced; the last repeats while replacements end, too."""
HANDLE_LIMIT = 900
"""baresip's table of handles holds 1,019 and frees none for good: a process is replaced before it is full."""
GRACE = 3.0
CONTROL_LINE = 1_048_576
"""Bytes of the longest control message."""

Answer = Callable[[str], None]
_KEEP = ("API_SECRET", "API_KEY", "REDIS_URL")
"""Endings of settings that a media process must not see: it gets a token for each call."""


class Process(Protocol):
    """What runs at the other end of the channel."""

    pid: int

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...

    def send_signal(self, signal: int, /) -> None:
        """Raises `ProcessLookupError` when it has ended."""
        ...


Launch = Callable[[socket.socket], Awaitable[Process]]


class MediaProcess:
    """One media process and its channel."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self.process, self._channel = process, channel
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.calls: set[str] = set()
        """Keys of the calls that it carries."""
        self.load = Load(0, 0, 0.0)
        self.retiring = False
        """Whether it gets no new calls."""

    @property
    def sip_port(self) -> int:
        """Of its near leg, on 127.0.0.1."""
        return self.ready.result().sip_port

    def send(self, message: Message) -> None:
        """Tell it something."""
        self._channel.send(message)

    async def request(self, message: Message, timeout: float = 10.0) -> None:
        """Tell it something and wait until it is done; errors as `Channel.request` raises them."""
        await self._channel.request(message, timeout)

    def retire(self) -> None:
        """Let it finish its calls and go. Twice is safe."""
        if not self.retiring:
            self.retiring = True
            self.send(Drain())


async def launch_media(end: socket.socket) -> Process:
    """Start `python -m sip.service.media.process` on its end of the socket pair, without our secrets."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith(_KEEP)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sip.service.media.process",
        "--fd",
        str(end.fileno()),
        "--log-level",
        logging.getLevelName(logging.getLogger().getEffectiveLevel()),
        pass_fds=(end.fileno(),),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        # The ready line is the only line on our standard output.
        stdout=sys.stderr.fileno(),
    )


class MediaPool:
    """`size` media processes. `on_message` gets what they say, `on_death` each one that ended."""

    def __init__(
        self,
        size: int,
        on_message: Callable[[MediaProcess, Message, Answer], None],
        on_death: Callable[[MediaProcess], None],
        launch: Launch = launch_media,
    ) -> None:
        self._size, self._on_message, self._on_death, self._launch = size, on_message, on_death, launch
        self.processes: list[MediaProcess] = []
        self._watchers: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Start all; returns when all are ready. Raises `ServiceError`."""
        await asyncio.gather(*(self._start_one() for _ in range(self._size)))

    def pick(self) -> MediaProcess | None:
        """The process with the fewest calls; None when none can take one."""
        free = [
            each
            for each in self.processes
            if not each.retiring and each.ready.done() and not each.ready.cancelled()
        ]
        return min(free, key=lambda each: len(each.calls), default=None)

    async def stop(self) -> None:
        """Drain, terminate, kill; returns when all are gone. Stopping twice is safe."""
        self._stopping = True
        for each in self.processes:
            each.retire()
        watchers = list(self._watchers)
        if not watchers:
            return
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            for each in self.processes:
                if number:
                    with contextlib.suppress(ProcessLookupError):
                        each.process.send_signal(number)
            _, waiting = await asyncio.wait(watchers, timeout=GRACE)
            if not waiting:
                return

    async def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await self._launch(theirs)
        reader, writer = await asyncio.open_connection(sock=ours, limit=CONTROL_LINE)
        media: MediaProcess

        def on_message(message: Message, answer: Answer) -> None:
            self._hear(media, message, answer)

        channel = Channel(reader, writer, on_message)
        media = MediaProcess(process, channel)
        self.processes.append(media)
        watcher = asyncio.create_task(self._watch(media, channel))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await asyncio.shield(media.ready)
        except (TimeoutError, ConnectionError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            raise ServiceError(
                "a media process did not start", str(error), "Its log above says why."
            ) from error

    def _hear(self, media: MediaProcess, message: Message, answer: Answer) -> None:
        if isinstance(message, Ready):
            if not media.ready.done():
                media.ready.set_result(message)
        elif isinstance(message, Load):
            media.load = message
            if message.handles >= HANDLE_LIMIT and not media.retiring and not self._stopping:
                logger.info(
                    "replacing a media process", extra={"pid": media.process.pid, "handles": message.handles}
                )
                self._spawn_replacement(media.retire)
        else:
            self._on_message(media, message, answer)

    async def _watch(self, media: MediaProcess, channel: Channel) -> None:
        """From the first message to the exit code; then a replacement, unless it was meant to go."""
        try:
            await channel.run()
        except ValueError as error:
            logger.error("a media process speaks nonsense", extra={"error": str(error)})
            media.process.send_signal(signal.SIGKILL)
        code = await media.process.wait()
        self.processes.remove(media)
        if not media.ready.done():
            media.ready.set_exception(ConnectionError(f"it ended with code {code}"))
            media.ready.exception()
            return
        expected = media.retiring and not media.calls
        if not expected:
            extra = {"pid": media.process.pid, "code": code, "calls": len(media.calls)}
            logger.error("a media process died", extra=extra)
        self._on_death(media)
        if not media.retiring and not self._stopping:
            self._spawn_replacement(None)

    def _spawn_replacement(self, then: Callable[[], None] | None) -> None:
        task = asyncio.create_task(self._replace(then))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _replace(self, then: Callable[[], None] | None) -> None:
        for attempt in range(1_000):
            await asyncio.sleep(RESTART_DELAYS[min(attempt, len(RESTART_DELAYS) - 1)])
            if self._stopping:
                return
            try:
                await self._start_one()
            except (ServiceError, OSError) as error:
                logger.error("cannot replace a media process", extra={"error": str(error)})
            else:
                if then:
                    then()
                return
