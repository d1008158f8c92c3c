"""`trunks.yaml` as a state: what may be written how, secrets, names for others, and the way back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Registration, Rule, State
from sip.plan.plan import plan
from sip.wanted import desired, references, written
from sip.wanted.document import FileError, Place

EXAMPLE = Path(__file__).parents[2] / "trunks.yaml"


def read(text: str, **variables: str) -> desired.Desired:
    """The file of this text."""
    return desired.parse(text, "trunks.yaml", variables)


def errors(text: str, **variables: str) -> str:
    """The message for a file that is refused."""
    with pytest.raises(FileError) as caught:
        read(text, **variables)
    return str(caught.value)


def test_all_fields_are_read_as_the_model_has_them() -> None:
    """Every section, lists and maps, durations with units, and agents in short and in full."""
    found = read(
        """
inbound:
  carrier:
    numbers: ["+15550100"]
    allowed_addresses: [203.0.113.0/24]
    allowed_numbers: ["+15550111"]
    auth_username: alice
    auth_password: ${PASSWORD}
    auth_realm: example.com
    headers: {X-A: b}
    headers_to_attributes: {X-C: d}
    attributes_to_headers: {e: X-F}
    include_headers: X
    ringing_timeout: 1.5
    ringing_timeout_status: 486
    max_call_duration: 1h
    krisp_enabled: yes
    media: {codecs: [PCMU, G722/8000], only_listed_codecs: true, encryption: require, media_timeout: 500ms}
    metadata: '{"a": 1}'
outbound:
  out: {address: "sip.example.com:5061", transport: tls, numbers: ["*"], from_host: example.com,
        destination_country: US, id: ST_out}
rules:
  short: {trunks: [carrier, out-of-file], agent: phone-agent, kind: callee, randomize: on, room: r-}
  full:
    trunks: [carrier]
    numbers: ["+15550100"]
    inbound_numbers: ["+15550122"]
    agents: [one, {name: two, metadata: x}]
    pin: ${PIN:-4711}
    hide_phone_number: true
    attributes: {a: b}
    room_preset: p
    room_config: {empty_timeout: 30, max_participants: 0}
registrations:
  desk: {registrar: pbx.example.com, username: "1001", auth_password: "${PASSWORD}", expires: 10m}
""",
        PASSWORD="secret",
    )
    state = found.state
    assert state.inbound == (
        InboundTrunk(
            name="carrier",
            numbers=("+15550100",),
            allowed_addresses=("203.0.113.0/24",),
            allowed_numbers=("+15550111",),
            auth_username="alice",
            auth_password="secret",
            auth_realm="example.com",
            headers={"X-A": "b"},
            headers_to_attributes={"X-C": "d"},
            attributes_to_headers={"e": "X-F"},
            include_headers="x",
            ringing_timeout=1.5,
            ringing_timeout_status=486,
            max_call_duration=3600,
            krisp_enabled=True,
            media=Media(("PCMU", "G722/8000"), True, "require", 0.5),
            metadata='{"a": 1}',
        ),
    )
    assert state.outbound[0].id == "ST_out" and state.outbound[0].transport == "tls"
    assert state.rules[0].agents == (AgentDispatch("phone-agent"),)
    assert state.rules[0].randomize is True and state.rules[0].trunks == ("carrier", "out-of-file")
    assert state.rules[1].agents == (AgentDispatch("one"), AgentDispatch("two", "x"))
    assert state.rules[1].room_config == {"empty_timeout": 30}, "what is zero is as good as not set"
    assert state.registrations[0].expires == 600
    assert [fault.field for fault in found.warnings if "plain text" in fault.reason] == ["rules.full.pin"]


def test_sections_may_be_lists_with_names() -> None:
    """The same as a mapping; an id alone is a name, too."""
    text = """
inbound:
  - name: carrier
    numbers: ["+15550100"]
    allowed_addresses: [203.0.113.1]
  - id: ST_1
    numbers: ["+15550101"]
    allowed_addresses: [203.0.113.1]
