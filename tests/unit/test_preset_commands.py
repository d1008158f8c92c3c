"""The commands `sip preset list`, `show` and `use`, as a shell runs them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from sip.cli import build
from sip.errors import ConfigurationError
from sip.local import LocalStack, NameLock
from sip.presets import FACTS, load, names

TWILIO = ("preset", "use", "twilio", "--target", "cloud", "--set", "trunk=my-trunk", "--set", "project=p1")
NUMBER = ("--set", "numbers=+15105550100")
KAMAILIO = (
    *("preset", "use", "kamailio", "--target", "local", "--set", "kamailio_host=127.0.0.1"),
    *("--set", "pbx_address=127.0.0.2", "--set", "numbers=700"),
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, with no LiveKit known and no stack running."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("LIVEKIT_URL", "AGENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    """One command, whose errors pass through."""
    return CliRunner().invoke(build(), list(arguments), catch_exceptions=True)


def refused(*arguments: str) -> ConfigurationError:
    """The error of a command that must fail with one; `sip` exits with 2 then."""
    error = run(*arguments).exception
    assert isinstance(error, ConfigurationError), error
    return error


def test_list_says_what_was_run() -> None:
    """Every preset has a line; only those that a real peer has run say so."""
    lines = run("preset", "list").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(names())
    run_ones = {line.split()[0] for line in lines if "run: " in line}
    assert run_ones == {"asterisk", "kamailio"}
    assert all(("not run" in line) != (line.split()[0] in run_ones) for line in lines)
    assert [each["name"] for each in json.loads(run("preset", "list", "--json").stdout)] == list(names())


@pytest.mark.parametrize("name", names())
def test_show_tells_sources_dates_and_doubts(name: str) -> None:
    """Each fact with its page and date; what is unverified is marked as such, and nothing else is."""
    preset = load(name)
    shown = run("preset", "show", name).stdout
    doubts = [fact for fact in (*preset.facts.values(), *preset.quirks) if not fact.verified]
    assert shown.count("[unverified]") == len(doubts)
    for fact in preset.facts.values():
        assert all((source.url or source.title) in shown for source in fact.sources)
    assert ("not run" in shown) == any(proof.state != "run" for proof in preset.proofs.values())
    data = json.loads(run("preset", "show", name, "--json").stdout)
    assert set(data["facts"]) == set(FACTS)
    assert all({"value", "verified", "read_on", "sources"} <= set(fact) for fact in data["facts"].values())


def test_use_prints_the_entry_and_the_steps() -> None:
    """Without --write nothing is written: the entry and the console's steps go to standard output."""
    result = run(*TWILIO, *NUMBER)
    assert result.exit_code == 0, result.stderr
    entry, _, steps = result.stdout.partition("# On the side of Twilio (real peer: not run)")
    outbound = yaml.safe_load(entry)["outbound"]["twilio"]
    assert outbound["address"] == "my-trunk.pstn.twilio.com"
    assert outbound["auth_password"] == "${TWILIO_PASSWORD}"
    assert "sip:p1.sip.livekit.cloud;transport=tcp" in steps
    assert "warning: not run" in result.stderr and "TWILIO_PASSWORD" in result.stderr
    assert not list(Path().iterdir())
    alone = run(*TWILIO, *NUMBER, "--entry").stdout
    assert alone.strip() == entry.strip()


def test_use_as_json() -> None:
    """A machine gets the entry, the steps with their files, the doubts and the proof."""
    data = json.loads(run(*KAMAILIO, "--json").stdout)
    assert data["entry"]["inbound"]["kamailio"]["numbers"] == ["700"]
    assert {step["file"] for step in data["steps"]} == {"", "kamailio.cfg", "dispatcher.list"}
    assert (data["proof"]["state"], data["written"]) == ("run", [])


def test_write_adds_once(nowhere: Path) -> None:
    """The entry goes behind what is there; again it changes nothing; another one of its name is refused."""
    file = nowhere / "trunks.yaml"
    file.write_text("# ours\ninbound:\n  desk: {numbers: ['+15550100'], allowed_addresses: [127.0.0.1]}\n")
    file.chmod(0o640)
    assert run(*TWILIO, *NUMBER, "--write", "trunks.yaml").exit_code == 0
    once = file.read_text()
    assert once.startswith("# ours\ninbound:\n  desk: {numbers")
    assert set(yaml.safe_load(once)["inbound"]) == {"desk", "twilio"}
    again = run(*TWILIO, *NUMBER, "--write", "trunks.yaml")
    assert "nothing to do" in again.stderr and file.read_text() == once
    error = refused(*TWILIO, "--set", "numbers=+15105550199", "--write", "trunks.yaml")
    assert "another inbound.twilio" in error.what and "--set name=NAME" in error.mend
    assert file.read_text() == once and file.stat().st_mode & 0o777 == 0o640
    other = run(*TWILIO, "--set", "numbers=+15105550199", "--set", "name=second", "--write", "trunks.yaml")
    assert other.exit_code == 0 and "second" in yaml.safe_load(file.read_text())["rules"]


