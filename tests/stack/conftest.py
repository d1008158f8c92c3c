"""One real stack for all stack tests, and what they need to start others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.processes import Supervisor
from lab.stack import Options, background
from lab.stack.events import silent
from lab.stack.livekit_server import find
from sip.local import LocalStack


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State files of the tests' stacks stand apart from those of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(home))
        patch.delenv("REDIS_URL", raising=False)
        yield home


@pytest.fixture(scope="session")
def livekit_server() -> Path:
    """livekit-server, built before a test's own time starts to count."""

    async def get() -> Path:
        async with Supervisor() as supervisor:
            return await find(supervisor, silent)

    return asyncio.run(get())


@pytest.fixture(scope="session")
def stack(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The whole stack, worker and speech servers included, shared by all tests of a session."""
    options = Options(name=f"test-{os.getpid()}", directory=tmp_path_factory.mktemp("stack"))
    with background(options) as local:
        yield local
