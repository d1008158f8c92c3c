"""Options that many commands share, and how their help shows examples.

def command(url: Url = "", api_key: ApiKey = "", api_secret: ApiSecret = "", stack: Stack = "",
            as_json: Json = False) -> None:
    target = find(url, api_key, api_secret, stack)  # sip.api.connect
"""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help="LiveKit server (LIVEKIT_URL; the local stack that runs).",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str, typer.Option("--api-key", metavar="KEY", help="Its API key (LIVEKIT_API_KEY).", show_default=False)
]
ApiSecret = Annotated[
    str,
    typer.Option(
        "--api-secret", metavar="SECRET", help="The key's secret (LIVEKIT_API_SECRET).", show_default=False
    ),
]
Stack = Annotated[
    str,
    typer.Option(
        "--stack",
        metavar="NAME",
        help="A running local stack, whatever the environment says.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def examples(*lines: str) -> str:
    """The last part of a command's help, for `app.command(epilog=examples("sip …", …))`."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
