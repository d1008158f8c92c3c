"""The doctor's checks, one by one: what each says of something broken, and that it is silent otherwise."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from sip.api.connect import Target
from sip.api.live import Live
from sip.cli import build
from sip.doctor import (
    CHECKS,
    Check,
    Context,
    files,
    gaps,
    network,
    options,
    providers,
    routing,
    run,
    server,
    service,
    trial_call,
)
from sip.doctor.context import CannotRun
from sip.errors import ApiError, ConfigurationError
from sip.finding import Finding, ordered, worst
from sip.local import LocalStack
from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Rule, State

TRUNK = InboundTrunk("carrier", "ST_1", ("+15550100",), ("192.0.2.0/24",))
RULE = Rule("calls", "SDR_1", room="call-", trunks=("ST_1",), agents=(AgentDispatch("phone-agent"),))
GOOD = State(inbound=(TRUNK,), rules=(RULE,))


class FakeLive:
    """A server that has this state, or this error."""

    def __init__(self, state: State | ApiError = GOOD) -> None:
        self._state = state

    async def fetch(self) -> State:
        """The state."""
        if isinstance(self._state, ApiError):
            raise self._state
        return self._state


def context(state: State | ApiError = GOOD, url: str = "ws://127.0.0.1:1", **fields: Any) -> Context:
    """What a check is given."""
    live = cast(Live, FakeLive(state))
    return Context(Target(url, fields.pop("key", "key"), "secret", "test"), live, **fields)


def names(findings: Any) -> set[str]:
    """What was found, without what is only said."""
    return {each.name for each in findings if each.severity in ("error", "warning")}


# Trunks and rules


def test_good_state() -> None:
    """Nothing is said of a trunk and a rule that fit."""
    assert not list(routing.find_paths(GOOD))
    assert not list(routing.find_openings(GOOD))
    assert not [each for item in GOOD for each in routing.find_problems(item)]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("nothing-configured", State()),
        ("no-rules", State(inbound=(TRUNK,))),
        ("no-inbound-trunks", State(rules=(RULE,))),
        ("unreachable-trunk", replace(GOOD, inbound=(TRUNK, InboundTrunk("b", "ST_2", ("+15550101",))))),
        ("unknown-trunk", replace(GOOD, rules=(RULE, Rule("b", "SDR_2", trunks=("ST_9",), room="b-")))),
        ("number-without-rule", State((TRUNK,), (), (replace(RULE, numbers=("+15550199",)),))),
        ("rule-number-spelling", State((TRUNK,), (), (replace(RULE, numbers=("15550100",)),))),
        ("shared-number", replace(GOOD, inbound=(TRUNK, replace(TRUNK, id="ST_2", name="b")))),
    ],
)
def test_paths(name: str, state: State) -> None:
    """Calls that would find no way are told by name, with a command."""
    found = {each.name: each for each in routing.find_paths(state)}
    assert name in found
    assert found[name].mend


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("open-trunk", State((replace(TRUNK, allowed_addresses=()),), (), (RULE,))),
        ("open-trunk", State((replace(TRUNK, allowed_addresses=("0.0.0.0/0",)),), (), (RULE,))),
        ("rule-without-trunks", State((TRUNK,), (), (replace(RULE, trunks=()),))),
    ],
)
def test_openings(name: str, state: State) -> None:
    """What lets strangers in is told."""
    assert names(routing.find_openings(state)) == {name}


def test_malformed_address() -> None:
    """An address that the server would drop without a word is told."""
    found = list(routing.find_problems(replace(TRUNK, allowed_addresses=("https://192.0.2.1",))))
    assert names(found) == {"inbound-allowed-addresses"}


@pytest.mark.parametrize(
    ("media", "bad"),
    [
        (Media(), False),
        (Media(("OPUS",)), False),
        (Media(("OPUS",), only_listed_codecs=True), True),
        (Media(("OPUS", "PCMA"), only_listed_codecs=True), False),
    ],
)
def test_codecs(media: Media, bad: bool) -> None:
    """Only a list that holds nothing which is spoken here keeps calls from working."""
    assert bool(list(routing.find_codecs(replace(TRUNK, media=media)))) is bad


def test_gaps() -> None:
    """What the embedded service does not do, and what only the cloud does, are told."""
    state = State(
        (replace(TRUNK, krisp_enabled=True, media=Media(encryption="require")),),
        (OutboundTrunk("out", "ST_3", "sip.example", transport="tls", destination_country="us"),),
        (replace(RULE, pin="1234"),),
    )
    assert [each.name for each in gaps.find_gaps(state)] == 2 * ["encryption-unsupported"]
    assert [each.severity for each in gaps.find_cloud_only(state)] == ["info", "info"]
    assert not [*gaps.find_gaps(GOOD), *gaps.find_cloud_only(GOOD)]


async def test_preset_codecs() -> None:
    """A trunk that shares no codec with a preset's far end is told; one that does is well."""
    only = State((), (OutboundTrunk("o", "ST_3", "h", media=Media(("G722",), only_listed_codecs=True)),), ())
    assert names(await routing.codecs(context(only, presets=("twilio",)))) == {"no-common-codec"}
    assert not await routing.codecs(context(only, presets=("telnyx", "kamailio")))


