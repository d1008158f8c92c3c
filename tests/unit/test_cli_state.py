"""`sip plan`, `sip apply` and `sip import` as commands: what they print, ask and write; exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sip import cli
from sip.api import live
from sip.api.connect import Target
from sip.cli import save
from sip.errors import ApiError
from sip.model import InboundTrunk, OutboundTrunk, Rule, State
from tests.unit.plan_kit import FakeServer

FILE = """
inbound:
  carrier:
    numbers: ["+15550100"]
    allowed_addresses: [203.0.113.0/24]
    auth_username: alice
    auth_password: ${CARRIER_PASSWORD}
rules:
  reception: {trunks: [carrier], agent: phone-agent}
"""
_build = cli.build


@cache
def tree() -> Any:
    """The command tree, built once."""
    return get_command(_build())


class Sip:
    """The command, in this process, against a server in memory."""

    def __init__(
        self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], directory: Path
    ) -> None:
        self.server = FakeServer(State())
        self.directory, self._patch, self._capsys = directory, patch, capsys
        server = self.server

        class Fake:
            create, update, delete = server.create, server.update, server.delete

            def __init__(self, target: Target) -> None:
                self.target = target

            async def __aenter__(self) -> Any:
                return self

            async def __aexit__(self, *_: object) -> None:
                return None

            async def fetch(self) -> State:
                return server.state

        patch.setattr(live, "Live", Fake)
        patch.setattr(cli, "build", tree)
        patch.chdir(directory)
        for name, value in {"URL": "ws://127.0.0.1:9", "API_KEY": "k", "API_SECRET": "s"}.items():
            patch.setenv(f"LIVEKIT_{name}", value)
        patch.delenv("CARRIER_PASSWORD", raising=False)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._patch.setattr("sys.argv", ["sip", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def write(self, text: str) -> None:
        """The file that is read by default."""
        (self.directory / "trunks.yaml").write_text(text)


@pytest.fixture
def sip(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Sip:
    """A command, an empty directory and an empty server."""
    return Sip(monkeypatch, capsys, tmp_path)


def test_apply_asks_and_a_second_one_writes_nothing(sip: Sip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal --yes is demanded; the plan shows no secret."""
    sip.write(FILE)
    monkeypatch.setenv("CARRIER_PASSWORD", "hunter2")
    code, out, err = sip("apply")
    assert code == 2 and "--yes" in err and sip.server.writes == 0
    code, out, err = sip("apply", "--yes")
    assert code == 0 and "2 created, 0 updated, 0 deleted" in out
    assert "auth_password" in out and "(set)" in out and "hunter2" not in out + err
    writes = sip.server.writes
    code, out, _ = sip("apply", "--yes", "--json")
    assert code == 0 and json.loads(out)["changes"] == [] and sip.server.writes == writes
    monkeypatch.delenv("CARRIER_PASSWORD")
    code, out, err = sip("plan")
    assert (code, out[:13]) == (0, "nothing to do")
    assert "trunks.yaml:7:20: warning: auth_password: CARRIER_PASSWORD is not set" in err


