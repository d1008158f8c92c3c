"""What nobody wants to happen to a SIP service ends in a truthful code or a BYE, and the next call works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from livekit import api

from lab.stack import Options, background
from sip.local import LocalStack
from tests.stack.edge_kit import OFFER
from tests.stack.rig import Caller, Rig, Talker, number, rig

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def quiet(livekit_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack without worker: the rule of `absent` names an agent that nobody is."""
    options = Options(name="quiet", directory=tmp_path_factory.mktemp("quiet"), agent=False, speech=False)
    with background(options) as stack:

        async def provision() -> None:
            await number(_api(stack), "absent", "absent", ringing=1.5, agent="nobody")
            await number(_api(stack), "late", "late", ringing=8.0, agent="nobody")
            await number(_api(stack), "tone", "tone")

        asyncio.run(provision())
        yield stack


def _api(stack: LocalStack) -> api.LiveKitAPI:
    return api.LiveKitAPI(stack.livekit_url, stack.api_key, stack.api_secret)


def talker(stack: LocalStack, room: str) -> Talker:
    """Somebody who talks in a room of the stack."""
    return Talker(stack.livekit_url, stack.api_key, stack.api_secret, room)


@contextlib.asynccontextmanager
async def caller(address: str, dialled: str = "tone") -> AsyncGenerator[Caller]:
    """A phone that has dialled and hears it ring."""
    async with Caller(address, dialled) as phone:
        phone.send(phone.build("INVITE", body=OFFER))
        await phone.response(180)
        yield phone


@contextlib.asynccontextmanager
async def answered(address: str, dialled: str = "tone") -> AsyncGenerator[Caller]:
    """A phone in a call."""
    async with Caller(address, dialled) as phone:
        await phone.call()
        yield phone


async def callers(stack: LocalStack | Rig, room: str, wanted: int, within: float) -> None:
    """Wait until so many SIP participants are connected to the room; a room that is gone has none."""
    livekit = stack.api() if isinstance(stack, Rig) else _api(stack)
    async with livekit, asyncio.timeout(within):
        while await _count(livekit, room) != wanted:  # noqa: ASYNC110 - the server's list tells nobody
            await asyncio.sleep(0.05)


async def _count(livekit: api.LiveKitAPI, room: str) -> int:
    try:
        found = await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
    except api.TwirpError as error:
        if error.code != api.TwirpErrorCode.NOT_FOUND:
            raise
        return 0
    connected = [each for each in found.participants if each.state == api.ParticipantInfo.State.ACTIVE]
    return len([each for each in connected if each.kind == api.ParticipantInfo.Kind.SIP])


async def test_a_worker_that_is_not_there(quiet: LocalStack) -> None:
    """It rings for the trunk's ringing timeout, then 486 says that nobody was there; the room is left."""
    began = time.monotonic()
    async with caller(quiet.sip_address, "absent") as phone:
        await callers(quiet, "absent", 1, 1.5)
        response = await phone.final(5)
    assert response.code == 486
    assert "Q.850;cause=17" in (response.headers.get("Reason") or "")
    assert 1.4 <= time.monotonic() - began <= 4
    await callers(quiet, "absent", 0, 5)


async def test_cancel_while_nobody_comes(quiet: LocalStack) -> None:
    """A caller who gives up while it rings gets 487 at once, and leaves the room."""
    async with Caller(quiet.sip_address, "late") as phone:
        invite = phone.build("INVITE", body=OFFER)
        phone.send(invite)
        await phone.response(180)
        await callers(quiet, "late", 1, 3)
        phone.send(phone.build("CANCEL", sequence=1, branch=invite.via.parameters["branch"] or ""))
        response = await phone.final(2)
    assert response.code == 487
    await callers(quiet, "late", 0, 5)


async def test_bye_before_the_agent_has_joined(quiet: LocalStack) -> None:
    """A BYE in the early dialog ends the call with 487; an agent who comes later finds nobody."""
    async with Caller(quiet.sip_address, "late") as phone:
        phone.send(phone.build("INVITE", body=OFFER))
        phone.remote = (await phone.response(180)).headers["To"]
        await callers(quiet, "late", 1, 3)
        phone.send(phone.build("BYE"))
        response = await phone.final(2)
    assert response.code == 487
    await callers(quiet, "late", 0, 5)


async def test_a_caller_who_vanishes_while_it_rings(quiet: LocalStack) -> None:
    """His port is closed and nothing of his comes any more: the ringing timeout still ends all."""
    async with caller(quiet.sip_address, "absent"):
        await callers(quiet, "absent", 1, 1.5)
    await callers(quiet, "absent", 0, 6)


async def test_a_deleted_room_hangs_up(quiet: LocalStack) -> None:
    """Deleting the room through the API is a BYE for its caller, within a second or so."""
    async with talker(quiet, "tone"), answered(quiet.sip_address) as phone:
        async with _api(quiet) as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room="tone"))
        bye = await phone.ends(3)
    assert bye.headers.get("Reason")


async def test_a_room_deleted_while_it_rings(quiet: LocalStack) -> None:
    """A caller whose room goes before anybody answered is refused, and does not ring on."""
    async with caller(quiet.sip_address, "late") as phone:
        await callers(quiet, "late", 1, 3)
        async with _api(quiet) as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room="late"))
        response = await phone.final(3)
    assert response.code == 480
    assert response.headers.get("Reason")


