"""Presets of carriers and PBXs: their facts, what they write, and what they refuse."""

from __future__ import annotations

import configparser
import re
import shlex
from datetime import date
from importlib.resources import files
from xml.etree import ElementTree

import pytest
import yaml

from sip.errors import ConfigurationError
from sip.model import State
from sip.plan.plan import plan
from sip.presets import FACTS, load, names, sources
from sip.presets.questions import CLOUD_NETWORKS, Target
from sip.presets.reading import parse
from sip.presets.use import Use, use
from sip.wanted.desired import parse as parse_trunks
from tests.unit.preset_cases import SECRET, Case, cases

WANTED = (
    *("bandwidth", "plivo", "ringcentral", "telnyx", "twilio", "vobiz", "voipms", "vonage"),
    *("3cx", "asterisk", "avaya-aura", "cisco-cucm", "freepbx", "freeswitch", "kamailio", "yeastar"),
)
CASES = cases()


def text_of(name: str) -> str:
    """A preset's file."""
    return (files("sip.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def test_all_presets_are_there() -> None:
    """Eight carriers and eight PBXs, in the order in which they are listed."""
    assert names() == WANTED


@pytest.mark.parametrize("name", WANTED)
def test_every_fact_has_a_source_and_a_date_or_is_unverified(name: str) -> None:
    """Who reads a fact sees where it is from; third parties and general knowledge verify nothing."""
    preset = load(name)
    assert tuple(preset.facts) == tuple(FACTS)
    for fact in (*preset.facts.values(), *preset.quirks):
        assert bool(fact.sources) == (fact.read_on is not None)
        assert fact.read_on is None or date(2026, 1, 1) <= fact.read_on <= date.today()
        if fact.verified:
            assert fact.value is not None
            assert any(source.url and not source.third_party for source in fact.sources), fact
    for proof in preset.proofs.values():
        assert (proof.state == "not run") == (proof.run_on is None)


def test_a_source_is_a_page_a_test_or_said_to_be_neither() -> None:
    """Every tag is used, and leads to a page, to a test that is there, or to nothing that could verify."""
    used = {
        source.tag
        for name in names()
        for fact in (*load(name).facts.values(), *load(name).quirks)
        for source in fact.sources
    }
    assert used == set(sources())
    for source in sources().values():
        assert source.url.startswith("https://") or source.url.startswith("tests/") or not source.url
        if source.url.startswith("tests/"):
            assert (files("sip") / ".." / source.url).is_file()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_entry_is_one_that_sip_plan_takes(case: Case) -> None:
    """Each way to use each preset gives a `trunks.yaml` without errors, which makes no unsafe plan."""
    used = case.used()
    desired = parse_trunks(used.document(), "trunks.yaml", dict.fromkeys(used.secrets, SECRET))
    made = plan(desired.state, State())
    assert made is not None
    assert not made.refused
    assert all("does not begin with `+`" in warning.reason for warning in desired.warnings), desired.warnings
    assert not desired.unset
    direction = str(used.values["direction"])
    assert bool(desired.state.inbound) == bool(desired.state.rules) == (direction != "outbound")
    assert bool(desired.state.outbound) == (direction != "inbound")
    assert bool(desired.state.registrations) == (case.mode == "extension")
    for trunk in desired.state.inbound:
        assert trunk.allowed_addresses and trunk.numbers
    for rule in desired.state.rules:
        assert rule.trunks == (str(used.values["name"]),) and rule.agents


@pytest.mark.parametrize("case", CASES, ids=str)
def test_files_for_the_other_side_are_well_formed(case: Case) -> None:
    """XML is read by an XML parser, INI by an INI parser, Kamailio's braces close; no mark is left over."""
    used = case.used()
    assert used.steps
    for step in used.steps:
        assert "<<" not in step.text and "%%" not in step.text and "<%" not in step.text
        assert "None" not in re.sub(r"(Authentication|Registration|Encryption|Support) +None", "", step.text)
        assert bool(step.file) == (step.syntax != "text")
        if step.syntax == "xml":
            assert len(ElementTree.fromstring(step.text))
        elif step.syntax == "ini":
            check_ini(step.text)
        elif step.syntax == "kamailio":
            assert step.text.count("{") == step.text.count("}") > 10
        elif step.syntax == "dispatcher":
            lines = [line for line in step.text.splitlines() if not line.startswith("#")]
            assert len(lines) == 2
            assert all(re.fullmatch(r"[12] sip:[\w.-]+(:\d+)?(;transport=tcp)? 0 0", line) for line in lines)


def check_ini(text: str) -> None:
    """Asterisk's files: sections, `key=value` and `key => value`; the same section may come again."""
    for part in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
        if part.startswith("["):
            reader = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=>", "="))
            reader.read_string(re.sub(r"^ ", "", part, flags=re.MULTILINE))
            assert all(len(reader[section]) for section in reader.sections())
        else:
            assert all(not line.strip() or line.startswith(";") for line in part.splitlines())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_secrets_stay_references(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set in the environment stands in no entry and in no file: `${NAME}` does."""
    for name in case.used().secrets:
        monkeypatch.setenv(name, SECRET)
    used = case.used()
    written = used.document() + "".join(step.text for step in used.steps)
    assert SECRET not in written
    passwords = re.findall(r"auth_password: (.*)", written)
    assert set(passwords) <= {f"${{{name}}}" for name in used.secrets}
    assert bool(passwords) == bool(used.secrets)


def used(name: str, target: Target = "self-hosted", **given: str) -> Use:
    """A preset with these values."""
    host = {"livekit_host": ["198.51.100.10"]} if target == "self-hosted" else {}
    return use(load(name), host | {key: [value] for key, value in given.items()}, target=target)


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("target", ["cloud", "self-hosted", "local"])
def test_missing_values_are_named_all_at_once(name: str, target: Target) -> None:
    """The error names everything that is missing, and the command that it shows as an example works."""
    with pytest.raises(ConfigurationError) as raised:
        use(load(name), {}, target=target)
    words = shlex.split(raised.value.mend.removeprefix("For example: "))
    assert words[:4] == ["sip", "preset", "use", name]
    given = {each.partition("=")[0]: [each.partition("=")[2]] for each in words if "=" in each}
    assert all(key in raised.value.why for key in given)
    assert use(load(name), given, target=target).entry


@pytest.mark.parametrize(
    ("name", "key", "value", "reason"),
    [
        ("twilio", "numbers", "5105550100", "+ and the number with its country code"),
        ("twilio", "numbers", "+1 510 555 0100", "+ and the number"),
        ("twilio", "trunk", "sip:my-trunk", "letters, digits"),
        ("twilio", "transport", "TLS1.2", "one of tcp, udp, tls"),
        ("twilio", "allowed_addresses", "54.172.60.1/30", "did you mean 54.172.60.0/30?"),
        ("twilio", "allowed_addresses", "twilio.com", "not a name"),
        ("twilio", "password", SECRET, "--set password_env=NAME"),
        ("twilio", "password_env", "my password", "the name of an environment variable"),
        ("twilio", "nonsense", "1", "is no value of twilio"),
        ("twilio", "project", "p1", "has no meaning here"),
        ("twilio", "livekit_host", "sip:example.com", "without sip: and port"),
        ("bandwidth", "realm", "my realm", "a host name"),
        ("twilio", "livekit_networks", "sip.example.com", "not a name"),
        ("asterisk", "pbx_port", "70000", "a port from 1 to 65535"),
        ("asterisk", "pbx_host", "pbx.example.com:5060", "without sip: and port"),
        ("asterisk", "numbers", "7;00", "numbers or extensions, without"),
        ("asterisk", "context", "a\nb", "letters, digits"),
        ("asterisk", "pbx_host", "a,b", "one value, not 2"),
        ("kamailio", "config_dir", "etc", "an absolute path"),
        ("kamailio", "pbx_address", "sip:pbx;transport=tcp", "without sip: and parameters"),
        ("kamailio", "pbx_address", "198.51.100.10", "have the same address"),
        ("kamailio", "livekit_host", "sip.example.com", "--set livekit_networks=ADDRESS"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, key: str, value: str, reason: str) -> None:
    """The error names the key, what is wrong with the value, and what it should be; never a secret."""
    wanted = (name, "self-hosted", None)
    case = next(case for case in CASES if (case.preset, case.target, case.choice) == wanted)
    with pytest.raises(ConfigurationError) as raised:
        use(load(name), case.given | {key: [value]}, target="self-hosted")
    assert reason in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_mode_extension_tells_who_can_register() -> None:
    """LiveKit registers nowhere and `sip serve` does; where that has no TLS, the user hears it."""
    given = {"pbx_host": ["203.0.113.30"], "extension": ["700"], "project": ["p"]}
    notes = " ".join(use(load("asterisk"), given, mode="extension", target="cloud").notes)
    assert "LiveKit Cloud registers nowhere" in notes and "sip serve --registrations" in notes
    local = {key: given[key] for key in ("pbx_host", "extension")}
    notes = " ".join(use(load("asterisk"), local, mode="extension", target="local").notes)
    assert "sip stack up --registrations" in notes and "TLS" not in notes
    tls = given | {"transport": ["tls"]}
    assert "no TLS" in " ".join(use(load("asterisk"), tls, mode="extension", target="cloud").notes)
    with pytest.raises(ConfigurationError, match="cannot be used in the mode"):
        use(load("twilio"), {}, mode="extension")


def test_what_was_not_run_is_said_to_be() -> None:
    """A preset without a real peer says so wherever it is used; one that was run does not."""
    twilio = used("twilio", trunk="t", numbers="+15105550100")
    assert any(note.startswith("not run") for note in twilio.notes)
    asterisk = used("asterisk", pbx_host="203.0.113.30", numbers="700")
    assert not any("not run" in note for note in asterisk.notes)


@pytest.mark.parametrize("text", ["p1", "p_p1", "p1.sip.livekit.cloud", "sip:p1.sip.livekit.cloud"])
def test_a_cloud_project_in_any_shape(text: str) -> None:
    """The id, with its `p_`, the SIP host and the SIP URI all mean the same project; its address does not."""
    given = {"project": text, "trunk": "t", "numbers": "+15105550100"}
    assert used("twilio", "cloud", **given).values["livekit_host"] == "p1.sip.livekit.cloud"
    with pytest.raises(ConfigurationError, match=r"before \.sip\.livekit\.cloud"):
        used("twilio", "cloud", **given | {"project": f"wss://{text}.livekit.cloud"})


def test_the_other_side_dials_the_target() -> None:
    """LiveKit Cloud by project and region, a host of one's own with its port, the local stack's address."""
    number = "+15105550100"
    cloud = used("twilio", "cloud", project="p1", region="eu", transport="tls", trunk="t", numbers=number)
    assert "sip:p1.eu.sip.livekit.cloud;transport=tls" in cloud.steps[1].text
    own = used("twilio", livekit_port="5070", trunk="t", numbers=number)
    assert "sip:198.51.100.10:5070;transport=tcp" in own.steps[1].text
    lists = {"trunk": ["t"], "numbers": [number]}
    local = use(load("twilio"), lists, target="local", local_address="127.0.0.1:40000")
    assert "sip:127.0.0.1:40000;transport=tcp" in local.steps[1].text
    asterisk = used("asterisk", "cloud", project="p1", pbx_host="203.0.113.30", numbers="700")
    assert all(f"match={network}\n" in asterisk.steps[0].text for network in CLOUD_NETWORKS)
    with pytest.raises(ConfigurationError, match="no TLS"):
        used("asterisk", "local", pbx_host="203.0.113.30", numbers="700", transport="tls")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("kind: carrier", "kind: shop"), "shop is no kind"),
        (("  cps:", "  speed:"), "facts.cps is missing"),
        (
            ("verified: true, source: TW-IP", "verified: true, source: TW-COD"),
            "verified by nothing but third",
        ),
        (("verified: true, source: TW-IP", "source: TW-IP"), "does not say whether it is verified"),
        (("source: TW-IP, read_on: 2026-11-21", "source: TW-IP"), "does not say when it was read"),
        (("source: TW-IP", "source: TW-NONE"), "there is no source TW-NONE"),
        (("trunk: {state: not run}", "trunk: {state: sure}"), "sure is no state"),
        (("form: e164", "form: nice"), "nice is no form"),
        (("entry:\n  trunk:", "entry:\n  extension:"), "entry.trunk is missing"),
        (("%% if transport == 'tls'", "%% if transport == "), "steps: The trunk: line 2"),
        (("title: Twilio\n", ""), "title is missing"),
    ],
)
def test_a_wrong_file_is_refused(change: tuple[str, str], problem: str) -> None:
    """A preset is checked when it is read: nothing wrong gets as far as a user."""
    text = text_of("twilio")
    assert change[0] in text
    with pytest.raises(ConfigurationError) as raised:
        parse("twilio", text.replace(*change, 1))
    assert problem in str(raised.value)


def test_names_are_found_as_people_write_them() -> None:
    """`VoIP.ms`, `cucm`, `Avaya`; what fits none or several is refused with all names."""
    assert [load(name).name for name in ("VoIP.ms", "cucm", "Avaya", "3CX")] == [
        *("voipms", "cisco-cucm", "avaya-aura", "3cx")
    ]
    for name in ("nobody", "vo", "", "sources"):
        with pytest.raises(ConfigurationError, match="there is no preset"):
            load(name)


def test_figures_for_others() -> None:
    """Codecs, networks and limits have types, so that capacity and doctor can count on them."""
    twilio, kamailio = load("twilio"), load("kamailio")
    assert (twilio.codecs, twilio.cps, twilio.concurrency) == (("PCMU", "PCMA"), 1, None)
    assert "54.172.60.0/30" in twilio.source_ranges
    assert (kamailio.cps, kamailio.source_ranges) == (None, ())


def test_entries_are_plain_yaml() -> None:
    """Numbers are quoted, so that YAML does not take them for integers."""
    text = used("asterisk", pbx_host="203.0.113.30", numbers="0700,+15105550100").document()
    entry = yaml.safe_load(text)
    assert entry["inbound"]["asterisk"]["numbers"] == ["0700", "+15105550100"]
