"""The worker takes calls by their number, and tells LiveKit so."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.worker import PhoneServer, build_server, load


class Server(PhoneServer):
    """A server with as many calls as a test wants."""

    calls = 0

    @property
    def active_jobs(self) -> Any:
        return [None] * self.calls


def request(answers: list[str], server: Server | None = None) -> Any:
    """A job request that writes down what became of it."""

    async def accept() -> None:
        answers.append("accepted")
        if server is not None:  # while the job starts, another request arrives
            await server.take(request(answers))

    async def reject(*, terminate: bool) -> None:
        answers.append(f"rejected, terminate={terminate}")

    return SimpleNamespace(accept=accept, reject=reject, room=SimpleNamespace(name="r"))


@pytest.mark.parametrize(("calls", "reported"), [(0, 0.0), (1, 0.15), (3, 0.45), (4, 1.0), (9, 1.0)])
def test_the_load_is_the_share_of_calls(calls: int, reported: float):
    """Below 0.7 as long as there is room, since livekit-server asks no worker above that; then full."""
    server = Server()
    server.max_calls, server.calls = 4, calls
    assert load(server) == pytest.approx(reported)


async def test_a_call_too_many_is_left_to_other_workers():
    """At the limit a request is refused without ending the job, so that the next worker is asked."""
    server, answers = Server(), cast(list[str], [])
    server.max_calls, server.calls = 2, 1
    await server.take(request(answers))
    server.calls = 2
    await server.take(request(answers))
    assert answers == ["accepted", "rejected, terminate=False"]


async def test_calls_that_are_just_starting_count():
    """Two requests at once do not both get the last place."""
    server, answers = Server(), cast(list[str], [])
    server.max_calls = 1
    await server.take(request(answers, server))
    assert answers == ["accepted", "rejected, terminate=False"]


def test_the_server_listens_on_loopback_and_keeps_processes_warm(monkeypatch: pytest.MonkeyPatch):
    """What the settings say arrives in the framework's server, also when other settings are missing."""
    monkeypatch.setenv("AGENT_NAME", "reception")
    for name in ("DEEPGRAM", "OPENAI", "CARTESIA"):
        monkeypatch.setenv(f"{name}_API_KEY", "x")
    monkeypatch.setenv("AGENT_HTTP_PORT", "0")
    monkeypatch.setenv("AGENT_MAX_CALLS", "5")
    server = build_server()
    assert (server._host, server._port, server.max_calls, server._agent_name) == (
        "127.0.0.1",
        0,
        5,
        "reception",
    )
    monkeypatch.setenv("AGENT_HTTP_PORT", "none")
    assert build_server()._host == "127.0.0.1"