async def test_a_removed_participant_is_hung_up_alone(quiet: LocalStack) -> None:
    """Removing one caller's participant is a BYE for him; another in the same room talks on."""
    async with (
        talker(quiet, "tone"),
        answered(quiet.sip_address) as first,
        answered(quiet.sip_address) as second,
    ):
        async with _api(quiet) as livekit:
            found = await livekit.room.list_participants(api.ListParticipantsRequest(room="tone"))
            wanted = [
                each.identity
                for each in found.participants
                if each.attributes.get("sip.callIDFull") == first.call_id
            ]
            assert len(wanted) == 1
            await livekit.room.remove_participant(
                api.RoomParticipantIdentity(room="tone", identity=wanted[0])
            )
        await first.ends(3)
        second.send(second.build("OPTIONS"))
        await second.response(200, "OPTIONS")
        second.send(second.build("BYE"))
        await second.response(200, "BYE")


async def test_a_media_process_killed_in_mid_call(livekit_server: Path, tmp_path: Path) -> None:
    """Its callers get BYE with a 500 as the reason, the room is left, and the next call is answered."""
    async with rig(livekit_server, tmp_path) as made, made.talker("tone"):
        async with answered(made.sip_address) as phone:
            (media,) = _children(made.service.pid)
            os.kill(media, signal.SIGKILL)
            bye = await phone.ends(3)
            assert "cause=500" in (bye.headers.get("Reason") or "")
        await answers_again(made.sip_address, 20)
        assert "a media process died" in made.log("service")


async def test_livekit_server_dies_in_mid_call(livekit_server: Path, tmp_path: Path) -> None:
    """The caller gets BYE, further callers 503; once the server is back, calls are answered again."""
    async with rig(livekit_server, tmp_path) as made:
        async with made.talker("tone"), answered(made.sip_address) as phone:
            made.server.signal(signal.SIGKILL)
            await made.server.exited
            began = time.monotonic()
            async with Caller(made.sip_address) as other:
                other.send(other.build("INVITE", body=OFFER))
                refused = await other.final(5)
            assert refused.code == 503
            assert refused.headers.get("Retry-After")
            bye = await phone.ends(20)
            assert time.monotonic() - began < 12
            assert bye.headers.get("Reason")
        await made.start_server()
        async with made.talker("tone"):
            await answers_again(made.sip_address, 15)


async def test_redis_dies_and_comes_back(livekit_server: Path, tmp_path: Path) -> None:
    """A call that stands goes on without the store; new ones get 503, and work again once it is back."""
    async with rig(livekit_server, tmp_path) as made:
        async with made.talker("tone"), answered(made.sip_address) as phone:
            made.store.signal(signal.SIGKILL)
            await made.store.exited
            assert await _code(made.sip_address) == 503
            phone.send(phone.build("OPTIONS"))
            await phone.response(200, "OPTIONS")
            await made.start_store()
            await made.number("tone", "tone")  # the store kept nothing on disk
            await answers_again(made.sip_address, 20)
            phone.send(phone.build("BYE"))
            await phone.response(200, "BYE")
        assert made.service.exited.done() is False


async def test_drain_lets_the_call_finish(livekit_server: Path, tmp_path: Path) -> None:
    """After TERM new calls and OPTIONS get 503, the running call ends by itself, the service exits with 0."""
    async with (
        rig(livekit_server, tmp_path, SIP_DRAIN_TIMEOUT="20") as made,
        made.talker("tone"),
        answered(made.sip_address) as phone,
    ):
        made.service.stopping = True
        made.service.signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            while (refused := await _code(made.sip_address)) != 503:
                assert refused == 200
        async with Caller(made.sip_address) as other:
            other.send(other.build("OPTIONS"))
            assert (await other.final(3, "OPTIONS")).code == 503
        assert not made.service.exited.done()
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")
        async with asyncio.timeout(8):
            assert await made.service.exited == 0


async def test_all_bad_settings_of_the_service_at_once(tmp_path: Path) -> None:
    """What is missing and what is malformed stand in one message, exit code 2, and no secret among it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SIP_", "LIVEKIT_"))}
    env |= {
        "LIVEKIT_API_SECRET": "do-not-show-this-secret-to-anybody",
        "LIVEKIT_URL": "127.0.0.1:7880",
        "REDIS_URL": "",
        "SIP_PORT": "70000",
        "SIP_MAX_CALLS": "many",
        "SIP_DRAIN_TIMEOUT": "-1",
        "SIP_INVITE_RATE": "nan",
        "SIP_ADVERTISE": "two words",
        "CALL_RECORDS_DIR": "/dev/null/records",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sip.cli", "serve",
        cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    text = errors.decode()
    assert (process.returncode, output) == (2, b"")
    for name in (
        "LIVEKIT_URL", "LIVEKIT_API_KEY", "REDIS_URL", "SIP_PORT", "SIP_MAX_CALLS", "SIP_DRAIN_TIMEOUT",
        "SIP_INVITE_RATE", "SIP_ADVERTISE", "CALL_RECORDS_DIR",
    ):  # fmt: skip
        assert name in text
    assert "do-not-show" not in text
    assert "Traceback" not in text


async def answers_again(address: str, within: float) -> None:
    """Until a call is answered; meanwhile callers are told to come back. Nobody tells when that is."""
    async with asyncio.timeout(within):
        while (code := await _code(address)) != 200:
            assert code == 503
            await asyncio.sleep(0.2)


async def _code(address: str) -> int:
    """The final code of a call; one that is answered is hung up again."""
    async with Caller(address) as phone:
        phone.send(phone.build("INVITE", body=OFFER))
        response = await phone.final(15)
        if response.code == 200:
            phone.remote = response.headers["To"]
            phone.send(phone.build("BYE"))
            await phone.response(200, "BYE")
        return response.code


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]
