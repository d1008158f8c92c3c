"""The way to registrars: the far side of the edge, so that calls come back on the port that registered."""

from __future__ import annotations

import asyncio
from typing import Protocol

from sip.service.signalling.leg import Side, resolve
from sip.service.signalling.messages import Request, Response
from sip.service.signalling.peer import Peer

PING = b"\r\n\r\n"
"""RFC 5626 4.4.1."""


class Link(Protocol):
    """What registering needs of the network; a test puts its own here."""

    async def find(self, peer: Peer) -> Peer:
        """The peer with its name looked up. Raises `OSError`."""
        ...

    def contact(self, peer: Peer, user: str) -> str:
        """Our Contact as this peer should use it."""
        ...

    async def ask(self, request: Request, peer: Peer) -> Response:
        """The final response; one of our own (408, 503) when none comes."""
        ...

    def keep_alive(self, peer: Peer) -> bool:
        """Keep the way open; False when its connection has broken."""
        ...


class FarLink:
    """The far side."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def find(self, peer: Peer) -> Peer:
        """The peer with its name looked up. Raises `OSError`."""
        return await resolve(peer)

    def contact(self, peer: Peer, user: str) -> str:
        """Our Contact as this peer should use it."""
        return self._side.contact(peer, user)

    async def ask(self, request: Request, peer: Peer) -> Response:
        """The final response; whoever stops waiting for it stops the retransmissions, too."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def on_response(response: Response) -> None:
            if response.code >= 200 and not answer.done():
                answer.set_result(response)

        client = self._side.transactions.request(request, peer, on_response)
        try:
            return await answer
        except asyncio.CancelledError:
            client.terminate()
            raise

    def keep_alive(self, peer: Peer) -> bool:
        """Keep the way open; False when its connection has broken."""
        if peer.reliable and not self._side.transport.connected(peer):
            return False
        self._side.transport.send(PING, peer)
        return True
