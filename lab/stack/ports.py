"""Ports on loopback: a free one, and a clear word when a wanted one is taken."""

from __future__ import annotations

import errno
import socket

from sip.errors import ServiceError

HOST = "127.0.0.1"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody uses right now.

    Between now and its use somebody may take it: the caller tries again then.
    """
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def check_free(port: int, flag: str, *, udp: bool = False) -> None:
    """Raise `ServiceError` when somebody holds this TCP port (and UDP port, with `udp`).

    `flag` chooses another.
    """
    kinds = [("TCP", socket.SOCK_STREAM), *([("UDP", socket.SOCK_DGRAM)] if udp else [])]
    for label, kind in kinds:
        with socket.socket(socket.AF_INET, kind) as sock:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
                )  # what lingers in TIME_WAIT is free
            try:
                sock.bind((HOST, port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(1)
            except PermissionError as error:
                raise ServiceError(
                    f"port {port} cannot be used",
                    str(error),
                    f"Choose one above 1023 with {flag}, or 0 for any",
                ) from error
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise ServiceError(
                    f"port {port} is taken",
                    f"another program holds {label} {HOST}:{port}",
                    f"Stop it, or choose another port with {flag} (0: any free one)",
                ) from error
