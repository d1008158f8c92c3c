"""Settings of the worker: one frozen value, read once from the environment and `.env`.

Names and defaults stand in `.env.example`. Every problem of a reading is in one `SettingsError`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.errors import PersonaError, SettingsError
from agent.persona import Persona, read_persona

DEEPGRAM_URL = "https://api.deepgram.com/v1/listen"
OPENAI_URL = "https://api.openai.com/v1"
CARTESIA_URL = "https://api.cartesia.ai"
LIVEKIT_NAMES = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")

_Schemes = Literal["http", "ws"]


def _url(schemes: _Schemes, value: str) -> str:
    allowed = {"http": ("http", "https"), "ws": ("ws", "wss", "http", "https")}[schemes]
    parts = urlsplit(value)
    if value and (parts.scheme not in allowed or not parts.hostname):
        raise ValueError(
            f"{value!r} is no address; it starts with {'://, '.join(allowed)}:// and names a host"
        )
    return value.rstrip("/")


def _http_url(value: str) -> str:
    return _url("http", value)


def _ws_url(value: str) -> str:
    return _url("ws", value)


HttpUrl = Annotated[str, AfterValidator(_http_url)]
WsUrl = Annotated[str, AfterValidator(_ws_url)]


class Environment(BaseSettings):
    """What the environment says, name by name; empty strings count as not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=True)

    LIVEKIT_URL: WsUrl = ""
    LIVEKIT_API_KEY: str = ""
    LIVEKIT_API_SECRET: SecretStr = SecretStr("")

    AGENT_NAME: str = "phone-agent"
    AGENT_PERSONA: Path = Path("agent/personas/receptionist.md")
    AGENT_HTTP_HOST: str = "127.0.0.1"
    AGENT_HTTP_PORT: int | None = Field(default=None, ge=0, le=65535)
    AGENT_IDLE_PROCESSES: int | None = Field(default=None, ge=1, le=64)
    AGENT_MAX_CALLS: int | None = Field(default=None, ge=1)
    CALL_RECORDS_DIR: Path | None = None

    DEEPGRAM_API_KEY: SecretStr = SecretStr("")
    DEEPGRAM_BASE_URL: HttpUrl = DEEPGRAM_URL
    DEEPGRAM_MODEL: str = "nova-3"
    OPENAI_API_KEY: SecretStr = SecretStr("")
    OPENAI_BASE_URL: HttpUrl = OPENAI_URL
    OPENAI_MODEL: str = "gpt-4.1-mini"
    CARTESIA_API_KEY: SecretStr = SecretStr("")
    CARTESIA_BASE_URL: HttpUrl = CARTESIA_URL
    CARTESIA_MODEL: str = "sonic-3"

    FALLBACK_DEEPGRAM_BASE_URL: HttpUrl = ""
    FALLBACK_DEEPGRAM_API_KEY: SecretStr = SecretStr("")
    FALLBACK_OPENAI_BASE_URL: HttpUrl = ""
    FALLBACK_OPENAI_API_KEY: SecretStr = SecretStr("")
    FALLBACK_OPENAI_MODEL: str = ""
    FALLBACK_CARTESIA_BASE_URL: HttpUrl = ""
    FALLBACK_CARTESIA_API_KEY: SecretStr = SecretStr("")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `read_settings` hands in: it merges `.env` and the environment itself."""
        return (init_settings,)


@dataclass(frozen=True)
class Provider:
    """One speech or language service. `key` is never empty: a local server gets a placeholder."""

    base_url: str
    key: SecretStr
    model: str


@dataclass(frozen=True)
class Settings:
    """Everything that a worker needs to know before its first call."""

    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: SecretStr
    agent_name: str
    persona: Persona
    http_host: str
    http_port: int | None
    """None: the framework's choice, 8081 in production and any free port in development."""
    idle_processes: int | None
    """Warm processes that wait for a call; None: one in development, one per core in production."""
    max_calls: int | None
    """Calls at once that this worker takes; None: eight per core."""
    records_dir: Path | None
    stt: tuple[Provider, ...]
    """Tried in this order; so are the next two."""
    llm: tuple[Provider, ...]
    tts: tuple[Provider, ...]


