"""Joining a room, as far as what the library is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from livekit import rtc
from livekit.rtc import _ffi_client

from sip.service.media.join_once import join_once


class Asked(Exception):
    """Ends a request when it has come."""


class Client:
    """The library's native part: takes a request, and nothing happens."""

    def __init__(self) -> None:
        self.queue = _ffi_client.FfiQueue[Any]()
        self.requests: list[Any] = []

    def request(self, message: Any) -> Any:
        """One request."""
        self.requests.append(message)
        raise Asked


async def test_a_join_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would join again after 15 s, when the call is over, and make a deleted room anew."""
    client = Client()
    monkeypatch.setattr(_ffi_client.FfiClient, "_instance", client)
    for retries in (False, True):
        with pytest.raises(Asked):
            await rtc.Room().connect("ws://127.0.0.1:1", "token", rtc.RoomOptions(connect_timeout=1))
        assert client.requests[-1].connect.options.HasField("join_retries") is retries
        join_once(client)
    options = client.requests[-1].connect.options
    assert (options.join_retries, options.connect_timeout_ms) == (0, 1000)
