"""`sip trunk` and `sip rule` against a real livekit-server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.stack import Options, background
from sip.api.connect import KEY, SECRET, URL
from sip.cli import build
from sip.errors import ConfigurationError, SipError
from sip.local import LocalStack
from tests.unit.json_kit import SHAPES

pytestmark = pytest.mark.stack

INBOUND: dict[str, Any] = {
    "name": "everything",
    "metadata": '{"owner": "me"}',
    "numbers": ["+15550100", "+15550101"],
    "allowed_addresses": ["203.0.113.0/24", "198.51.100.7"],
    "allowed_numbers": ["+15550199"],
    "auth_username": "user",
    "auth_password": "s3cret-word",
    "auth_realm": "example",
    "headers": {"X-Fixed": "one=two"},
    "headers_to_attributes": {"X-Account": "account"},
    "attributes_to_headers": {"mood": "X-Mood"},
    "include_headers": "SIP_X_HEADERS",
    "ringing_timeout": "12.500s",
    "ringing_timeout_status": "SIP_STATUS_TEMPORARILY_UNAVAILABLE",
    "max_call_duration": "3600s",
    "krisp_enabled": True,
    "media": {
        "only_listed_codecs": True,
        "codecs": [{"name": "PCMU", "rate": 8000}, {"name": "G722"}],
        "encryption": "SIP_MEDIA_ENCRYPT_ALLOW",
        "media_timeout": "20s",
    },
}
"""Every field of an inbound trunk."""
INBOUND_FLAGS = [
    "--name=everything", '--metadata={"owner": "me"}', "--number=+15550100,+15550101",
    "--allowed-address=203.0.113.0/24", "--allowed-address=198.51.100.7", "--allowed-number=+15550199",
    "--auth-username=user", "--auth-password=s3cret-word", "--auth-realm=example", "--header=X-Fixed=one=two",
    "--header-to-attribute=X-Account=account", "--attribute-to-header=mood=X-Mood", "--include-headers=x",
    "--ringing-timeout=12.5s", "--ringing-timeout-status=480", "--max-call-duration=1h", "--krisp",
    "--only-listed-codecs", "--codec=PCMU/8000,G722", "--media-encryption=allow", "--media-timeout=20",
]  # fmt: skip
OUTBOUND: dict[str, Any] = {
    "name": "everything",
    "metadata": "mine",
    "address": "sip.carrier.example:5061",
    "destination_country": "DE",
    "transport": "SIP_TRANSPORT_TLS",
    "numbers": ["+15550100"],
    "auth_username": "user",
    "auth_password": "s3cret-word",
    "headers": {"X-Fixed": "value"},
    "headers_to_attributes": {"X-Account": "account"},
    "attributes_to_headers": {"mood": "X-Mood"},
    "include_headers": "SIP_ALL_HEADERS",
    "media": {"codecs": [{"name": "PCMA"}], "encryption": "SIP_MEDIA_ENCRYPT_REQUIRE"},
    "from_host": "me.example",
}
OUTBOUND_FLAGS = [
    "--name=everything", "--metadata=mine", "--address=sip.carrier.example:5061", "--destination-country=DE",
    "--transport=tls", "--number=+15550100", "--auth-user=user", "--auth-pass=s3cret-word",
    "--header=X-Fixed=value", "--header-to-attribute=X-Account=account", "--attribute-to-header=mood=X-Mood",
    "--include-headers=all", "--codecs=PCMA", "--media-enc=require", "--from-host=me.example",
]  # fmt: skip
RULE: dict[str, Any] = {
    "name": "everything",
    "metadata": "for participants",
    "rule": {"dispatch_rule_callee": {"room_prefix": "to-", "pin": "4711", "randomize": True}},
    "numbers": ["+15550100"],
    "inbound_numbers": ["+15550199"],
    "hide_phone_number": True,
    "attributes": {"tier": "gold"},
    "room_preset": "phone",
    "room_config": {"empty_timeout": 60, "agents": [{"agent_name": "one", "metadata": "m"}]},
    "krisp_enabled": True,
    "media": {"codecs": [{"name": "PCMU"}]},
}
"""Every field of a rule but its trunks, whose ids a test does not choose."""
RULE_FLAGS = [
    "--name=everything", "--metadata=for participants", "--callee=to-", "--pin=4711", "--randomize",
    "--number=+15550100", "--inbound-number=+15550199", "--hide-number", "--attribute=tier=gold",
    "--room-preset=phone", '--room-config={"emptyTimeout": 60}', "--agent=one", "--agent-metadata=m",
    "--krisp", "--codec=PCMU", "--trunk=carrier",
]  # fmt: skip
CLOSED = ("--allowed-address", "203.0.113.0/24")


@dataclass
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def sip(*arguments: str, text: str = "") -> Answer:
    """Run the command in this process, with the exit codes of `sip.cli.main`."""
    result = CliRunner().invoke(build(), arguments, input=text)
    if isinstance(result.exception, SipError):
        code = 2 if isinstance(result.exception, ConfigurationError) else 1
        return Answer(code, result.stdout, f"{result.stderr}{result.exception}")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def server(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Store and livekit-server, nothing else."""
    directory = tmp_path_factory.mktemp("objects")
    options = Options(name="objects", directory=directory, agent=False, speech=False, service=False)
    with background(options) as local:
        yield local