# Server


@asynccontextmanager
async def web(answer: Callable[[str, dict[str, str]], tuple[int, str]]) -> AsyncGenerator[str]:
    """A web server: path and headers in, status and Date out."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, date = answer(first.split()[1], headers)
        more = "Content-Length: 2\r\nConnection: close"
        writer.write(f"HTTP/1.1 {status} X\r\nDate: {date}\r\n{more}\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("skew", "severity"), [(0, None), (5, None), (30, "warning"), (300, "error"), (-300, "error")]
)
async def test_clock(skew: float, severity: str | None) -> None:
    """A clock that is off makes tokens that are refused; a second is none."""
    async with web(lambda *_: (200, formatdate(time.time() + skew, usegmt=True))) as address:
        found = list(await server.clock(context(url=f"ws://{address}")))
    assert [each.severity for each in found] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ApiError("cannot reach it", "refused", code="unreachable"), "livekit-unreachable"),
        (ApiError("reading trunks", "sip not connected", code="internal"), "livekit-refuses"),
    ],
)
async def test_api(error: ApiError, name: str) -> None:
    """A server that is not there is told from one that refuses; one that answers is well."""
    assert names(await server.api(context(error))) == {name}
    assert not await server.api(context())


def certificate(directory: Path) -> tuple[Path, Path]:
    """A key, and a certificate for localhost that ends in five days."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 5 -subj /CN=localhost"
    options = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return key, cert


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody trusts is an error; one that is trusted and ends soon is a warning."""
    import ssl

    key, cert = certificate(tmp_path)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(cert, key)

    def quiet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(quiet, "localhost", 0, ssl=own, family=socket.AF_INET)
    async with listening:
        url = f"wss://localhost:{listening.sockets[0].getsockname()[1]}"
        assert names(await server.certificates(context(url=url))) == {"tls-certificate-invalid"}
        trusting = ssl.create_default_context(cafile=str(cert))
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        (found,) = await server.certificates(context(url=url))
        assert (found.name, found.severity) == ("tls-certificate-expires", "warning")
        monkeypatch.setattr(server, "EXPIRES", 1)
        assert not await server.certificates(context(url=url))
    with pytest.raises(CannotRun):
        await server.certificates(context())


# SIP service, store, ports


@asynccontextmanager
async def udp(reply: bytes | None) -> AsyncGenerator[str]:
    """A UDP port that answers everything alike, or nothing."""

    class Peer(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            if reply is not None:
                self.transport.sendto(reply, addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Peer, local_addr=("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()
        await asyncio.sleep(0)  # the socket is closed in the loop's next turn


OK = b"SIP/2.0 200 OK\r\nServer: pbx 1\r\nContact: <sip:10.0.0.9:5060>\r\nContent-Length: 0\r\n\r\n"


async def test_service_answers() -> None:
    """A service that answers OPTIONS is well, whatever its code."""
    async with udp(OK.replace(b"200 OK", b"405 No")) as address:
        (found,) = await service.alive(context(sip_address=address))
    assert found.severity == "info"
    assert "405" in found.what and "pbx 1" in found.what


async def test_service_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that keeps silent, or that says something else, is an error."""
    monkeypatch.setattr(options, "RESEND", (0.05, 0.05))
    for reply in (None, b"HTTP/1.1 200 OK\r\n\r\n"):
        async with udp(reply) as address:
            assert names(await service.alive(context(sip_address=address))) == {"sip-service-silent"}


async def test_service_unknown() -> None:
    """Without an address nothing is claimed."""
    with pytest.raises(CannotRun, match="--sip"):
        await service.alive(context())


@pytest.mark.parametrize("address", ["", "sip:1.2.3.4", "host:port", "a/b", "x@y"])
def test_addresses(address: str) -> None:
    """What is no host and port is refused."""
    with pytest.raises(ConfigurationError):
        service.split(address)


