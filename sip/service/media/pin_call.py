"""A call in a media process whose caller must type a PIN: answered in no room, then let into one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sip.service.control import Answering, CallSpec
from sip.service.media.call import Host, MediaCall, Over, Refused
from sip.service.media.limits import NOBODY_HEARD
from sip.service.media.loopback import RTP_PORTS, confine
from sip.service.media.near_leg import NearLeg
from sip.service.media.player import BEEP, Player


class MediaPinCall(MediaCall):
    """One call. The edge says what it hears, reads its keys and lets it in."""

    def __init__(self, host: Host, spec: CallSpec) -> None:
        super().__init__(host, spec)
        self._player: asyncio.Future[Player] = self._loop.create_future()
        self._admitted: asyncio.Future[CallSpec] = self._loop.create_future()

    def play(self, sound: str, answer: Callable[[str], None]) -> None:
        """Let the caller hear this; `answer` hears when it is over."""
        self._spawn(self._play(sound, answer))

    def admit(self, spec: CallSpec) -> None:
        """The PIN was right."""
        if not self._admitted.done():
            self._admitted.set_result(spec)

    async def _answer(self) -> None:
        near = await self._until(self._invited)
        await self._until(self._host.channel.request(Answering(self.key, {})))
        await self._until(near.answer())
        player = Player(self._host.clock, near.audio(), await self._until(near.rate()))
        confine(RTP_PORTS)
        self._player.set_result(player)
        try:
            self.spec = await self._until(self._admitted)
            await self._enter(near, player)
            await self._over
        finally:
            player.stop()

    async def _enter(self, near: NearLeg, player: Player) -> None:
        """Into the room; who is answered already waits there for the agent as long as another rings."""
        self.room.enter(self.spec.room, dict(self.spec.remote_headers))
        beep = self._spawn(player.play(BEEP))
        self._agent_due = True
        try:
            async with asyncio.timeout(self.spec.ringing_timeout or None):
                await self._join()
                await self._until(beep)
                await self._activate(near)
                await self._until(self._heard)
        except TimeoutError as error:
            raise Refused(480, NOBODY_HEARD) from error
        self._agent_due = False

    async def _play(self, sound: str, answer: Callable[[str], None]) -> None:
        try:
            player = await self._until(self._player)
            await self._until(player.play(sound))
        except Over:
            answer("the call is over")
        else:
            answer("")
