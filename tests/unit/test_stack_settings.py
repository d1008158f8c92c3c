"""A stack's options, livekit-server's configuration, settings of the parts, and lines for people."""

from __future__ import annotations

import functools
import io
import json
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.stack import Options, livekit_config, parts
from lab.stack.events import Event
from lab.stack.logs import show
from lab.stack.ports import check_free, free_port
from lab.stack.show import Printer, next_steps
from sip.errors import ConfigurationError, ServiceError, StackNotFound
from sip.local import LocalStack, NameLock, load, running

SECRET = "s" * 40


def stack(name: str = "local", **more: Any) -> LocalStack:
    """A state file's content."""
    facts: dict[str, Any] = {
        "name": name,
        "pid": 1,
        "directory": "/stack",
        "livekit_url": "ws://127.0.0.1:7880",
        "api_key": "key",
        "api_secret": SECRET,
        "redis_url": "redis://127.0.0.1:6379",
        "sip_address": "127.0.0.1:5060",
        "speech_url": "http://127.0.0.1:9000",
        "agent_name": "phone-agent",
        "numbers": ("+15550100",),
    }
    return LocalStack(**facts | more)


def local(template: dict[str, Any], redis_url: str = "redis://127.0.0.1:6379") -> dict[str, Any]:
    """The template as the stack runs it."""
    return livekit_config.local(
        template, port=7000, udp_port=7001, redis_url=redis_url, api_key="key", api_secret=SECRET
    )


def test_the_projects_configuration_becomes_loopback_only() -> None:
    """From livekit.yaml the stack keeps what self-hosters chose, but for what would reach other machines."""
    template = livekit_config.load()
    config = local(template)
    assert config["port"] == 7000
    assert config["bind_addresses"] == ["127.0.0.1"]
    assert config["keys"] == {"key": SECRET}
    assert config["rtc"]["udp_port"] == 7001
    assert config["rtc"]["tcp_port"] == 0
    assert config["rtc"]["node_ip"] == "127.0.0.1"
    assert config["rtc"]["interfaces"] == {"includes": ["lo", "lo0"]}
    assert config["room"] == template["room"]
    assert template["port"] == 7880


def test_what_a_self_hoster_added_does_not_leave_the_machine() -> None:
    """Metrics, debugging, TURN, webhooks, STUN and port ranges of a real server stay out of the local one."""
    config = local(
        {
            "prometheus": {"port": 6789},
            "debug_handler": {"port": 7070},
            "turn": {"enabled": True},
            "webhook": {"urls": ["https://example.com"]},
            "rtc": {
                "stun_servers": ["stun.example.com:3478"],
                "port_range_start": 50000,
                "use_external_ip": True,
            },
        }
    )
    assert set(config) == {"port", "bind_addresses", "keys", "redis", "rtc"}
    assert "stun_servers" not in config["rtc"]
    assert "port_range_start" not in config["rtc"]
    assert config["rtc"]["use_external_ip"] is False


@pytest.mark.parametrize(
    ("url", "redis"),
    [
        ("redis://localhost", {"address": "localhost:6379"}),
        ("redis://:p%40ss@10.0.0.1:7/2", {"address": "10.0.0.1:7", "password": "p@ss", "db": 2}),
        (
            "rediss://user:word@redis.example.com",
            {
                "address": "redis.example.com:6379",
                "username": "user",
                "password": "word",
                "tls": {"enabled": True},
            },
        ),
    ],
)
def test_a_stores_url_becomes_livekit_servers_settings(url: str, redis: dict[str, Any]) -> None:
    """REDIS_URL carries address, user, password, database and TLS."""
    assert local({}, url)["redis"] == redis


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "redis://", "redis://h/zero", "redis://h:99999"]
)
def test_a_stores_url_that_cannot_work(url: str) -> None:
    """The error says what REDIS_URL must look like."""
    with pytest.raises(ConfigurationError, match="REDIS_URL must read"):
        local({}, url)
    with pytest.raises(ConfigurationError, match="REDIS_URL must read"):
        Options(redis_url=url)