"""
    state = read(text).state
    assert [(trunk.name, trunk.id) for trunk in state.inbound] == [("carrier", ""), ("", "ST_1")]
    assert read(text).place("inbound", "ST_1", "numbers[0]") == Place("trunks.yaml", 7, 15)


def test_anchors_and_merges_spare_repetition() -> None:
    """Keys that begin with x- hold what others share; an entry's own fields win."""
    state = read("""
x-carrier: &carrier
  allowed_addresses: [203.0.113.1]
  max_call_duration: 60
inbound:
  a: {<<: *carrier, numbers: ["+15550100"]}
  b: {<<: *carrier, numbers: ["+15550101"], max_call_duration: 30}
""").state
    assert [trunk.max_call_duration for trunk in state.inbound] == [60, 30]
    assert state.inbound[1].allowed_addresses == ("203.0.113.1",)


def test_keys_of_the_file_stand_for_names_and_ids() -> None:
    """A rule calls a trunk what the file calls it, whatever its name on the server is."""
    text = """
inbound:
  first: {name: carrier, id: ST_1, numbers: ["+15550100"], allowed_addresses: [203.0.113.1]}
  second: {name: other, numbers: ["+15550101"], allowed_addresses: [203.0.113.1]}
rules:
  r: {trunks: [first, second], agent: a}
"""
    assert read(text).state.rules[0].trunks == ("ST_1", "other")


def test_a_secret_of_an_unset_variable_is_left_to_the_plan() -> None:
    """The server may have it already; what is empty counts as not set."""
    text = """
inbound:
  carrier:
    {numbers: ["+15550100"], auth_username: a, auth_password: "${PASSWORD}", headers: {X-Token: "${TOKEN}"}}
"""
    for variables in ({}, {"PASSWORD": "", "TOKEN": ""}):
        assert read(text, **variables).unset == {
            ("inbound", "carrier", "auth_password"): "PASSWORD",
            ("inbound", "carrier", "headers.X-Token"): "TOKEN",
        }


def test_an_unset_variable_anywhere_else_is_an_error() -> None:
    """Its name and its line are told."""
    text = 'outbound:\n  out:\n    address: ${HOST}\n    numbers: ["*"]\n'
    assert "trunks.yaml:3:14: outbound.out.address: the variable HOST is not set" in errors(text)
    assert read(text, HOST="sip.example.com").state.outbound[0].address == "sip.example.com"


def test_no_error_shows_a_secret() -> None:
    """Neither one of the file nor one of the environment."""
    text = """
inbound:
  carrier: {numbers: ["+15550100"], auth_username: "", auth_password: hunter2, headers: {X-Token: hunter3}}
outbound:
  out: {address: "sip:x", auth_password: "${PASSWORD}", numbers: ["*"]}
rules:
  r: {pin: secret-pin, agent: a, nonsense: 1}
"""
    message = errors(text, PASSWORD="hunter4")
    for secret in ("hunter2", "hunter3", "hunter4", "secret-pin"):
        assert secret not in message
    assert message.count("\n") >= 5


