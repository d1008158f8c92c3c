"""Sockets that a library opened on all interfaces, kept to loopback."""

from __future__ import annotations

import socket
import sys

import pytest

from sip.service.media.loopback import confine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_BINDTODEVICE is of Linux")


def bound(host: str) -> socket.socket:
    """A UDP socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.settimeout(1)
    return made


def device(of: socket.socket) -> bytes:
    """The interface that a socket is bound to."""
    return of.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).strip(b"\0")


def test_only_what_stands_on_all_interfaces() -> None:
    """Of the ports asked for, once; it is still reached on loopback, and stays open."""
    with bound("0.0.0.0") as wide, bound("127.0.0.1") as narrow, bound("0.0.0.0") as other:
        port = wide.getsockname()[1]
        assert confine((port, port)) == 1
        assert confine((port, port)) == 0
        assert [device(each) for each in (wide, narrow, other)] == [b"lo", b"", b""]
        narrow.sendto(b"hello", ("127.0.0.1", port))
        assert wide.recv(100) == b"hello"