async def test_redis() -> None:
    """A store that is away, or refuses the password, is told without the password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://:geheim@127.0.0.1:{port}"
    (found,) = await service.redis(context(settings={"REDIS_URL": url}))
    assert found.name == "redis-unreachable"
    assert "geheim" not in repr(found)
    with pytest.raises(CannotRun):
        await service.redis(context())

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(b"-WRONGPASS invalid username-password pair\r\n")

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        (found,) = await service.redis(context(settings={"REDIS_URL": f"redis://:geheim@127.0.0.1:{port}"}))
    assert "password" in found.what


async def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program holds is told; a free one and one of a SIP service are well."""
    monkeypatch.setattr(options, "RESEND", (0.05,))
    async with udp(None) as address:
        settings = {"REDIS_URL": "redis://x", "SIP_PORT": address.rpartition(":")[2]}
        assert names(await service.ports(context(settings=settings))) == {"sip-port-taken"}
    assert not await service.ports(context(settings=settings))
    async with udp(OK) as address:
        settings = {"REDIS_URL": "redis://x", "SIP_PORT": address.rpartition(":")[2]}
        assert not await service.ports(context(settings=settings))
    with pytest.raises(CannotRun):
        await service.ports(context())


# Addresses


@pytest.mark.parametrize(
    ("host", "outside", "advertised", "name"),
    [
        ("127.0.0.1", [], "", None),
        ("127.0.0.1", ["carrier"], "", "loopback-only"),
        ("10.0.0.5", ["carrier"], "", "private-address"),
        ("10.0.0.5", ["carrier"], "203.0.113.1", None),
        ("203.0.113.1", ["carrier"], "", None),
    ],
)
def test_mismatch(host: str, outside: list[str], advertised: str, name: str | None) -> None:
    """A private address matters only where somebody outside has to reach it."""
    found = names(network.find_mismatch(host, outside, advertised=advertised))
    assert found == ({name} if name else set())


async def test_private_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that answers under a public address and calls itself by a private one is told."""

    async def ask(*_: object) -> options.Answer:
        return options.Answer(200, "udp", contact="10.0.0.9")

    monkeypatch.setattr(options, "ask", ask)
    found = await network.addresses(context(sip_address="203.0.113.1:5060"))
    assert names(found) == {"private-contact"}


async def test_recorded_sdp(tmp_path: Path) -> None:
    """The SDP of calls that were is read in the service's records."""
    sdp = "v=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 4000 RTP/AVP 0\r\n"
    text = (
        "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n"
        f"Content-Length: {len(sdp)}\r\n\r\n{sdp}"
    )
    line = {"t": 1.0, "dir": "out", "transport": "udp", "peer": "203.0.113.1:5060", "first": "", "text": text}
    (tmp_path / "x.ladder.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "broken.ladder.jsonl").write_text("{}\n")
    assert names(network.recorded(tmp_path)) == {"private-address-in-sdp"}
    (tmp_path / "x.ladder.jsonl").write_text(json.dumps({**line, "peer": "10.0.0.6:5060"}) + "\n")
    assert not names(network.recorded(tmp_path))


# Files


def repository(directory: Path) -> None:
    """One that holds `.env`."""
    for command in ("git init -q", "git add .env"):
        subprocess.run(command.split(), cwd=directory, check=True)


async def test_secrets(tmp_path: Path) -> None:
    """Files that others can read, that are in the repository, or hold passwords are told; none of them says a
    secret."""
    env, trunks = tmp_path / ".env", tmp_path / "trunks.yaml"
    env.write_text("LIVEKIT_API_SECRET=geheim\n")
    env.chmod(0o644)
    trunks.write_text("inbound:\n  - name: a\n    auth_password: geheim\nrules:\n  - pin: 1234\n")
    repository(tmp_path)
    found = list(await files.secrets(context(directory=tmp_path)))
    assert names(found) == {"env-readable", "env-in-git", "plain-secret"}
    assert len(found) == 4
    assert "geheim" not in repr(found) and "1234" not in repr(found)


async def test_kept_secrets(tmp_path: Path) -> None:
    """Files that are kept are well; a key that everybody knows is not."""
    env = tmp_path / ".env"
    env.write_text("LIVEKIT_API_SECRET=geheim\n")
    env.chmod(0o600)
    (tmp_path / "trunks.yaml").write_text("inbound:\n  - auth_password: ${TRUNK_PASSWORD}\n")
    assert not await files.secrets(context(directory=tmp_path))
    assert names(await files.secrets(context(directory=tmp_path, key="devkey"))) == {"familiar-key"}


# Providers


def provider_settings(address: str, key: str = "good") -> dict[str, str]:
    """All three at one server."""
    base = f"http://{address}"
    return {
        **{f"{each.name}_API_KEY": key for each in providers.PROVIDERS},
        "DEEPGRAM_BASE_URL": f"{base}/v1/listen",
        "OPENAI_BASE_URL": f"{base}/v1",
        "CARTESIA_BASE_URL": base,
    }


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, None),
        (404, None),
        (401, "provider-key-refused"),
        (429, "provider-limit"),
        (503, "provider-failing"),
    ],
)
async def test_providers(status: int, name: str | None) -> None:
    """Each provider is asked with its own header; a refused key is told without the key."""
    asked: dict[str, dict[str, str]] = {}

    def answer(path: str, headers: dict[str, str]) -> tuple[int, str]:
        asked[path] = headers
        return status, formatdate()

    async with web(answer) as address:
        found = await providers.keys(context(settings=provider_settings(address, "geheim")))
    assert set(asked) == {"/v1/projects", "/v1/models", "/voices/?limit=1"}
    assert asked["/v1/projects"]["authorization"] == "Token geheim"
    assert asked["/v1/models"]["authorization"] == "Bearer geheim"
    assert asked["/voices/?limit=1"]["x-api-key"] == "geheim"
    assert names(found) == ({name} if name else set())
    assert "geheim" not in repr(found)


