"""The worker: takes calls from LiveKit and runs each from its answer to its end. The only wiring."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import math
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from livekit import api
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, JobRequest, cli
from livekit.agents.ipc.job_executor import JobExecutor, JobStatus
from livekit.agents.utils.hw import get_cpu_monitor
from livekit.agents.worker import ServerEnvOption

from agent import pipeline
from agent.call import Call, wait_until_answered
from agent.errors import SettingsError
from agent.failsafe import Failsafe, play_beside
from agent.greeting import Greeting
from agent.hangup import before_room_goes, delete_room, ending, follow_caller, hangup
from agent.persona import briefed
from agent.record import Record
from agent.settings import LIVEKIT_NAMES, Settings, read_environment, read_settings
from agent.sounds import recording
from agent.tools import make_tools
from agent.turns import turn_options

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT = 1800
"""Seconds that running calls get to end after TERM."""
CALLER_TIMEOUT = 60
"""Seconds that an agent waits in a room for a caller: then nobody will come, and its place is free again."""
CALLS_PER_CORE = 8
PRELOAD = ["agent.worker", "anyio._backends._asyncio"]
"""Imported once and shared by all worker processes; the second is otherwise loaded in a call."""


def prewarm(process: JobProcess) -> None:
    """Once in each worker process, before it waits for its call: what is heavy and the same for each."""
    settings = read_settings(need_livekit=False)
    greeting = Greeting(settings.persona.greeting)
    greeting.prepare(functools.partial(pipeline.synthesise, settings))
    process.userdata["settings"] = settings
    process.userdata["vad"] = pipeline.load_vad(turn_options())
    process.userdata["greeting"] = greeting


async def answer(ctx: JobContext) -> None:
    """One call, from dispatch to hang-up."""
    settings: Settings = ctx.proc.userdata["settings"]
    record = Record(settings.records_dir)
    ctx.log_context_fields = Call.of(ctx.job.room.name).log_fields
    before_room_goes(ctx, record.close)
    try:
        await _talk(ctx, settings, record)
    except Exception as error:
        if ending(ctx):  # the caller was quicker than we
            return
        logger.exception("call failed")
        record.write("system", "failure", f"{type(error).__name__}: {error}", what="call")
        await play_beside(ctx.room, recording("goodbye"))
        await hangup(ctx=ctx, by="system", reason="internal error")


async def _talk(ctx: JobContext, settings: Settings, record: Record) -> None:
    greeting: Greeting = ctx.proc.userdata["greeting"]
    connecting = asyncio.create_task(ctx.connect())
    await asyncio.sleep(0)  # let it begin: the room is joined while the session is made
    session = pipeline.make_session(settings, ctx.proc.userdata["vad"], turn_options())
    fallback = settings.persona.fallback
    failsafe = Failsafe(
        session,
        ctx=ctx,
        fallback=fallback.uri if fallback else "",
        on_failure=lambda what, why: record.write("system", "failure", why, what=what),
    )
    record.attach(session)
    failsafe.start(answered=False)
    follow_caller(session, ctx)
    instructions = briefed(settings.persona.instructions, ctx.job.metadata)
    agent = Agent(instructions=instructions, tools=make_tools(settings.persona, ctx))
    # The session publishes its track as soon as somebody is in the room: that is what a SIP service answers
    # on. Without a session host: nobody in a call drives the session from afar, and its events would go to
    # the caller.
    await session.start(agent, room=ctx.room, room_options=pipeline.room_options(), session_host=False)
    await connecting
    call = await _caller(ctx, session, record)
    if call is None:
        return
    record.answered()
    failsafe.answered()
    logger.info("call answered")
    if not failsafe.failed:
        greeting.say(session)


async def _caller(ctx: JobContext, session: AgentSession[Any], record: Record) -> Call | None:
    """The call, once the far end can hear us; None when it ended before."""
    if ctx.is_fake_job():
        call = Call.of(ctx.job.room.name)
        record.open(call, ctx.job.id)
        ctx.add_shutdown_callback(_leave_console)
        return call
    try:
        async with asyncio.timeout(CALLER_TIMEOUT):
            participant = await ctx.wait_for_participant()
    except TimeoutError:
        logger.warning("no caller came")
        await hangup(session, ctx=ctx, by="system", reason="no caller came")
        return None
    except RuntimeError:
        if ctx.room.isconnected():
            raise
        # The room has gone with a caller who did not wait for us.
        await hangup(session, ctx=ctx, by="caller", reason="gone before the agent came")
        return None
    call = Call.of(ctx.room.name, participant.identity, participant.attributes)
    ctx.log_context_fields = call.log_fields
    record.open(call, call.call_id_full or f"{call.room}-{ctx.job.id}")
    if await wait_until_answered(ctx.room, participant):
        return call
    await hangup(session, ctx=ctx, by="caller", reason="ended before it was answered")
    return None


async def _leave_console() -> None:
    """The console's prompt would go on without a call behind it."""
    main = threading.main_thread().ident
    if main is not None:  # to this thread: it waits for a key, and a signal to another would not wake it
        signal.pthread_kill(main, signal.SIGINT)


