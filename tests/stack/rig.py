"""Store, livekit-server and SIP service as single processes, so that a test may kill any of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from livekit import api, rtc
from livekit.protocol import sip

from lab import probes
from lab.processes import Command, Process, Supervisor
from lab.stack import livekit_config, parts
from lab.stack.options import new_key, new_secret
from lab.stack.ports import HOST, free_port
from sip.service.signalling.messages import Request, Response, respond
from tests.stack.edge_kit import Phone


class Rig:
    """The three processes of a SIP service at work; each can be started again at its old address."""

    def __init__(self, supervisor: Supervisor, binary: Path, directory: Path) -> None:
        self._supervisor, self._binary, self.directory = supervisor, binary, directory
        self.key, self.secret = new_key(), new_secret()
        self._redis_port, self._port, self._udp_port = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
        self.redis_url, self.url = f"redis://{HOST}:{self._redis_port}", f"ws://{HOST}:{self._port}"
        self.sip_address = ""
        self.store: Process
        self.server: Process
        self.service: Process

    async def start(self, **settings: str) -> None:
        """Start all three; `settings` are the service's."""
        await self.start_store()
        await self.start_server()
        await self.start_service(**settings)

    async def start_store(self) -> None:
        """The store answers."""
        (self.directory / "store").mkdir(exist_ok=True)
        argv = parts.valkey(self._redis_port, self.directory / "store")
        self.store = await self._launch("store", argv)
        await self.store.ready(lambda: probes.redis_ping(self.redis_url), 15)

    async def start_server(self) -> None:
        """livekit-server answers."""
        config = livekit_config.local(
            livekit_config.load(),
            port=self._port,
            udp_port=self._udp_port,
            redis_url=self.redis_url,
            api_key=self.key,
            api_secret=self.secret,
        )
        file = self.directory / "livekit.yaml"
        livekit_config.write(config, file)
        self.server = await self._launch("server", parts.livekit_server(self._binary, file))
        await self.server.ready(lambda: probes.http_ok(f"http://{HOST}:{self._port}/"), 30)

    async def start_service(self, **settings: str) -> None:
        """The SIP service has printed its ready line."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SIP_", "LIVEKIT_"))
        }
        env = kept | {
            "LIVEKIT_URL": self.url,
            "LIVEKIT_API_KEY": self.key,
            "LIVEKIT_API_SECRET": self.secret,
            "REDIS_URL": self.redis_url,
            "SIP_PORT": "0",
            "CALL_RECORDS_DIR": str(self.directory / "records"),
            **settings,
        }
        log = self.directory / "service.log"
        log.unlink(missing_ok=True)
        self.service = await self._launch("service", parts.sip_service(), env)
        ready: dict[str, Any] | None = await self.service.ready(lambda: probes.ready_line(log), 30)
        assert ready
        self.sip_address = ready["sip"]

    async def number(self, name: str, room: str, ringing: float = 0.0, agent: str = "") -> None:
        """A trunk and a rule: who dials `name` gets into `room`, where `agent` is wanted."""
        await number(self.api(), name, room, ringing, agent)

    def api(self) -> api.LiveKitAPI:
        """livekit-server's API."""
        return api.LiveKitAPI(self.url, self.key, self.secret)

    def talker(self, room: str) -> Talker:
        """Somebody who talks in a room."""
        return Talker(self.url, self.key, self.secret, room)

    async def record(self) -> dict[str, Any]:
        """The summary of the only call, once it is written."""
        async with asyncio.timeout(8):
            while True:
                if found := self._records():
                    return found[0]
                await asyncio.sleep(0.02)

    def _records(self) -> list[dict[str, Any]]:
        directory = self.directory / "records"
        return [json.loads(path.read_text()) for path in directory.glob("*.signal.json")]

    def log(self, name: str) -> str:
        """What a part has logged."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    async def _launch(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> Process:
        log = self.directory / f"{name}.log"
        return await self._supervisor.start(
            Command(name, argv, log, dict(os.environ) if env is None else env, self.directory, grace=8.0)
        )


@asynccontextmanager
async def rig(binary: Path, directory: Path, **settings: str) -> AsyncGenerator[Rig]:
    """A rig that is up, with the number `tone` that leads to the room of the same name."""
    async with Supervisor() as supervisor:
        made = Rig(supervisor, binary, directory)
        await made.start(**settings)
        await made.number("tone", "tone")
        yield made


async def number(
    livekit: api.LiveKitAPI, name: str, room: str, ringing: float = 0.0, agent: str = ""
) -> None:
    """Who dials `name` gets into `room`; after `ringing` seconds (0: the default) nobody was there."""
    async with livekit:
        trunk = sip.SIPInboundTrunkInfo(name=name, numbers=[name])
        if ringing:
            trunk.ringing_timeout.FromMilliseconds(int(ringing * 1000))
        made = await livekit.sip.create_inbound_trunk(sip.CreateSIPInboundTrunkRequest(trunk=trunk))
        rule = sip.SIPDispatchRuleInfo(
            name=name,
            trunk_ids=[made.sip_trunk_id],
            rule=sip.SIPDispatchRule(dispatch_rule_direct=sip.SIPDispatchRuleDirect(room_name=room)),
        )
        if agent:
            rule.room_config.CopyFrom(api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=agent)]))
        await livekit.sip.create_dispatch_rule(sip.CreateSIPDispatchRuleRequest(dispatch_rule=rule))


class Talker:
    """Joins a room and says a tone until the end of the block."""

    def __init__(self, url: str, key: str, secret: str, room: str) -> None:
        self._url = url
        grants = api.VideoGrants(room_join=True, room=room)
        self._token = api.AccessToken(key, secret).with_identity("talker").with_grants(grants).to_jwt()
        self.room = rtc.Room()
        self._speaking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Talker:
        await self.room.connect(self._url, self._token)
        source = rtc.AudioSource(8000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        self._speaking = asyncio.create_task(_speak(source))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._speaking:
            self._speaking.cancel()
        await self.room.disconnect()


async def _speak(source: rtc.AudioSource) -> None:
    tone = (8000 * np.sin(2 * np.pi * 400 * np.arange(160) / 8000)).astype(np.int16)
    while True:
        await source.capture_frame(rtc.AudioFrame(tone.tobytes(), 8000, 1, 160))


class Caller(Phone):
    """The scripted phone of the edge's tests, for any number at any address. It sends no audio."""

    def __init__(self, address: str, number: str = "tone") -> None:
        host, _, port = address.rpartition(":")
        super().__init__((host, int(port)))
        self.number, self.remote = number, f"<sip:{number}@edge.example>"

    async def __aenter__(self) -> Caller:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    def build(self, method: str, **fields: Any) -> Request:
        """A request to our number."""
        request = super().build(method, **fields)
        request.uri = f"sip:{self.number}@{self.edge[0]}:{self.edge[1]}"
        return request

    async def final(self, within: float, method: str = "INVITE") -> Response:
        """The final response, whatever it is; that to an INVITE is acknowledged."""
        async with asyncio.timeout(within):
            while True:
                message = await self.received.get()
                if not isinstance(message, Response) or message.sequence_method != method:
                    continue
                if message.code >= 200:
                    break
        if method == "INVITE":
            ack = self.build("ACK", sequence=message.sequence, branch=message.via.parameters["branch"] or "")
            ack.headers.set("To", message.headers["To"])
            self.send(ack)
        return message

    async def ends(self, within: float) -> Request:
        """Wait for the BYE, answer it, and return it."""
        async with asyncio.timeout(within):
            while True:
                message = await self.received.get()
                if isinstance(message, Request) and message.method == "BYE":
                    self.send(respond(message, 200))
                    return message
