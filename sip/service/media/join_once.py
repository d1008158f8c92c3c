"""A room is joined once or not at all.

`livekit.rtc` tries up to four times, each for 15 s, with the same token. By the second try the call that
wanted the room is over, and if the room was deleted meanwhile a join makes it again, with its agent. The
library has the setting and no name for it in `RoomOptions`, so it is put into the request on its way.
"""

from __future__ import annotations

from typing import Any, Protocol


class Client(Protocol):
    """What hands requests to the library's native part (`livekit.rtc._ffi_client.FfiClient`)."""

    request: Any
    """`request(FfiRequest) -> FfiResponse`."""


def join_once(client: Client) -> None:
    """From now on no join of this process is repeated."""
    request = client.request

    def once(message: Any) -> Any:
        if message.WhichOneof("message") == "connect":
            message.connect.options.join_retries = 0
        return request(message)

    client.request = once