class PhoneServer(AgentServer):
    """An `AgentServer` that does not start with bad settings, takes calls by their number, and says by its
    exit code when it failed."""

    max_calls = 16
    _arriving = 0

    async def run(self, *, devmode: bool = False, unregistered: bool = False) -> None:
        """Check all settings, then run. Exits 2 for settings that cannot work, 1 for what fails later."""
        flags = dict(zip(LIVEKIT_NAMES, (self._ws_url, self._api_key, self._api_secret), strict=True))
        environ = {**read_environment(), **{name: value for name, value in flags.items() if value}}
        check_settings(environ, need_livekit=not unregistered)
        if not unregistered:
            await _check_keys(*flags.values())
        try:
            await super().run(devmode=devmode, unregistered=unregistered)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                _exit(
                    1,
                    "the worker's HTTP port is taken. Set AGENT_HTTP_PORT to another one (0: any free port)",
                )
            _exit(1, f"the worker failed: {error}")
        except Exception as error:
            logger.exception("worker failed")
            _exit(1, f"the worker failed: {error}")

    async def _update_job_status(self, proc: JobExecutor) -> None:
        """Tell the server how a job is. One whose process died has left its caller alone: that call ends."""
        await super()._update_job_status(proc)
        job = proc.running_job
        if job is None or job.fake_job or proc.status is not JobStatus.FAILED:
            return
        logger.error("a call's process died", extra={"room": job.job.room.name, "job_id": job.job.id})
        async with api.LiveKitAPI(self._ws_url, self._api_key, self._api_secret) as livekit:
            if not await delete_room(livekit, job.job.room.name):
                logger.error("its room could not be deleted", extra={"room": job.job.room.name})

    async def take(self, request: JobRequest) -> None:
        """Take the call unless there are too many. The processor's load says little here: other programs
        make it, too, and a call that is refused rings until its caller gives up."""
        if len(self.active_jobs) + self._arriving >= self.max_calls:
            logger.warning("call refused: %s at once", self.max_calls, extra={"room": request.room.name})
            await request.reject(terminate=False)
            return
        self._arriving += 1
        try:
            await request.accept()
        finally:
            self._arriving -= 1


def build_server() -> PhoneServer:
    """The server with our settings; bad ones are reported when it runs."""
    environ = read_environment()
    settings: Settings | None = None
    with contextlib.suppress(SettingsError):
        settings = read_settings(environ, need_livekit=False)
    port = settings.http_port if settings else None
    idle = settings.idle_processes if settings else None
    cores = math.ceil(get_cpu_monitor().cpu_count())
    options: dict[str, Any] = {}
    if not environ.get("LIVEKIT_WORKER_TOKEN"):  # on LiveKit Cloud the platform's own hold
        options = {"load_threshold": math.inf, "load_fnc": load}  # `take` decides
    server = PhoneServer(
        ws_url=environ.get("LIVEKIT_URL"),
        api_key=environ.get("LIVEKIT_API_KEY"),
        api_secret=environ.get("LIVEKIT_API_SECRET"),
        host=settings.http_host if settings else "127.0.0.1",
        port=ServerEnvOption(dev_default=0, prod_default=8081) if port is None else port,
        # Without a warm process the first caller waits for Python to start.
        num_idle_processes=idle or ServerEnvOption(dev_default=1, prod_default=max(2, min(cores, 4))),
        setup_fnc=prewarm,
        drain_timeout=DRAIN_TIMEOUT,
        preload_modules=PRELOAD,
        **options,
    )
    server.max_calls = (settings.max_calls if settings else None) or CALLS_PER_CORE * cores
    server.rtc_session(
        answer, agent_name=settings.agent_name if settings else "phone-agent", on_request=server.take
    )
    return server


def load(server: AgentServer) -> float:
    """What the worker reports, 0 to 1: how many of its calls are taken.

    livekit-server asks no worker that reports 0.7 or more (its `target_load`), so the framework's own
    figure, the processor's average, would leave callers ringing whenever something else keeps the machine
    busy.
    """
    calls, most = len(server.active_jobs), cast(PhoneServer, server).max_calls
    return 1.0 if calls >= most else 0.6 * calls / most


def check_settings(environ: Mapping[str, str], *, need_livekit: bool) -> None:
    """Exit 2 with all problems in one message if these settings cannot work."""
    try:
        read_settings(environ, need_livekit=need_livekit)
    except SettingsError as error:
        _exit(2, str(error))


def main(server: AgentServer) -> None:
    """The command line of the framework: `dev`, `start`, `console`, …"""
    if "console" in sys.argv[1:2]:  # it runs the server in a thread, where an exit would go unnoticed
        check_settings(read_environment(), need_livekit=False)
    warnings.filterwarnings("ignore", message="the built-in Python CLI is deprecated")
    cli.run_app(server)


async def _check_keys(url: str, key: str, secret: str) -> None:
    """Exit 1 when the server refuses these keys; a server that is not there yet is waited for by the
    framework."""
    async with api.LiveKitAPI(url, key, secret) as livekit:
        try:
            async with asyncio.timeout(5):
                await livekit.room.list_rooms(api.ListRoomsRequest(names=["-"]))
        except api.TwirpError as error:
            if error.status == 401:
                _exit(
                    1, f"{url} refuses LIVEKIT_API_KEY and LIVEKIT_API_SECRET. Take the pair of that server"
                )
        except (OSError, TimeoutError) as error:
            logger.warning("LiveKit does not answer yet", extra={"url": url, "why": repr(error)})


def _exit(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"agent: {message}\n")
    with contextlib.suppress(RuntimeError):  # outside a loop there is nothing to silence
        # The exit leaves the loop through a task that nobody asks afterwards; asyncio would log its
        # traceback.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    raise SystemExit(code)