def test_out_writes_files_and_overwrites_none(nowhere: Path) -> None:
    """The far end's files land in the folder; a file with another text stays, and nothing else is written."""
    assert run(*KAMAILIO, "--out", "etc").exit_code == 0
    assert (nowhere / "etc/dispatcher.list").read_text().splitlines()[1:] == [
        "1 sip:127.0.0.1 0 0",
        "2 sip:127.0.0.2 0 0",
    ]
    assert run(*KAMAILIO, "--out", "etc").exit_code == 0
    (nowhere / "etc/kamailio.cfg").write_text("mine")
    (nowhere / "etc/dispatcher.list").unlink()
    assert "would be overwritten" in refused(*KAMAILIO, "--out", "etc").what
    assert [path.name for path in (nowhere / "etc").iterdir()] == ["kamailio.cfg"]


def test_where_the_livekit_side_is_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """LIVEKIT_URL tells LiveKit Cloud from a server of one's own; without it Cloud is meant."""
    for url, target in (("wss://p.livekit.cloud", "cloud"), ("ws://10.0.0.1:7880", "self-hosted")):
        monkeypatch.setenv("LIVEKIT_URL", url)
        assert f"--target {target} " in refused("preset", "use", "twilio").mend
    monkeypatch.delenv("LIVEKIT_URL")
    assert "--target cloud " in refused("preset", "use", "twilio").mend


def test_a_stack_that_runs_here_is_meant_where_nothing_is_said(nowhere: Path) -> None:
    """The other side dials the running stack's address; a carrier, it is said, cannot reach it."""
    name = NameLock("here")
    name.acquire()
    stack = LocalStack("here", os.getpid(), str(nowhere), "ws://127.0.0.1:1", "key", "secret", "redis://x",
                       "127.0.0.1:40506", "", "phone-agent", ())  # fmt: skip
    stack.save()
    try:
        result = run(*TWILIO[:3], "--set", "trunk=t", *NUMBER)
        assert result.exit_code == 0, result.exception
        assert "sip:127.0.0.1:40506;transport=tcp" in result.stdout
        assert "no carrier reaches it" in result.stderr
    finally:
        stack.remove()
        name.release()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("preset", "show", "nobody"), "there is no preset 'nobody'"),
        (("preset", "use", "twilio"), "missing: trunk ("),
        ((*TWILIO, "--set", "numbers"), "is no KEY=VALUE"),
        ((*TWILIO, *NUMBER, "--mode", "extension"), "It knows trunk"),
        ((*TWILIO[:3], "--target", "moon"), "cloud, self-hosted or local"),
        ((*TWILIO, *NUMBER, "--set", "password=hunter2"), "--set password_env=NAME"),
        ((*TWILIO, *NUMBER, "--write", "missing/trunks.yaml"), "cannot be written"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], reason: str) -> None:
    """Each error says what to do, and a secret that was given is not repeated."""
    error = str(refused(*arguments))
    assert reason in error and "hunter2" not in error


def test_missing_values_are_asked_for_on_a_terminal(nowhere: Path) -> None:
    """Somebody at a terminal is asked, a wrong answer is explained and asked again."""
    lead, end = pty.openpty()
    command = [sys.executable, "-m", "sip.cli", *TWILIO, "--write", "trunks.yaml"]
    with subprocess.Popen(command, stdin=end, stderr=end, stdout=subprocess.DEVNULL) as process:
        os.write(lead, b"5105550100\n+15105550100\n")
        os.close(end)
        seen = b""
        while b"sip apply" not in seen:
            seen += os.read(lead, 4096)
        assert process.wait(20) == 0
    os.close(lead)
    assert seen.count(b"Your Twilio numbers") == 2 and b"with its country code" in seen
    assert yaml.safe_load((nowhere / "trunks.yaml").read_text())["inbound"]["twilio"]["numbers"] == [
        "+15105550100"
    ]