def test_references() -> None:
    """Names, defaults, `$${` for a `${` itself, and what is none."""
    variables = {"A": "1"}
    assert references.expand("x${A}y${B:-z}", variables).text == "x1yz"
    assert references.expand("$${A} $A", variables).text == "${A} $A"
    assert references.expand("${B}", variables).missing == ("B",)
    assert references.expand("${A", variables).malformed and references.expand("${}", variables).malformed
    assert not references.expand("${A}", variables).plain
    assert references.expand("${B:-z}", variables).plain


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of `.env` are taken as they stand there, and an empty variable hides none of them."""
    (tmp_path / ".env").write_text("ONE=file\nTWO=file\nTHREE='a${ONE}$b'\n")
    monkeypatch.setenv("ONE", "process")
    monkeypatch.setenv("TWO", "")
    found = references.environment(tmp_path)
    assert (found["ONE"], found["TWO"], found["THREE"]) == ("process", "file", "a${ONE}$b")


def test_the_example_is_sound() -> None:
    """`trunks.yaml` at the top of the project has no error, no warning and no danger."""
    found = desired.read(EXAMPLE, {})
    assert not found.warnings
    made = plan(found.state, State())
    assert made and not made.findings


texts = st.text(max_size=12) | st.sampled_from(
    (
        "no",
        "~",
        "0x1F",
        "1e3",
        "- a",
        "a: b",
        "#x",
        "${X}",
        "$${",
        "'",
        '"',
        "\\",
        "<<",
        "2026-11-21",
        "👍\u2028",
    )
)
names = st.text(min_size=1, max_size=8) | st.sampled_from(("no", "a b", "1", "${X}", "<<", "x: y"))
pairs = st.dictionaries(names, texts, max_size=2)
lists = st.lists(texts, max_size=3).map(tuple)
medias = st.builds(
    Media,
    codecs=st.sampled_from(((), ("PCMU",), ("G722/8000", "PCMA"))),
    only_listed_codecs=st.booleans(),
    encryption=st.sampled_from(("disable", "allow", "require")),
    media_timeout=st.sampled_from((0.0, 0.5, 15.0)),
)
inbound_trunks = st.builds(
    InboundTrunk,
    name=texts,
    numbers=lists,
    allowed_addresses=lists,
    auth_username=texts,
    auth_password=texts,
    headers=pairs | st.just({"X-Token": "secret"}),
    headers_to_attributes=pairs,
    include_headers=st.sampled_from(("none", "x", "all")),
    ringing_timeout=st.sampled_from((0.0, 0.25, 30.0)),
    ringing_timeout_status=st.sampled_from((0, 486)),
    krisp_enabled=st.booleans(),
    media=medias,
    metadata=texts,
)
outbound_trunks = st.builds(
    OutboundTrunk,
    name=texts,
    address=texts,
    transport=st.sampled_from(("auto", "udp", "tcp", "tls")),
    numbers=lists,
    auth_password=texts,
)
rules = st.builds(
    Rule,
    name=texts,
    kind=st.sampled_from(("direct", "individual", "callee")),
    room=texts,
    pin=texts,
    randomize=st.sampled_from((None, True, False)),
    trunks=st.lists(st.sampled_from(("ST_i0", "ST_i1", "ST_gone")), max_size=3).map(tuple),
    numbers=lists,
    agents=st.lists(st.builds(AgentDispatch, name=texts, metadata=texts), max_size=2).map(tuple),
    hide_phone_number=st.booleans(),
    attributes=pairs,
    room_config=st.sampled_from(({}, {"empty_timeout": 30, "metadata": "no"})),
    media=medias,
)


def _with_ids(state: State) -> State:
    """As a server gives it: everything has an id."""
    return State(
        tuple(replace(item, id=f"ST_i{index}") for index, item in enumerate(state.inbound)),
        tuple(replace(item, id=f"ST_o{index}") for index, item in enumerate(state.outbound)),
        tuple(replace(item, id=f"SDR_{index}") for index, item in enumerate(state.rules)),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        State,
        inbound=st.lists(inbound_trunks, max_size=2).map(tuple),
        outbound=st.lists(outbound_trunks, max_size=2).map(tuple),
        rules=st.lists(rules, max_size=3).map(tuple),
    )
)
def test_what_import_writes_plans_nothing(state: State) -> None:
    """Any live state, with and without its secrets at hand: names given twice or not at all, odd texts."""
    live = _with_ids(state)
    file = written.write(live)
    for variables in ({}, dict(file.secrets)):
        found = desired.parse(file.text, "live.yaml", variables, invalid=True)
        assert plan(found.state, live, unset=found.unset) is None
    assert not found.unset
    if any("X-Token" in trunk.headers for trunk in live.inbound):
        assert "X-Token: ${" in file.text


passwords = st.text(st.characters(min_codepoint=33, max_codepoint=1000), min_size=1)
variables = st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), passwords, max_size=4)


@settings(max_examples=100, deadline=None)
@given(variables)
def test_secrets_come_back_from_a_dotenv_file(secrets: dict[str, str]) -> None:
    """Whatever a password holds, `.env` gives it back."""
    text = "".join(f"{line}\n" for line in written.dotenv(secrets))
    assert dotenv_values(stream=io.StringIO(text), interpolate=False) == secrets


def test_registrations_are_written_too() -> None:
    """A state of a file can be written as well as a live one."""
    state = State(registrations=(Registration("desk", "pbx.example.com", "1001", auth_password="x"),))
    file = written.write(state)
    assert desired.parse(file.text, "f", dict(file.secrets)).state == state
