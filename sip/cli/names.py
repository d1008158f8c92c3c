"""Shell completion of the names of trunks and rules, asked of the live server; silent when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import typer

from sip.errors import SipError

if TYPE_CHECKING:
    from sip.api.wire import ApiKind

PATIENCE = 1.5
"""Seconds that a shell waits for names, at most."""


def names_of(kind: ApiKind) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """A completion for what names a trunk or rule: `typer.Argument(autocompletion=names_of("rule"))`."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        given = {name: str(ctx.params.get(name) or "") for name in ("url", "api_key", "api_secret", "stack")}
        try:
            found = asyncio.run(asyncio.wait_for(_names(kind, given), PATIENCE))
        except (SipError, TimeoutError):
            return []
        return [(name, text) for name, text in found if name.startswith(incomplete)]

    return complete


async def _names(kind: ApiKind, given: dict[str, str]) -> list[tuple[str, str]]:
    """Names with ids as their help; the id itself where there is no name, or where a name stands twice."""
    from sip.api.connect import find
    from sip.api.live import Live

    target = find(given["url"], given["api_key"], given["api_secret"], given["stack"])
    async with Live(target) as live:
        items: list[Any] = await live.list(cast("Any", kind))
    names = [item.name for item in items]
    return sorted(
        (item.name, item.id) if item.name and names.count(item.name) == 1 else (item.id, item.name)
        for item in items
    )
