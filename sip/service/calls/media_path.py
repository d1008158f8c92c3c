"""Where a call's RTP runs: straight from the far end to baresip, on loopback, or through a relay.

With a relay each side's SDP reaches the other with the relay's address in it. Everything between the legs
(`Session`, renegotiation) sees what the far end sees; only what the near leg says and hears is translated.
"""

from __future__ import annotations

from collections.abc import Callable

from sip.service.control import FarMedia, Message, NearMedia, Relayed
from sip.service.signalling import sdp
from sip.service.signalling.peer import Peer, is_private

HOST = "127.0.0.1"


class MediaPath:
    """One call's. Until `open` SDP passes unchanged. `own_host` is our address as the far end reaches it."""

    def __init__(self, send: Callable[[Message], None], own_host: Callable[[Peer], str]) -> None:
        self._send, self._own_host = send, own_host
        self._relay: Relayed | None = None
        self.far: Peer | None = None
        """Whom the far leg talks to."""

    def open(self, relay: Relayed) -> None:
        """The media process has opened a relay."""
        self._relay = relay

    def to_near(self, body: bytes) -> bytes:
        """The far end's SDP, as the near leg gets it."""
        if self._relay is None or not body:
            return body
        try:
            audio = sdp.audio(body)
            told = sdp.readdress(body, HOST, self._relay.near_port)
        except ValueError:
            return body
        self._send(FarMedia(self._relay.key, audio.address, audio.port, self._public(audio.address)))
        return told

    def to_far(self, body: bytes) -> bytes:
        """The near leg's SDP, as the far end gets it."""
        if self._relay is None or self.far is None or not body:
            return body
        try:
            audio = sdp.audio(body)
            told = sdp.readdress(body, self._own_host(self.far), self._relay.far_port)
        except ValueError:
            return body
        self._send(NearMedia(self._relay.key, audio.port))
        return told

    def _public(self, address: str) -> str:
        """The address that a far end behind a NAT has for us; empty when it is not behind one."""
        hidden = self.far is not None and is_private(address) and not is_private(self.far.host)
        return self.far.host if hidden and self.far else ""
