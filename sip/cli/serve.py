"""`sip serve`: the embedded LiveKit SIP service."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from dotenv import load_dotenv

LogLevel = Literal["debug", "info", "warning", "error"]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address of this machine for SIP and audio (SIP_HOST, 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="UDP and TCP port; 0: any free one (SIP_PORT, 5060).")
    ] = None,
    rtp_ports: Annotated[
        str | None,
        typer.Option(
            help="UDP ports for audio on --host, unless that is 127.0.0.1 (SIP_RTP_PORTS, 10000-20000)."
        ),
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="The store of livekit-server (REDIS_URL).")] = None,
    livekit_url: Annotated[str | None, typer.Option(help="livekit-server (LIVEKIT_URL).")] = None,
    media_processes: Annotated[
        int | None, typer.Option(help="Processes that carry audio (SIP_MEDIA_PROCESSES, 1).")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="Calls at once; more get 503 (SIP_MAX_CALLS, 100).")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Directory of call records (CALL_RECORDS_DIR, none).")
    ] = None,
    registrations: Annotated[
        Path | None,
        typer.Option(help="File whose registrations: are extensions to register (SIP_REGISTRATIONS, none)."),
    ] = None,
    drain_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds for calls to end by themselves at the stop (SIP_DRAIN_TIMEOUT, 30)."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much is logged.", case_sensitive=False)] = "info",
) -> None:
    """Serve SIP calls for a livekit-server: trunks and dispatch rules into rooms, and calls out of them.

    The key comes from LIVEKIT_API_KEY and LIVEKIT_API_SECRET (environment or .env) alone. Prints one
    line, `READY {…}`, once calls are taken; logs go to standard error. SIGTERM or Ctrl-C lets calls end
    first, a second one does not.
    """
    from sip.service import logs, main, settings

    load_dotenv(Path.cwd() / ".env")
    wanted = settings.read(
        os.environ,
        {
            "host": host,
            "port": port,
            "rtp_ports": rtp_ports,
            "redis_url": redis_url,
            "livekit_url": livekit_url,
            "media_processes": media_processes,
            "max_calls": max_calls,
            "records": records,
            "registrations": registrations,
            "drain_timeout": drain_timeout,
        },
    )
    logs.start(log_level.upper())
    asyncio.run(main.run(wanted, announce=lambda line: print(line, flush=True)))
