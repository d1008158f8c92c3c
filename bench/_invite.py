"""One bare SIP call for `bench.service`: INVITE, 200, ACK, BYE over UDP, timed at the socket."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import cast

TIMEOUT_S = 20.0
RETRANSMIT_S = 0.5


class Refused(Exception):
    """The service answered with another final code, or not at all."""


async def answer_ms(number: str, service: tuple[str, int]) -> float:
    """Milliseconds from the INVITE to its 200; the call is ended at once. Raises `Refused`."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Inbox(inbox), ("127.0.0.1", 0))
    port = cast(tuple[str, int], transport.get_extra_info("sockname"))[1]
    call = _Call(number, service, port)
    try:
        sent = time.perf_counter()
        transport.sendto(call.request("INVITE", 1, call.offer()), service)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                moment, message = await inbox.get()
                code = int(message[8:11]) if message.startswith("SIP/2.0 ") else 0
                if code >= 200 and "1 INVITE" in message:
                    break
        call.tag = _header(message, "To")
        transport.sendto(call.request("ACK", 1), service)
        if code >= 300:
            raise Refused(f"{code} instead of 200")
        transport.sendto(call.request("BYE", 2), service)
        async with asyncio.timeout(TIMEOUT_S):
            while "2 BYE" not in (await inbox.get())[1]:
                pass
        return (moment - sent) * 1000
    except TimeoutError as error:
        raise Refused("no final answer") from error
    finally:
        transport.close()


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self, inbox: asyncio.Queue[tuple[float, str]]) -> None:
        self._inbox = inbox

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._inbox.put_nowait((time.perf_counter(), data.decode(errors="replace")))


class _Call:
    def __init__(self, number: str, service: tuple[str, int], port: int) -> None:
        self._uri = f"sip:{number}@{service[0]}:{service[1]}"
        self._port, self._id = port, secrets.token_hex(8)
        self.tag = f"<{self._uri}>"

    def request(self, method: str, sequence: int, body: str = "") -> bytes:
        branch = f"{self._id}{sequence}" if method != "ACK" else secrets.token_hex(8)
        lines = [
            f"{method} {self._uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self._port};branch=z9hG4bK{branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:bench@127.0.0.1>;tag={self._id}",
            f"To: {self.tag}",
            f"Call-ID: {self._id}",
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:bench@127.0.0.1:{self._port}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def offer(self) -> str:
        # Nobody listens on the discard port: only the answer is timed.
        lines = (
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=-",
            "c=IN IP4 127.0.0.1",
            "t=0 0",
            "m=audio 9 RTP/AVP 0",
        )
        return "\r\n".join(lines) + "\r\n"


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.+?)\r?$", message, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else ""
