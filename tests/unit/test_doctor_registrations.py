"""What the doctor says of extensions that should be registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from sip import registered
from sip.api.connect import Target
from sip.api.live import Live
from sip.doctor import registrations
from sip.doctor.context import CannotRun, Context
from sip.model import InboundTrunk, Registration, State
from sip.registered import Registered

SERVICE = "127.0.0.1:5060"
FILE = (
    'registrations:\n  desk: {registrar: pbx.example, username: "1001", auth_password: "${PBX_PASSWORD}"}\n'
)
NOW = 1000.0


@pytest.fixture(autouse=True)
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State files of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class FakeLive:
    """A server with a trunk for the extension."""

    async def fetch(self) -> State:
        """The state."""
        return State(inbound=(InboundTrunk("pbx", "ST_1", ("+1001",)),))


def context(directory: Path, url: str = "ws://127.0.0.1:1", **settings: str) -> Context:
    """A machine that runs `sip serve`, with a file that wants an extension."""
    (directory / "trunks.yaml").write_text(FILE)
    found: dict[str, Any] = {"settings": settings, "directory": directory}
    return Context(Target(url, "key", "secret", "test"), cast(Live, FakeLive()), **found)


async def test_a_service_that_was_not_told_of_the_file(tmp_path: Path) -> None:
    """The file wants an extension and the service knows of none: the mend is the flag."""
    [finding] = await registrations.registrations(context(tmp_path, REDIS_URL="redis://x"))
    assert (finding.name, finding.severity) == ("registration-not-served", "warning")
    assert "sip serve --registrations trunks.yaml" in finding.mend and "desk" in finding.what


async def test_nobody_but_sip_serve_registers(tmp_path: Path) -> None:
    """Where LiveKit Cloud or livekit-sip carries the calls, nobody will."""
    for url, who in (("wss://p.livekit.cloud", "LiveKit Cloud"), ("ws://192.0.2.1", "livekit-sip")):
        [finding] = await registrations.registrations(context(tmp_path, url))
        assert finding.name == "registration-not-served" and who in finding.what


async def test_a_registered_extension_is_well(tmp_path: Path) -> None:
    """Nothing is said of what the running service has registered."""
    registered.save(SERVICE, [Registered("desk", "registered", 200)])
    assert not await registrations.registrations(context(tmp_path, REDIS_URL="redis://x"))


async def test_a_service_that_died_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state file of a dead service does not count."""

    def kill(*_: object) -> None:
        raise ProcessLookupError

    registered.save(SERVICE, [Registered("desk", "registered", 200)])
    monkeypatch.setattr("os.kill", kill)
    [finding] = await registrations.registrations(context(tmp_path, REDIS_URL="redis://x"))
    assert finding.name == "registration-not-served"


async def test_without_extensions_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    """No file, or a file without registrations, is no finding."""
    wanted = context(tmp_path, REDIS_URL="redis://x")
    (tmp_path / "trunks.yaml").write_text("inbound:\n")
    with pytest.raises(CannotRun, match="no extension"):
        await registrations.registrations(wanted)
    (tmp_path / "trunks.yaml").write_text("inbound: [")
    with pytest.raises(CannotRun, match="sip plan"):
        await registrations.registrations(wanted)


@pytest.mark.parametrize(
    ("state", "name", "severity"),
    [
        (Registered("desk", "refused", 403, "no", "Check it"), "registration-refused", "error"),
        (Registered("desk", "lost", 0, "silent"), "registration-lost", "error"),
        (Registered("desk", "lost", 503, "busy", until=NOW + 60), "registration-failing", "warning"),
        (Registered("desk", "trying"), "registration-trying", "info"),
        (Registered("desk", "registered", 200, behind_nat=True), "registration-nat", "warning"),
        (Registered("other", "registered", 200), "registration-not-served", "warning"),
    ],
)
def test_each_state_has_its_finding(state: Registered, name: str, severity: str) -> None:
    """What keeps calls away is an error; what may soon, a warning."""
    [finding] = registrations.find(["desk"], [state], "trunks.yaml", NOW)
    assert (finding.name, finding.severity) == (name, severity)


def test_an_extension_without_a_trunk_is_told() -> None:
    """Registered is not enough: a trunk must take the extension's calls, by its number or by having none."""
    desk = Registration("desk", "pbx.example", "1001")
    [finding] = registrations.find_trunkless([desk], State(inbound=(InboundTrunk(numbers=("+1002",)),)))
    assert (finding.name, finding.subject) == ("registration-without-trunk", "desk")
    for numbers in (("1001",), ("+1001",), ()):
        assert not list(registrations.find_trunkless([desk], State(inbound=(InboundTrunk(numbers=numbers),))))
