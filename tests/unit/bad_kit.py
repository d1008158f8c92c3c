"""Runs `sip plan` on a file, in this process, against a server that holds nothing."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from typer.main import get_command

from sip import cli
from sip.api import live
from sip.api.connect import Target
from sip.model import State

_ENVIRONMENT = {
    "LIVEKIT_URL": "ws://127.0.0.1:9",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "secret",
    "NO_COLOR": "1",
}


_build = cli.build


@cache
def _tree() -> Any:
    """The command tree, built once."""
    return get_command(_build())


class Empty:
    """A server without any trunk or rule."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def __aenter__(self) -> Empty:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def fetch(self) -> State:
        """Nothing."""
        return State()


def run(file: Path, *options: str) -> tuple[int, list[tuple[int, str]], str]:
    """Exit code, `(line, message)` of each error or refusal in the file, and all that was printed."""
    printed = io.StringIO()
    code = 0
    with (
        patch.object(live, "Live", Empty),
        patch.object(cli, "build", _tree),
        patch.dict("os.environ", _ENVIRONMENT),
        patch("sys.argv", ["sip", "plan", str(file), *options]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
    text = printed.getvalue()
    pattern = re.compile(rf"\s*(?:refused: )?{re.escape(str(file))}(?::(\d+))?(?::\d+)?: (?!warning)(.*)")
    matches = [match for line in text.splitlines() if (match := pattern.fullmatch(line))]
    return code, [(int(match[1] or 0), match[2]) for match in matches], text
