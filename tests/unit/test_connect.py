"""Which server a command talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sip import local
from sip.api import connect
from sip.api.connect import KEY, SECRET, URL, Target
from sip.errors import ConfigurationError, StackNotFound

ENVIRONMENT = {URL: "wss://env.example", KEY: "ekey", SECRET: "esecret"}


@pytest.fixture(autouse=True)
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[local.LocalStack]:
    """The stacks that run; none at first."""
    running: list[local.LocalStack] = []
    monkeypatch.setattr(local, "running", lambda: running)
    return running


def stack(name: str, url: str) -> local.LocalStack:
    """A stack under an address."""
    return local.LocalStack(name, 1, "", url, f"key-{name}", "secret", "", "", "", "agent", ())


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    """Each value comes from the first place that sets it; an empty one is not set."""
    (tmp_path / ".env").write_text(f"{URL}=ws://file.example\n{KEY}=fkey\n{SECRET}=fsecret\n")
    found = connect.find(environment={}, directory=tmp_path)
    assert found == Target("ws://file.example", "fkey", "fsecret", ".env")
    found = connect.find(environment=ENVIRONMENT | {KEY: ""}, directory=tmp_path)
    assert found == Target("wss://env.example", "fkey", "esecret", "environment")
    found = connect.find("http://flag.example:7880/", environment=ENVIRONMENT, directory=tmp_path)
    assert found == Target("http://flag.example:7880", "ekey", "esecret", "flags")


def test_the_running_stack_comes_last(tmp_path: Path, stacks: list[local.LocalStack]) -> None:
    """Without settings the only stack is meant; two have to be told apart; a name wins over settings."""
    stacks.append(stack("one", "ws://127.0.0.1:1000"))
    assert connect.find(environment={}, directory=tmp_path).key == "key-one"
    assert connect.find(environment=ENVIRONMENT, directory=tmp_path).key == "ekey"
    assert connect.find(stack="one", environment=ENVIRONMENT, directory=tmp_path).origin == "local stack one"
    stacks.append(stack("two", "ws://127.0.0.1:2000"))
    with pytest.raises(StackNotFound, match="--stack"):
        connect.find(environment={}, directory=tmp_path)
    assert connect.find("ws://127.0.0.1:2000", environment={}, directory=tmp_path).key == "key-two"


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({}, "sip stack up"),
        ({KEY: "k", SECRET: "s"}, "LIVEKIT_URL is not set"),
        ({URL: "wss://x.example", KEY: "k"}, "LIVEKIT_API_SECRET is not set"),
        (ENVIRONMENT | {URL: "x.example:7880"}, "wss://"),
        (ENVIRONMENT | {URL: "ws://x.example:99999"}, "port"),
        (ENVIRONMENT | {URL: "wss://"}, "no host"),
    ],
)
def test_what_is_missing_is_said(environment: dict[str, str], text: str, tmp_path: Path) -> None:
    """The error names the setting and how to give it."""
    with pytest.raises(ConfigurationError, match=text):
        connect.find(environment=environment, directory=tmp_path)


def test_a_secret_is_not_in_a_target() -> None:
    """A target that is printed by accident keeps its secret."""
    target = Target("ws://localhost:7880", "key", "do-not-print", "flags")
    assert "do-not-print" not in repr(target)
    assert target.loopback and not target.cloud
    assert Target("wss://my-project.livekit.cloud", "k", "s", "flags").cloud