def test_the_configuration_is_written_for_its_owner_only(tmp_path: Path) -> None:
    """The file holds the API secret: an old one that others could read is replaced, not filled."""
    path = tmp_path / "livekit.yaml"
    path.write_text("old")
    path.chmod(0o644)
    livekit_config.write(local({}), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["keys"] == {"key": SECRET}


def test_options_tell_all_problems_at_once() -> None:
    """A bad name, port, secret and a missing number are in one error."""
    with pytest.raises(ConfigurationError) as caught:
        Options(name="../x", sip_port=-1, api_secret="short", numbers=())
    for word in ("'../x'", "SIP port -1", "no number", "32 characters"):
        assert word in str(caught.value)


def test_the_secret_is_not_shown() -> None:
    """Options can be printed in a log or a failing test without giving the API secret away."""
    assert SECRET not in repr(Options(api_secret=SECRET))


def test_the_local_stack_never_tries_a_real_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, fallbacks and proxies of the user's do not reach the worker beside local speech servers."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("FALLBACK_OPENAI_BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    settings = functools.partial(
        parts.environment, livekit_url="ws://l", redis_url="redis://r", records=Path("/r")
    )
    env = settings(Options(api_secret=SECRET), speech_url="http://127.0.0.1:9")
    assert env["OPENAI_API_KEY"] == "local"
    assert env["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert env["DEEPGRAM_BASE_URL"] == "http://127.0.0.1:9/v1/listen"
    assert env["CARTESIA_BASE_URL"] == "http://127.0.0.1:9"
    assert {value for name, value in env.items() if name.startswith("FALLBACK_")} == {""}
    assert "HTTPS_PROXY" not in env
    real = settings(Options(speech=False), speech_url="")
    assert real["OPENAI_API_KEY"] == "sk-real"
    assert real["HTTPS_PROXY"] == "http://proxy:3128"


def test_settings_of_the_caller_win() -> None:
    """What a test or a bench sets reaches the parts as it is."""
    options = Options(environment={"AGENT_PERSONA": "/p.md", "SIP_DRAIN_TIMEOUT": "9"})
    env = parts.environment(options, livekit_url="", redis_url="", speech_url="", records=Path("/r"))
    assert (env["AGENT_PERSONA"], env["SIP_DRAIN_TIMEOUT"]) == ("/p.md", "9")


def test_a_free_port_is_free_and_a_taken_one_is_named() -> None:
    """A port is taken when somebody holds it for TCP or, where it matters, for UDP."""
    check_free(free_port(), "--sip-port", udp=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        check_free(port, "--livekit-port")
        with pytest.raises(ServiceError, match=rf"port {port} is taken: another program holds UDP"):
            check_free(port, "--sip-port", udp=True)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


WORK = [Event("livekit-server", "working", f"{n} packages", n) for n in (1.0, 2.0, 16.0, 17.0, 31.5)]


def test_progress_in_a_log_is_a_few_lines() -> None:
    """Where a line cannot be overwritten, work under way is told every 15 seconds."""
    stream = io.StringIO()
    printer = Printer(stream)
    for event in [*WORK, Event("livekit-server", "ready", "127.0.0.1:7880", 40.0)]:
        printer(event)
    assert stream.getvalue().splitlines() == [
        "livekit-server  16.0 packages",
        "livekit-server  31.5 packages",
        "livekit-server  ready    127.0.0.1:7880          40.0 s",
    ]


def test_progress_on_a_terminal_is_one_line() -> None:
    """On a terminal every figure overwrites the one before, and what follows begins on a clean line."""
    stream = Terminal()
    printer = Printer(stream)
    for event in [*WORK, Event("livekit-server", "ready", "127.0.0.1:7880", 40.0)]:
        printer(event)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.count("\r\x1b[K") == len(WORK)
    assert text.endswith("\r\x1b[Klivekit-server  ready    127.0.0.1:7880          40.0 s\n")


def test_next_steps_say_what_to_dial_and_how_to_stop() -> None:
    """A named stack's commands carry its name; a stack without a worker says how to run one's own."""
    text = next_steps(stack("two"), detached=True)
    assert "sip:+15550100@127.0.0.1:5060" in text
    assert "./run sip stack down --name two" in text
    assert "python agent.py dev" in text
    assert "Ctrl-C" in next_steps(stack(parts={"agent": {"pid": 1}}), detached=False)
    assert SECRET not in text


def test_logs_of_several_parts_are_told_apart(tmp_path: Path) -> None:
    """Lines carry their part's name when there are several logs; following ends with the stack."""
    logs = {"sip": tmp_path / "sip.log", "agent": tmp_path / "agent.log"}
    logs["sip"].write_text("one\ntwo\nthree\n")
    logs["agent"].write_text("alpha\n")
    assert list(show({"sip": logs["sip"]}, 2, follow=False, alive=lambda: True)) == ["two", "three"]

    def dies_after_a_last_word() -> bool:
        with logs["agent"].open("a") as file:
            file.write("omega\n")
        return False

    lines = list(show(logs, 1, follow=True, alive=dies_after_a_last_word))
    assert lines == ["sip   | three", "agent | alpha", "agent | omega"]


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


HOLDER = """
import os, sys
from sip.local import NameLock
NameLock(sys.argv[1]).acquire()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_stack_is_alive_while_its_supervisor_holds_its_name(state_home: Path) -> None:
    """A killed supervisor's state file is not taken for a running stack, not even when its pid is reused."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        one = stack("one", pid=int(holder.stdout.readline()))
        one.save()
        assert load() == one
        with pytest.raises(ServiceError, match="a local stack named 'one' runs already"):
            NameLock("one").acquire()
        holder.kill()
    assert running() == []
    with pytest.raises(StackNotFound, match="no local stack named 'one' runs"):
        load("one")
    reused = stack("one", pid=1)
    reused.save()
    assert not reused.alive()


def test_which_stack_is_meant(state_home: Path) -> None:
    """Without a name the only running stack is meant; two need a name; a broken file is no stack."""
    locks = [NameLock("one"), NameLock("two")]
    for lock in locks:
        lock.acquire()
        stack(lock.name).save()
    (state_home / "livekit-phone-agent" / "broken.json").write_text(json.dumps({"name": "broken"}))
    assert [each.name for each in running()] == ["one", "two"]
    assert load("two").name == "two"
    with pytest.raises(StackNotFound, match="several local stacks run: one, two"):
        load()
    locks[0].release()
    assert load().name == "two"
    locks[1].release()
    locks[1].release()
    with pytest.raises(StackNotFound, match="no local stack runs"):
        load()


def test_a_name_is_held_by_one_however_often_it_changes_hands(state_home: Path) -> None:
    """Letting go removes the lock's file, and still no two hold a name at the same time."""
    held: list[int] = []
    most: list[int] = []

    def take_turns() -> None:
        taken = 0
        while taken < 20:
            lock = NameLock("one")
            try:
                lock.acquire()
            except ServiceError:
                continue
            held.append(1)
            most.append(len(held))
            held.pop()
            lock.release()
            taken += 1

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1
    assert list((state_home / "livekit-phone-agent").iterdir()) == []
