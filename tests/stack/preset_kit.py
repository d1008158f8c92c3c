"""For tests that run a preset's far side: its entry in LiveKit, SIPp as the peer, and an ear in the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from livekit import api, rtc
from livekit.protocol import sip as pb
from numpy.typing import NDArray

from lab.stack import Options
from lab.stack.stack import Stack
from sip import registered
from sip.api.connect import Target
from sip.api.live import Live
from sip.local import LocalStack
from sip.presets import load
from sip.presets.use import Use, use
from sip.registered import Registered
from sip.wanted.desired import parse
from tests.stack.rig import Talker
from tests.stack.test_sipp import _HEAD

PASSWORD = "trunk-secret"
"""What the environment variables of presets hold."""
TONE = 400.0
"""Hertz; what `Talker` says."""


def filled(name: str, given: Mapping[str, Sequence[str]], stack: LocalStack) -> Use:
    """A preset for this stack."""
    return use(load(name), given, target="local", agent="nobody", local_address=stack.sip_address)


def write_files(wanted: Use, directory: Path) -> None:
    """The files that the far side reads."""
    for step in wanted.steps:
        if step.file:
            (directory / step.file).write_text(step.text)


@asynccontextmanager
async def applied(wanted: Use, stack: LocalStack) -> AsyncGenerator[None]:
    """The entry, read as `trunks.yaml` and made in LiveKit; it is gone afterwards."""
    state = parse(wanted.document(), "trunks.yaml", dict.fromkeys(wanted.secrets, PASSWORD)).state
    target = Target(stack.livekit_url, stack.api_key, stack.api_secret, "test")
    async with Live(target) as live:
        made = [await live.create(item) for item in (*state.inbound, *state.outbound, *state.rules)]
        try:
            yield
        finally:
            for item in reversed(made):
                await live.delete(item)


@asynccontextmanager
async def registering(
    name: str, directory: Path, environment: Mapping[str, str]
) -> AsyncGenerator[LocalStack]:
    """A stack without worker and speech servers, for a test that is one event loop with it."""
    stack = Stack(
        Options(name=name, directory=directory, agent=False, speech=False, environment=dict(environment))
    )
    await stack.start()
    try:
        yield stack.local
    finally:
        await stack.stop()


async def told(stack: LocalStack, name: str, status: str, since: float = 0) -> Registered:
    """What the service tells of a registration, once it is that; `since`: an end later than this one."""
    async with asyncio.timeout(20):
        while True:
            for state in registered.load(stack.sip_address) or ():
                if (state.name, state.status) == (name, status) and (not since or state.until > since):
                    return state
            await asyncio.sleep(0.05)


def livekit_api(stack: LocalStack) -> api.LiveKitAPI:
    """The API as everybody uses it."""
    return api.LiveKitAPI(stack.livekit_url, stack.api_key, stack.api_secret)


async def rooms(stack: LocalStack) -> set[str]:
    """Names of the rooms that there are."""
    async with livekit_api(stack) as livekit:
        return {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}


async def new_room(stack: LocalStack, before: set[str]) -> str:
    """The room of the call that comes in now."""
    async with asyncio.timeout(15):
        while not (found := await rooms(stack) - before):  # noqa: ASYNC110 - the API tells nobody of rooms
            await asyncio.sleep(0.05)
    return found.pop()


async def close(stack: LocalStack, room: str) -> None:
    """Everybody leaves: who is on the phone gets BYE."""
    async with livekit_api(stack) as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room))


async def dial(stack: LocalStack, name: str, number: str, room: str) -> None:
    """Call out over the trunk of this name; returns when it is answered."""
    async with livekit_api(stack) as livekit:
        trunks = await livekit.sip.list_outbound_trunk(pb.ListSIPOutboundTrunkRequest())
        trunk, *_ = [trunk for trunk in trunks.items if trunk.name == name]
        await livekit.sip.create_sip_participant(
            pb.CreateSIPParticipantRequest(
                sip_trunk_id=trunk.sip_trunk_id,
                sip_call_to=number,
                room_name=room,
                participant_identity="far-end",
                wait_until_answered=True,
            )
        )


async def peer(
    directory: Path, steps: str, transport: str, host: str, port: int, *arguments: str
) -> tuple[int, str]:
    """SIPp at this address: one call by these steps; it sends back what it hears."""
    scenario = directory / "peer.xml"
    scenario.write_text(f"{_HEAD}{steps}</scenario>")
    process = await asyncio.create_subprocess_exec(
        "sipp", "-sf", str(scenario), "-m", "1", "-i", host, "-p", str(port), "-t", f"{transport[0]}1",
        "-rtp_echo", "-nostdin", "-timeout", "30", "-timeout_error", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")[-3000:]


def reply(status: str, body: str = "Content-Length: 0\n\n", tag: str = ";tag=pbx") -> str:
    """Answer what came last, by the way it came."""
    return f"""<send><![CDATA[
SIP/2.0 {status}
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
{body}]]></send>"""


class Ear(Talker):
    """Says a tone in a room, and hears what comes back from the other one there."""

    def __init__(self, stack: LocalStack, room: str) -> None:
        super().__init__(stack.livekit_url, stack.api_key, stack.api_secret, room)
        self._tracks: asyncio.Queue[rtc.Track] = asyncio.Queue()
        self.room.on("track_subscribed", lambda track, *_: self._tracks.put_nowait(track))

    async def __aenter__(self) -> Ear:
        await super().__aenter__()
        return self

    async def hears_tone(self, within: float = 12.0) -> float:
        """Seconds until half a second of the echoed tone had been heard. Fails after `within`."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            stream = rtc.AudioStream(await self._tracks.get(), sample_rate=8000, num_channels=1)
            heard = 0
            try:
                async for event in stream:
                    samples = np.frombuffer(event.frame.data, np.int16).astype(float)
                    heard = heard + len(samples) if _is_tone(samples) else heard
                    if heard >= 4000:
                        return asyncio.get_running_loop().time() - began
            finally:
                await stream.aclose()
        raise AssertionError("the track ended before the tone was heard")


def _is_tone(samples: NDArray[np.float64]) -> bool:
    """Whether most of the power is at the tone's frequency."""
    if np.sqrt(np.mean(samples**2)) < 300:
        return False
    phase = np.exp(-2j * np.pi * TONE * np.arange(len(samples)) / 8000)
    power = 2 * abs(np.dot(samples, phase) / len(samples)) ** 2
    return bool(power > 0.6 * np.mean(samples**2))