@pytest.fixture(autouse=True)
def empty(server: LocalStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server is known from the environment, and has no trunk and no rule."""
    monkeypatch.setenv(URL, server.livekit_url)
    monkeypatch.setenv(KEY, server.api_key)
    monkeypatch.setenv(SECRET, server.api_secret)
    monkeypatch.chdir(tmp_path)
    for kind in ("rule", "trunk inbound", "trunk outbound"):
        ids = [
            item.get("sip_trunk_id") or item["sip_dispatch_rule_id"]
            for item in sip(*kind.split(), "list", "--json").json
        ]
        if ids:
            assert sip(*kind.split(), "delete", "--yes", *ids).code == 0


def carrier(*more: str) -> str:
    """An inbound trunk named carrier; its id."""
    made = sip("trunk", "inbound", "create", "--name", "carrier", "--number", "+15550100", *CLOSED, *more)
    assert made.code == 0, made.err
    return made.out.removeprefix("SIPTrunkID: ").strip()


def own(document: dict[str, Any]) -> dict[str, Any]:
    """A document without what the server chose."""
    return {
        name: value
        for name, value in document.items()
        if name not in ("sip_trunk_id", "sip_dispatch_rule_id", "trunk_ids", "created_at", "updated_at")
    }


@pytest.mark.parametrize(
    ("command", "flags", "wanted", "label"),
    [
        ("trunk inbound", INBOUND_FLAGS, INBOUND, "SIPTrunkID: ST_"),
        ("trunk outbound", OUTBOUND_FLAGS, OUTBOUND, "SIPTrunkID: ST_"),
        ("rule", RULE_FLAGS, RULE, "SIPDispatchRuleID: SDR_"),
    ],
    ids=["inbound", "outbound", "rule"],
)
def test_every_field_goes_round(command: str, flags: list[str], wanted: dict[str, Any], label: str) -> None:
    """Made with a flag for every field, shown as JSON, fed back, shown again: always the same."""
    words = command.split()
    if command == "rule":
        carrier()
    made = sip(*words, "create", *flags)
    assert made.out.startswith(label), made.err
    shown = sip(*words, "show", "everything", "--json", "--show-secrets").json
    assert own(shown) == wanted
    assert sip(*words, "delete", "everything", "--yes").code == 0
    again = sip(*words, "create", "-", "--json", "--show-secrets", text=json.dumps(shown)).json
    assert own(again) == wanted
    assert again != shown, "the id is a new one"
    masked = sip(*words, "show", "everything", "--json").json
    assert "s3cret-word" not in json.dumps(masked) and "4711" not in json.dumps(masked)
    for more in ((), ("--replace",)):
        assert sip(*words, "update", "everything", json.dumps(masked), *more).code == 0
        assert sip(*words, "show", "everything", "--json", "--show-secrets").json == again


def test_secrets_are_never_in_a_table() -> None:
    """Neither `list` nor `show` prints a password or a PIN."""
    sip("trunk", "inbound", "create", *INBOUND_FLAGS)
    sip("trunk", "outbound", "create", *OUTBOUND_FLAGS)
    carrier()
    sip("rule", "create", *RULE_FLAGS)
    for kind in ("trunk inbound", "trunk outbound", "rule"):
        for words in (["list"], ["show", "everything"], ["list", "--json"]):
            answer = sip(*kind.split(), *words)
            assert answer.code == 0 and "everything" in answer.out
            assert "s3cret-word" not in answer.out + answer.err and "4711" not in answer.out + answer.err
            assert "***" in answer.out or (words == ["list"] and kind != "rule")


def test_update_changes_only_what_is_given() -> None:
    """Other fields stay, lists grow and shrink, maps change by key, and --clear empties."""
    sip("trunk", "inbound", "create", *INBOUND_FLAGS)
    words = ("trunk", "inbound")
    changed = sip(
        *words, "update", "everything", "--name", "renamed", "--add-number", "+15550102",
        "--remove-number", "+15550100", "--header", "X-More=3",
            "--clear", "allowed_numbers", "--clear", "media-timeout", "--no-krisp",
        "--json", "--show-secrets",
    ).json  # fmt: skip
    wanted = {
        name: value for name, value in INBOUND.items() if name not in ("allowed_numbers", "krisp_enabled")
    }
    media = {name: value for name, value in INBOUND["media"].items() if name != "media_timeout"}
    assert own(changed) == wanted | {
        "name": "renamed",
        "numbers": ["+15550101", "+15550102"],
        "headers": {"X-Fixed": "one=two", "X-More": "3"},
        "media": media,
    }
    by_json = sip(
        *words, "update", "renamed", '{"numbers": ["+1"], "allowedNumbers": ["+15550198"]}', "--json"
    )
    assert own(by_json.json)["numbers"] == ["+1"]
    assert own(by_json.json)["headers"] == {"X-Fixed": "one=two", "X-More": "3"}
    whole = sip(
        *words,
        "update",
        "renamed",
        "--replace",
        '{"name": "bare", "allowed_addresses": ["192.0.2.1"]}',
        "--json",
    )
    assert own(whole.json) == {"name": "bare", "allowed_addresses": ["192.0.2.1"]}
    assert "Nothing changed" in sip(*words, "update", "bare", "--name", "bare").err


def test_a_rule_keeps_what_the_model_does_not_know(server: LocalStack) -> None:
    """An agent's deployment and restart policy outlive an update of other fields."""
    trunk = carrier()
    document = {
        "name": "r",
        "trunk_ids": [trunk],
        "rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}},
        "roomConfig": {"agents": [{"agentName": "a", "deployment": "blue", "restartPolicy": "JRP_NEVER"}]},
    }
    assert sip("rule", "create", json.dumps(document)).code == 0
    changed = sip("rule", "update", "r", "--agent-metadata", "m", "--number", "+15550100", "--json").json
    assert changed["room_config"]["agents"] == [
        {"agent_name": "a", "metadata": "m", "restart_policy": "JRP_NEVER", "deployment": "blue"}
    ]


def test_names_work_wherever_ids_do() -> None:
    """A name finds its object; one that stands twice names both ids; a wrong one the nearest."""
    first = carrier()
    second = sip("trunk", "inbound", "create", "--name", "other", "--number", "+15550101", *CLOSED)
    other = second.out.removeprefix("SIPTrunkID: ").strip()
    assert (
        sip("rule", "create", "--name", "r", "--trunk", "carrier", "--trunk", other, "--agent", "a").code == 0
    )
    assert sip("rule", "show", "r", "--json").json["trunk_ids"] == [first, other]
    assert sip("trunk", "inbound", "show", first, "--json").json["name"] == "carrier"
    assert sip("trunk", "inbound", "update", other, "--name", "carrier").code == 0
    twice = sip("trunk", "inbound", "show", "carrier")
    assert twice.code == 1 and first in twice.err and other in twice.err
    near = sip("rule", "show", "rr")
    assert near.code == 1 and "'r'" in near.err
    gone = sip("rule", "update", "r", "--trunk", "ST_nothere")
    assert gone.code == 1 and "ST_nothere" in gone.err


def test_strangers_are_let_in_only_when_that_is_said() -> None:
    """An open trunk needs --open, a rule without trunks --any-trunk; the only trunk is taken by itself."""
    words = ("trunk", "inbound", "create", "--name", "open", "--number", "+15550100")
    refused = sip(*words)
    assert refused.code == 2 and "--open" in refused.err and "allowed_addresses" in refused.err
    assert sip("trunk", "inbound", "list", "--json").json == []
    assert sip(*words, "--open").code == 0
    assert "(open)" in sip("trunk", "inbound", "list").out
    rule = ("rule", "create", "--name", "r", "--agent", "a")
    alone = sip(*rule)
    assert alone.code == 0 and "open" in alone.err
    sip("trunk", "inbound", "create", "--name", "second", "--number", "+15550101", *CLOSED)
    refused = sip("rule", "create", "--name", "two", "--agent", "a")
    assert refused.code == 2 and "--any-trunk" in refused.err
    assert sip("rule", "create", "--name", "two", "--agent", "a", "--any-trunk").code == 0
    assert "trunk_ids" not in sip("rule", "show", "two", "--json").json


def test_json_of_lk_is_taken_as_it_is() -> None:
    """What LiveKit's documentation shows is made without further flags; an opening in it is warned of."""
    trunk = sip("trunk", "inbound", "create", '{"trunk": {"name": "mine", "numbers": ["+15550100"]}}')
    assert trunk.code == 0 and "allowed_addresses" in trunk.err
    rule = '{"dispatch_rule": {"rule": {"dispatchRuleIndividual": {"roomPrefix": "call-"}}, "name": "r"}}'
    made = sip("rule", "create", rule)
    assert made.code == 0 and "trunks" in made.err
    assert "trunk_ids" not in sip("rule", "show", "r", "--json").json


def test_rooms_of_a_rule() -> None:
    """Without a kind each caller gets a room; an empty prefix stays empty; kinds can be changed."""
    carrier()
    assert sip("rule", "create", '{"name": "plain"}', "--pin", "1").code == 0
    assert (
        sip("rule", "show", "plain", "--json").json["rule"]["dispatch_rule_individual"]["room_prefix"]
        == "call-"
    )
    empty = {"name": "empty", "rule": {"dispatchRuleIndividual": {}}}
    made = sip("rule", "create", json.dumps(empty), "--json").json
    assert made["rule"] == {"dispatch_rule_individual": {}}
    changed = sip(
        "rule", "update", "empty", "--direct", "lobby", "--pin", "2", "--json", "--show-secrets"
    ).json
    assert changed["rule"] == {"dispatch_rule_direct": {"room_name": "lobby", "pin": "2"}}
    both = sip("rule", "update", "empty", "--direct", "lobby", "--callee", "to-")
    assert both.code == 2 and "--callee" in both.err


def test_what_cannot_work_is_not_sent() -> None:
    """Values that the server drops, or takes to no good, are refused with the mend."""
    words = ("trunk", "inbound", "create", "--name", "bad")
    for flag, value, mend in [
        ("--allowed-address", "203.0.113.7:5060", "Write 203.0.113.7"),
        ("--allowed-address", "203.0.113.*", "203.0.113.0/24"),
        ("--allowed-address", "sip.carrier.example", "IP addresses"),
        ("--header", "From=me", "X-From"),
        ("--ringing-timeout", "soon", "30s"),
    ]:
        refused = sip(*words, *CLOSED, flag, value)
        assert refused.code == 2 and mend in refused.err, refused.err
    out = sip(
        "trunk", "outbound", "create", "--number", "*", "--address", "sip:carrier.example;transport=tcp"
    )
    assert out.code == 2 and "Write carrier.example, and set transport to tcp" in out.err
    assert sip("trunk", "outbound", "list", "--json").json == []


def test_a_conflict_names_the_other() -> None:
    """The server refuses two trunks or rules for the same calls without saying which the other one is."""
    first = carrier()
    double = sip("trunk", "inbound", "create", "--name", "double", "--number", "15550100", *CLOSED)
    assert double.code == 2 and first in double.err and "carrier" in double.err
    assert sip("rule", "create", "--name", "r", "--agent", "a").code == 0
    double = sip("rule", "create", "--name", "double", "--agent", "b")
    assert double.code == 2 and "dispatch rule r (SDR_" in double.err
    assert sip("rule", "update", "r", "--agent", "c").code == 0, "a rule is no conflict of itself"
    wrong = sip("trunk", "outbound", "show", "carrier")
    assert wrong.code == 1 and "sip trunk inbound show carrier" in wrong.err


def test_deletion_is_asked_about() -> None:
    """Without a terminal --yes is demanded; rules that lose their trunk are named."""
    carrier()
    sip("rule", "create", "--name", "reception", "--trunk", "carrier", "--agent", "a")
    refused = sip("trunk", "inbound", "delete", "carrier")
    assert refused.code == 2 and "--yes" in refused.err and "reception" in refused.err
    assert len(sip("trunk", "inbound", "list", "--json").json) == 1
    done = sip("trunk", "inbound", "delete", "carrier", "--yes", "--json")
    assert len(done.json["deleted"]) == 1
    assert sip("trunk", "inbound", "list", "--json").json == []
    assert "(gone)" in sip("rule", "show", "reception").out


def test_habits_of_lk(tmp_path: Path) -> None:
    """Several files make several objects; flags win over a file; --id with a file updates; lk names work."""
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text('{"trunk": {"name": "one", "numbers": ["+1"], "allowedAddresses": ["192.0.2.1"]}}')
    two.write_text('{"trunk": {"name": "two", "numbers": ["+2"], "allowedAddresses": ["192.0.2.1"]}}')
    both = sip("trunk", "inbound", "create", str(one), str(two))
    assert both.out.count("SIPTrunkID: ST_") == 2
    assert sip("trunk", "inbound", "create", str(one), "--name", "three", "--numbers", "+3,+4").code == 0
    three = sip("trunk", "inbound", "show", "three", "--json").json
    assert three["numbers"] == ["+3", "+4"]
    one.write_text('{"name": "third"}')
    assert sip("trunk", "inbound", "update", "--id", three["sip_trunk_id"], str(one)).code == 0
    listed = sip("trunk", "inbound", "list", "--json").json
    assert [item["name"] for item in listed] == ["one", "third", "two"]
    assert sip("inbound", "list", "--json").json == listed
    made = sip("dispatch", "create", "--name", "d", "--trunks", "one", "--caller", "call-")
    assert made.out.startswith("SIPDispatchRuleID: SDR_")


def test_every_shape_of_json_is_taken_by_the_server() -> None:
    """What LiveKit's documentation and `lk` write a real server takes; flags fill in what is left out."""
    trunk = carrier()
    more = {
        "inbound": (
            "trunk",
            "inbound",
            "--number",
            "+15550177",
            *CLOSED,
            "--auth-user",
            "u",
            "--auth-pass",
            "p",
        ),
        "outbound": ("trunk", "outbound", "--address", "x.example", "--number", "+1"),
        "rule": ("rule", "--trunk", trunk),
    }
    for name, (kind, document, wanted) in SHAPES.items():
        words = [word for word in more[kind][:2] if not word.startswith("-")]
        made = sip(*words, "create", "-", "--json", *more[kind][len(words) :], text=json.dumps(document))
        assert made.code == 0, f"{name}: {made.err}"
        shown = made.json
        assert shown.get("name", "") == wanted.name, name
        id = shown.get("sip_trunk_id") or shown["sip_dispatch_rule_id"]
        assert id != wanted.id and sip(*words, "delete", id, "--yes").code == 0, name


def test_passwords_come_from_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a variable, or from standard input."""
    monkeypatch.setenv("CARRIER_PASSWORD", "from-env")
    words = ("trunk", "inbound")
    carrier("--auth-username", "u", "--auth-password-env", "CARRIER_PASSWORD")
    assert sip(*words, "show", "carrier", "--json", "--show-secrets").json["auth_password"] == "from-env"
    assert sip(*words, "update", "carrier", "--auth-password", "-", text="from-stdin\n").code == 0
    assert sip(*words, "show", "carrier", "--json", "--show-secrets").json["auth_password"] == "from-stdin"
    monkeypatch.delenv("CARRIER_PASSWORD")
    unset = sip(*words, "update", "carrier", "--auth-password-env", "CARRIER_PASSWORD")
    assert unset.code == 2 and "CARRIER_PASSWORD" in unset.err


def test_the_running_stack_needs_no_settings(server: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--stack` names it, whatever the environment says; without an environment --url alone finds its key."""
    for name in (KEY, SECRET):
        monkeypatch.setenv(name, "wrong" * 8)
    assert sip("rule", "list", "--json").code == 1
    assert sip("rule", "list", "--json", "--stack", server.name).json == []
    for name in (URL, KEY, SECRET):
        monkeypatch.delenv(name)
    assert sip("rule", "list", "--json", "--url", server.livekit_url).json == []


def test_completion_knows_live_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are completed from the server; without one there is silence."""
    carrier()
    monkeypatch.setenv("_SIP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "sip trunk inbound show car")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert CliRunner().invoke(build(), [], prog_name="sip").stdout.split() == ["carrier"]
    with monkeypatch.context() as patch:
        patch.setenv("COMP_WORDS", "sip rule create --name x --trunk ")
        patch.setenv("COMP_CWORD", "6")
        assert CliRunner().invoke(build(), [], prog_name="sip").stdout.split() == ["carrier"]
    monkeypatch.setenv(URL, "ws://127.0.0.1:1")
    silent = CliRunner().invoke(build(), [], prog_name="sip")
    assert silent.stdout.strip() == "" and silent.stderr == ""
