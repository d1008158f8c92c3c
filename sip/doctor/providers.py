"""Speech and language providers: are their keys set, and taken? One cheap request each, nothing is billed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from sip.doctor.context import CannotRun, Context
from sip.finding import Finding

LIMIT = 6.0
"""Seconds for one answer."""


@dataclass(frozen=True)
class Provider:
    """How a provider is asked who we are. A `path` that begins with `/` replaces that of the base URL."""

    name: str
    does: str
    base: str
    path: str
    header: str
    scheme: str = ""
    more: tuple[tuple[str, str], ...] = ()

    def url(self, base: str) -> str:
        """The address of the request."""
        if self.path.startswith("/"):
            parts = urlsplit(base)
            return f"{parts.scheme}://{parts.netloc}{self.path}"
        return f"{base.rstrip('/')}/{self.path}"


PROVIDERS = (
    Provider(
        "DEEPGRAM", "hears", "https://api.deepgram.com/v1/listen", "/v1/projects", "Authorization", "Token "
    ),
    Provider("OPENAI", "thinks", "https://api.openai.com/v1", "models", "Authorization", "Bearer "),
    Provider(
        "CARTESIA", "speaks", "https://api.cartesia.ai", "voices/?limit=1", "X-API-Key",
        more=(("Cartesia-Version", "2025-04-16"),),
    ),
)  # fmt: skip


async def keys(context: Context) -> Sequence[Finding]:
    """Each provider that the worker uses. With the local speech servers, those."""
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        if context.stack and context.stack.speech_url:
            return await _local(session, context.stack.speech_url)
        if not any(context.settings.get(f"{each.name}_API_KEY") for each in PROVIDERS) and not any(
            context.settings.get(f"{each.name}_BASE_URL") for each in PROVIDERS
        ):
            raise CannotRun(
                "no provider is set here; the machine that runs the worker needs DEEPGRAM_API_KEY,"
                " OPENAI_API_KEY and CARTESIA_API_KEY"
            )
        found = await asyncio.gather(*(_ask(session, each, context.settings) for each in PROVIDERS))
    return [finding for finding in found if finding]


async def _ask(
    session: aiohttp.ClientSession, provider: Provider, settings: Mapping[str, str]
) -> Finding | None:
    variable = f"{provider.name}_API_KEY"
    key, base = settings.get(variable, ""), settings.get(f"{provider.name}_BASE_URL") or provider.base
    own = urlsplit(base).hostname == urlsplit(provider.base).hostname
    if not key and own:
        return Finding(
            "provider-key-missing",
            "error",
            f"{variable} is not set: a worker started here does not start, for nothing {provider.does}.",
            f"Set {variable} in .env, or point {provider.name}_BASE_URL at a server of your own",
            variable,
        )
    headers = {provider.header: f"{provider.scheme}{key}", **dict(provider.more)}
    try:
        async with session.get(provider.url(base), headers=headers, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Finding(
            "provider-unreachable",
            "error",
            f"{urlsplit(base).hostname or base} does not answer ({type(error).__name__}): nothing"
            f" {provider.does}.",
            f"Check the network, a proxy, and {provider.name}_BASE_URL",
            variable,
        )
    host = urlsplit(base).hostname
    if status in (401, 403):
        text = f"{host} refuses the key in {variable} ({status}): nothing {provider.does}."
        return Finding("provider-key-refused", "error", text, f"Make a new key, and set {variable}", variable)
    if status == 402 or status == 429:
        text = f"{host} says {status}: no credit is left, or too much is asked of it."
        return Finding("provider-limit", "warning", text, "Look at the account's limits", variable)
    if status >= 500:
        text = f"{host} has trouble of its own ({status})."
        return Finding("provider-failing", "warning", text, "Look at its status page", variable)
    if own and status != 200:
        text = f"{host} answered {status}, which is not understood here."
        return Finding("provider-answer", "info", text, "", variable)
    return None


async def _local(session: aiohttp.ClientSession, url: str) -> list[Finding]:
    try:
        async with session.get(f"{url}/health") as answer:
            if answer.status == 200:
                return []
            why = f"it says {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = type(error).__name__
    text = f"The local speech servers at {url} do not answer ({why}): the agent neither hears nor speaks."
    return [Finding("speech-servers-silent", "error", text, "sip stack status; sip stack logs speech", url)]
