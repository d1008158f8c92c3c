"""`sip serve --host`: signalling and audio on that address, none of it on 127.0.0.1."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from sip.service.signalling import sdp
from tests.stack.edge_kit import OFFER
from tests.stack.rig import Caller, rig

pytestmark = pytest.mark.stack

HOST, FAR = "127.0.0.2", "127.0.0.3"
SECONDS = 1.5


async def test_audio_is_carried_on_the_address_that_was_asked_for(
    livekit_server: Path, tmp_path: Path
) -> None:
    """SDP names it with a port of the range, RTP comes from there and is taken there, in both directions."""
    settings = {"SIP_HOST": HOST, "SIP_RTP_PORTS": "42000-42009"}
    async with (
        rig(livekit_server, tmp_path, **settings) as stack,
        stack.talker("tone"),
        Caller(stack.sip_address) as phone,
    ):
        assert stack.sip_address.startswith(f"{HOST}:")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
            rtp.bind((FAR, 0))
            rtp.setblocking(False)
            offer = OFFER.replace(b"127.0.0.1", FAR.encode()).replace(b"40000", b"%d" % rtp.getsockname()[1])
            ok = await phone.call(body=offer)
            answer = sdp.audio(ok.body)
            assert answer.address == HOST
            assert b"IP4 127.0.0.1" not in ok.body
            assert 42_000 <= answer.port <= 42_008
            assert f"sip:{HOST}:" in ok.headers["Contact"]
            heard = await talk(rtp, (HOST, answer.port))
        phone.send(phone.build("BYE"))
        await phone.response(200, "BYE")
        written = await stack.record()
    assert {source for _, source in heard} == {(HOST, answer.port)}
    voiced = [data for data, _ in heard if len(set(data[12:])) > 4]
    assert len(voiced) > SECONDS / 0.02 / 2, "the talker's tone reaches the far end"
    assert written["quality"]["packets"] > SECONDS / 0.02 / 2, "the far end's audio arrives"


async def talk(rtp: socket.socket, to: tuple[str, int]) -> list[tuple[bytes, tuple[str, int]]]:
    """Send a packet every 20 ms; what came meanwhile, each with its source."""
    heard: list[tuple[bytes, tuple[str, int]]] = []
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(int(SECONDS / 0.02)):
        rtp.sendto(struct.pack("!BBHII", 0x80, 0, number, number * 160, 7) + bytes(range(160)), to)
        await asyncio.sleep(max(0.0, started + number * 0.02 - loop.time()))
        while True:
            try:
                heard.append(rtp.recvfrom(2048))
            except BlockingIOError:
                break
    return heard