def read_settings(environ: Mapping[str, str] | None = None, *, need_livekit: bool = True) -> Settings:
    """Read and check everything; the console needs no LiveKit server.

    Raises `SettingsError` with every problem found.
    """
    values = read_environment() if environ is None else dict(environ)
    values = {name: value for name, value in values.items() if value.strip()}
    try:
        env = Environment(**{n: v for n, v in values.items() if n in Environment.model_fields})  # pyright: ignore[reportArgumentType] # strings: pydantic converts them
    except ValidationError as error:
        problems = [f"{e['loc'][0]}: {_plain(e['msg'])}" for e in error.errors()]
        good = {e["loc"][0] for e in error.errors()}
        rest = {n: v for n, v in values.items() if n in Environment.model_fields and n not in good}
        problems += _check(Environment(**rest), need_livekit)[0]  # pyright: ignore[reportArgumentType] # see above
        raise SettingsError(problems) from None
    problems, persona = _check(env, need_livekit)
    if problems or persona is None:
        raise SettingsError(problems)
    return Settings(
        livekit_url=env.LIVEKIT_URL,
        livekit_api_key=env.LIVEKIT_API_KEY,
        livekit_api_secret=env.LIVEKIT_API_SECRET,
        agent_name=env.AGENT_NAME,
        persona=persona,
        http_host=env.AGENT_HTTP_HOST,
        http_port=env.AGENT_HTTP_PORT,
        idle_processes=env.AGENT_IDLE_PROCESSES,
        max_calls=env.AGENT_MAX_CALLS,
        records_dir=env.CALL_RECORDS_DIR,
        stt=_providers(
            Provider(env.DEEPGRAM_BASE_URL, env.DEEPGRAM_API_KEY, env.DEEPGRAM_MODEL),
            Provider(env.FALLBACK_DEEPGRAM_BASE_URL, env.FALLBACK_DEEPGRAM_API_KEY, env.DEEPGRAM_MODEL),
        ),
        llm=_providers(
            Provider(env.OPENAI_BASE_URL, env.OPENAI_API_KEY, env.OPENAI_MODEL),
            Provider(
                env.FALLBACK_OPENAI_BASE_URL,
                env.FALLBACK_OPENAI_API_KEY,
                env.FALLBACK_OPENAI_MODEL or env.OPENAI_MODEL,
            ),
        ),
        tts=_providers(
            Provider(env.CARTESIA_BASE_URL, env.CARTESIA_API_KEY, env.CARTESIA_MODEL),
            Provider(env.FALLBACK_CARTESIA_BASE_URL, env.FALLBACK_CARTESIA_API_KEY, env.CARTESIA_MODEL),
        ),
    )


def read_environment() -> dict[str, str]:
    """`.env` of the working directory under the environment, as python-dotenv users expect."""
    file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return file | {name: value for name, value in os.environ.items() if value or name not in file}


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _check(env: Environment, need_livekit: bool) -> tuple[list[str], Persona | None]:
    problems: list[str] = []
    if need_livekit:
        livekit = (env.LIVEKIT_URL, env.LIVEKIT_API_KEY, env.LIVEKIT_API_SECRET.get_secret_value())
        problems += [
            f"{name} is not set" for name, value in zip(LIVEKIT_NAMES, livekit, strict=True) if not value
        ]
    for name, key, base_url, own in (
        ("DEEPGRAM", env.DEEPGRAM_API_KEY, env.DEEPGRAM_BASE_URL, DEEPGRAM_URL),
        ("OPENAI", env.OPENAI_API_KEY, env.OPENAI_BASE_URL, OPENAI_URL),
        ("CARTESIA", env.CARTESIA_API_KEY, env.CARTESIA_BASE_URL, CARTESIA_URL),
    ):
        if base_url == own and not key.get_secret_value():
            problems.append(
                f"{name}_API_KEY is not set (or point {name}_BASE_URL at a server that needs none)"
            )
    if not env.AGENT_NAME.strip():
        problems.append("AGENT_NAME is empty; a dispatch rule names the agent by it")
    persona = None
    try:
        # A worker that was started elsewhere still finds the personas of its own project.
        ours = Path(__file__).resolve().parents[1] / env.AGENT_PERSONA
        persona = read_persona(env.AGENT_PERSONA if env.AGENT_PERSONA.exists() else ours)
    except PersonaError as error:
        problems.append(f"AGENT_PERSONA: {error}")
    return problems, persona


def _providers(first: Provider, second: Provider) -> tuple[Provider, ...]:
    """The second inherits the first's key, so that a mirror needs an address only."""
    key = first.key if first.key.get_secret_value() else SecretStr("none")
    first = Provider(first.base_url, key, first.model)
    if not second.base_url:
        return (first,)
    key = second.key if second.key.get_secret_value() else first.key
    return (first, Provider(second.base_url, key, second.model))