def test_a_server_that_shows_no_passwords_is_told_of(sip: Sip, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be compared is no change, until it is asked for."""
    monkeypatch.setenv("CARRIER_PASSWORD", "hunter2")
    sip.write(FILE)
    assert sip("apply", "--yes")[0] == 0
    [trunk] = sip.server.state.inbound
    sip.server.items[trunk.id] = replace(trunk, auth_password="")
    assert "1 to update" in sip("plan")[1]
    monkeypatch.setenv("LIVEKIT_URL", "wss://project.livekit.cloud")
    code, out, err = sip("plan")
    assert (code, out[:13]) == (0, "nothing to do") and "--write-secrets" in err
    assert "1 updated" in sip("apply", "--yes", "--write-secrets")[1]
    assert sip.server.state.inbound == (trunk,)


def test_plan_tells_changes_by_its_exit_code_only_when_asked(sip: Sip) -> None:
    """0 with changes, 1 with --check; in JSON as in text."""
    sip.write(FILE.replace("    auth_username: alice\n    auth_password: ${CARRIER_PASSWORD}\n", ""))
    assert sip("plan")[0] == 0
    assert sip("plan", "--check")[0] == 1
    code, out, _ = sip("plan", "--json", "--check")
    assert code == 1
    body = json.loads(out)
    assert [change["name"] for change in body["changes"]] == ["carrier", "reception"]
    assert body["changes"][1]["fields"][2] == {"field": "trunks", "old": None, "new": ["carrier"]}
    assert sip.server.writes == 0


def test_a_new_trunk_whose_password_is_not_set_is_refused(sip: Sip) -> None:
    """With the line of the reference."""
    sip.write(FILE)
    code, _, err = sip("plan")
    assert code == 2
    assert "trunks.yaml:7:20: inbound.carrier.auth_password: the variable CARRIER_PASSWORD is not set" in err


def test_unknown_names_to_allow_are_wrong_use(sip: Sip) -> None:
    """The known ones are listed."""
    sip.write(FILE)
    code, _, err = sip("plan", "--allow", "everything")
    assert code == 2 and "open-trunk" in err


def test_a_refused_plan_in_json_says_that_nothing_was_done(sip: Sip) -> None:
    """Machines see what is refused and what was left."""
    sip.write('inbound:\n  open: {numbers: ["+15550100"]}\n')
    code, out, err = sip("apply", "--yes", "--json")
    body = json.loads(out)
    assert code == 1 and "nothing was written" in err and sip.server.writes == 0
    assert [(each["name"], each["refused"]) for each in body["findings"]] == [("open-trunk", True)]
    assert (body["done"], len(body["not_done"])) == ([], 1)
    assert sip("apply", "--yes", "--allow", "open-trunk")[0] == 0


def test_an_apply_that_fails_half_way_in_json(sip: Sip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, and both lists."""
    monkeypatch.setenv("CARRIER_PASSWORD", "x")
    sip.write(FILE)
    sip.server.fails_at = 1
    code, out, err = sip("apply", "--yes", "--json")
    body = json.loads(out)
    assert code == 1 and "step 2 of 2 failed" in err
    assert (body["done"], body["not_done"]) == (
        [{"step": "create inbound trunk carrier", "id": "ST_new1_0"}],
        ["create rule reception"],
    )


def test_what_is_live_and_odd_is_not_refused_until_it_changes(sip: Sip) -> None:
    """An import of values that no file would be allowed to write; then a change of one of them."""
    odd = InboundTrunk(id="ST_1", name="odd", numbers=("*",), auth_username="only")
    sip.server.items = {"ST_1": odd, "SDR_1": Rule(id="SDR_1", name="r", kind="direct", trunks=("ST_1",))}
    assert sip("import")[0] == 0
    assert sip("plan")[:2] == (0, "nothing to do: 2 trunks and rules are as they should be\n")
    file = sip.directory / "trunks.yaml"
    file.write_text(file.read_text().replace("only", "other"))
    code, _, err = sip("plan")
    assert (
        code == 2
        and "inbound.odd.auth_password" in err
        and "rules.r" not in err.replace("warning: rules.r", "")
    )


def test_import_keeps_files_and_secrets_safe(sip: Sip) -> None:
    """No file is overwritten unasked, no secret is printed, `.env` is its owner's and is added to."""
    trunk = InboundTrunk(
        id="ST_1", name="carrier", numbers=("+1",), auth_username="a", auth_password="hunter2"
    )
    other = OutboundTrunk(id="ST_2", name="out", address="x", numbers=("*",), auth_password="hunter3")
    sip.server.items = {"ST_1": trunk, "ST_2": other}
    (sip.directory / ".env").write_text("CARRIER_PASSWORD=hunter2")
    code, out, err = sip("import", "live.yaml", "--env-file", ".env", "--json")
    assert code == 0, err
    assert json.loads(out)["variables"] == ["CARRIER_PASSWORD", "OUT_PASSWORD"]
    assert "hunter" not in out + err + (sip.directory / "live.yaml").read_text()
    assert (sip.directory / ".env").read_text() == "CARRIER_PASSWORD=hunter2\nOUT_PASSWORD='hunter3'\n"
    assert sip("plan", "live.yaml")[:2] == (0, "nothing to do: 2 trunks and rules are as they should be\n")
    code, _, err = sip("import", "live.yaml")
    assert code == 2 and "--force" in err
    assert sip("import", "live.yaml", "--force")[0] == 0
    assert sip("import", "no/such/live.yaml")[0] == 2
    code, out, _ = sip("import", "-")
    assert code == 0 and "carrier:" in out and "hunter" not in out


def test_an_imported_empty_server_plans_nothing(sip: Sip) -> None:
    """The file says that nothing is wanted, which is not the same as an empty file."""
    assert sip("import")[0] == 0
    assert sip("plan")[:2] == (0, "nothing to do: 0 trunks and rules are as they should be\n")


def test_a_variable_of_another_value_in_a_dotenv_is_not_overwritten(tmp_path: Path) -> None:
    """The other value may be somebody's."""
    file = tmp_path / ".env"
    file.write_text("A=1\n")
    with pytest.raises(Exception, match="A is not written: it is set to another value"):
        save.add_secrets(file, {"A": "2"})
    assert file.read_text() == "A=1\n"


def test_a_system_that_changes_while_the_user_thinks_is_looked_at_again(
    sip: Sip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is applied is what was shown, or nothing."""
    monkeypatch.setenv("CARRIER_PASSWORD", "x")
    sip.write(FILE)

    def confirm(*_: object, **__: object) -> bool:
        taken = InboundTrunk(id="ST_9", name="carrier", numbers=("+15550100",))
        sip.server.items = {"ST_9": replace(taken, allowed_addresses=("203.0.113.9",))}
        return True

    monkeypatch.setattr("sip.cli.output.confirm", confirm)
    code, _, err = sip("apply")
    assert code == 1 and "changed since the plan was shown" in err and sip.server.writes == 0


def test_registrations_are_said_to_be_no_part_of_the_api(sip: Sip) -> None:
    """They are checked, and not pretended to be applied."""
    sip.write('registrations:\n  desk: {registrar: pbx.example.com, username: "1001"}\n')
    code, out, err = sip("apply", "--yes")
    assert code == 0 and out.startswith("nothing to do")
    assert "no part of LiveKit's API" in err and "desk" in err


def test_a_faulty_file_is_told_even_when_no_server_answers(sip: Sip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mending the file comes first; a sound file gets the server's error."""

    async def fetch(_: object) -> State:
        raise ApiError("cannot reach LiveKit", "refused", "Start it", code="unreachable")

    monkeypatch.setattr(live.Live, "fetch", fetch)
    sip.write('inbound:\n  a: {numbers: ["*"], allowed_addresses: [203.0.113.1]}\n')
    code, _, err = sip("plan")
    assert code == 2 and "trunks.yaml:2:" in err
    sip.write('inbound:\n  a: {numbers: ["+15550100"], allowed_addresses: [203.0.113.1]}\n')
    code, _, err = sip("plan")
    assert code == 1 and "cannot reach LiveKit" in err