async def test_provider_away_and_missing() -> None:
    """A provider that does not answer, and a key that is not set, are errors; none set at all is no fault."""
    found = await providers.keys(context(settings=provider_settings("127.0.0.1:1")))
    assert names(found) == {"provider-unreachable"}
    settings = provider_settings("127.0.0.1:1")
    del settings["OPENAI_API_KEY"], settings["OPENAI_BASE_URL"]
    assert "provider-key-missing" in names(await providers.keys(context(settings=settings)))
    with pytest.raises(CannotRun):
        await providers.keys(context())


async def test_local_speech() -> None:
    """With the local speech servers those are asked, and no provider."""
    stack = LocalStack("s", os.getpid(), "/x", "ws://x", "k", "s", "", "", "", "a", ())
    async with web(lambda *_: (200, formatdate())) as address:
        assert not await providers.keys(context(stack=replace(stack, speech_url=f"http://{address}")))
    found = await providers.keys(context(stack=replace(stack, speech_url="http://127.0.0.1:1")))
    assert names(found) == {"speech-servers-silent"}


# The test call, and the run as a whole


@pytest.mark.parametrize(
    ("placed", "name"),
    [
        (trial_call.Placed(200, "OK", 0.3, 0.5), None),
        (trial_call.Placed(200, "OK", 0.3, None), "test-call-mute"),
        (trial_call.Placed(404, "Not Found", None, None), "test-call-refused"),
        (trial_call.Placed(408, "", None, None), "test-call-rang"),
        (trial_call.Placed(0, "", None, None), "test-call-silent"),
    ],
)
def test_judge(placed: trial_call.Placed, name: str | None) -> None:
    """A call that was refused, rang, or stayed mute is told as what it was."""
    assert names(trial_call.judge(placed, "host")) == ({name} if name else set())


async def test_run() -> None:
    """A check that fails, hangs or cannot run hides nothing of the others."""

    async def broken(_: Context) -> list[Finding]:
        raise KeyError("x")

    async def slow(_: Context) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    async def cannot(_: Context) -> list[Finding]:
        raise CannotRun("no reason")

    async def bad(_: Context) -> list[Finding]:
        return [Finding("bad", "error", "it is bad")]

    async def good(_: Context) -> list[Finding]:
        return []

    checks = [Check(each.__name__, each, "fine", 0.05) for each in (broken, slow, cannot, good, bad)]
    done: list[str] = []
    report = await run(context(), checks, lambda check: done.append(check.name))
    assert [(each.name, each.severity) for each in report.findings] == [
        ("bad", "error"), ("broken", "skipped"), ("slow", "skipped"), ("cannot", "skipped"), ("good", "ok"),
    ]  # fmt: skip
    assert not report.works
    assert sorted(done) == sorted(check.name for check in checks)


def test_severities() -> None:
    """Findings are sorted by gravity, and the gravest speaks for all."""
    found = [Finding("a", "ok", ""), Finding("b", "warning", ""), Finding("c", "error", "")]
    assert [each.name for each in ordered(found)] == ["c", "b", "a"]
    assert (worst(found), worst([])) == ("error", "ok")


def test_names_are_unique() -> None:
    """Every check has a name of its own, and says what is well."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.well for check in CHECKS)


def test_not_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the doctor says that, and ends with 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(build(), ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["findings"][0]["name"] == "livekit-not-configured"
