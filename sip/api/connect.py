"""Which LiveKit server a command talks to, and with which key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from sip import local
from sip.errors import ConfigurationError, StackNotFound

URL, KEY, SECRET = "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"
_FLAGS = {URL: "--url", KEY: "--api-key", SECRET: "--api-secret"}


@dataclass(frozen=True)
class Target:
    """A LiveKit server and a key that it knows."""

    url: str
    """`ws`, `wss`, `http` or `https`; the API is asked over HTTP whichever it is."""
    key: str
    secret: str = field(repr=False)
    origin: str
    """Where the address came from, for messages: `flags`, `environment`, `.env`, `local stack NAME`."""

    @property
    def loopback(self) -> bool:
        """Whether this is a server of this machine."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def cloud(self) -> bool:
        """Whether this is a project of LiveKit Cloud."""
        return (urlsplit(self.url).hostname or "").endswith(".livekit.cloud")


def find(
    url: str = "",
    key: str = "",
    secret: str = "",
    stack: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Target:
    """The server that was meant: flags, then the environment, then `.env`, then the local stack that runs.

    Each of the three values comes from the first place that sets it (an empty value is not set), so that
    `--url` alone keeps the key of the environment. `stack` names a running stack and ends the search. Where
    an address but no key is known and a local stack answers under that address, its key is used.

    `environment` and `directory` (of `.env`) are those of the process unless given.
    Raises `ConfigurationError` for what is missing or no address, `StackNotFound` for a stack that does
    not run.
    """
    if stack:
        return _of(local.load(stack), url, key, secret)
    directory = directory or Path.cwd()
    layers: list[tuple[str, Mapping[str, str | None]]] = [
        ("flags", {URL: url, KEY: key, SECRET: secret}),
        ("environment", os.environ if environment is None else environment),
        (".env", dotenv_values(directory / ".env", interpolate=False)),
    ]
    values: dict[str, str] = {}
    origin = ""
    for place, layer in layers:
        for name in _FLAGS:
            value = (layer.get(name) or "").strip()
            if value and name not in values:
                values[name] = value
                origin = place if name == URL else origin
    if not values.get(URL):
        return _only_stack(values, key, secret)
    address = _checked(values[URL], origin)
    missing = [name for name in (KEY, SECRET) if name not in values]
    if missing:
        for running in local.running():
            if urlsplit(running.livekit_url).netloc == urlsplit(address).netloc:
                return _of(running, address, values.get(KEY, ""), values.get(SECRET, ""))
        raise ConfigurationError(
            f"no key for {address}",
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set",
            f"Set {'them' if len(missing) > 1 else 'it'} in the environment or in .env,"
            f" or give {' and '.join(_FLAGS[name] for name in missing)}",
        )
    return Target(address, values[KEY], values[SECRET], origin)


def _only_stack(values: Mapping[str, str], key: str, secret: str) -> Target:
    try:
        return _of(local.load(), "", key, secret)
    except StackNotFound as error:
        if error.why:  # several run
            raise StackNotFound(error.what, error.why, "Name one of them with --stack") from None
        known = " (a key is set, but no address)" if values else ""
        raise ConfigurationError(
            f"no LiveKit server is known{known}",
            f"{URL} is not set, and no local stack runs",
            f"Set {URL}, {KEY} and {SECRET} in the environment or in .env, or start a local stack:"
            " ./run sip stack up --detach",
        ) from None


def _of(stack: local.LocalStack, url: str, key: str, secret: str) -> Target:
    return Target(
        url or stack.livekit_url,
        key or stack.api_key,
        secret or stack.api_secret,
        f"local stack {stack.name}",
    )


def _checked(url: str, origin: str) -> str:
    """The address without blanks and a slash at its end. Raises `ConfigurationError` when it is none."""
    problem = ""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss", "http", "https") or "://" not in url:
            problem = "it does not begin with wss://, ws://, https:// or http://"
        elif not parts.hostname or parts.port == 0:
            problem = "it names no host"
    except ValueError:
        problem = "its port is no number from 1 to 65535"
    if problem:
        where = "--url" if origin == "flags" else f"{URL} ({origin})"
        raise ConfigurationError(
            f"{where} is no address of a LiveKit server: {url!r}",
            problem,
            "It reads wss://PROJECT.livekit.cloud, or ws://HOST:7880 for a server of your own",
        )
    return url.rstrip("/")
