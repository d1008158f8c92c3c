"""baresip's sockets kept to loopback: it binds those of RTP and of its resolver to every interface.

Nobody but the edge's own machine has business with them, and what reached them from elsewhere would be heard
in a call. `SO_BINDTODEVICE` (socket(7)) needs no privilege for a socket that has no device yet (Linux 5.7).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from pathlib import Path

ANY_PORTS = (1, 65_535)
RTP_PORTS = (20_002, 32_766)
"""For baresip's RTP: apart from those of a relay (`SIP_RTP_PORTS`) and from those that systems give out."""
_LOOPBACK = b"lo\0"


def confine(ports: tuple[int, int]) -> int:
    """Bind this process's UDP sockets on all interfaces, with one of these ports, to the loopback interface.

    Returns how many there were. Those that are bound already are passed over; elsewhere than on Linux, and
    where the kernel refuses, nothing changes.
    """
    if sys.platform != "linux":
        return 0
    done = 0
    for path in Path("/proc/self/fd").iterdir():
        # It may be closed by another thread meanwhile; then there is nothing to do.
        with contextlib.suppress(OSError):
            descriptor = int(path.name)
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as ours:
                    done += _confine(ours, ports)
    return done


def _confine(ours: socket.socket, ports: tuple[int, int]) -> bool:
    """Raises `OSError` where the kernel refuses."""
    if ours.family not in (socket.AF_INET, socket.AF_INET6) or ours.type != socket.SOCK_DGRAM:
        return False
    host, port = ours.getsockname()[:2]
    if host not in ("0.0.0.0", "::") or not ports[0] <= port <= ports[1]:
        return False
    if ours.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).strip(b"\0"):
        return False
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _LOOPBACK)
    return True
