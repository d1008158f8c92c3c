"""A media process: `python -m sip.service.media.process --fd N`. It carries calls between baresip and rooms.

The edge starts it with one end of a socket pair and tells it what to do (`sip.service.control`); when
that end closes, the process hangs up and exits. It listens on a private SIP port on 127.0.0.1 and
accepts only near legs whose key the edge has announced.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from baresip import Account, BaresipError, Config
from baresip.call import Call
from baresip.runtime import Runtime
from baresip.ua import UserAgent

from sip.errors import ServiceError
from sip.service import logs
from sip.service.control import (
    Admit,
    Attributes,
    CallSpec,
    Channel,
    Dial,
    Digits,
    Drain,
    End,
    Ended,
    Expect,
    FarMedia,
    Hold,
    Load,
    Message,
    NearMedia,
    Play,
    Ready,
    Relayed,
    Transferring,
    TransferTone,
)
from sip.service.media.bridge import Clock
from sip.service.media.call import MediaCall
from sip.service.media.loopback import ANY_PORTS, RTP_PORTS, confine
from sip.service.media.pin_call import MediaPinCall
from sip.service.media.relay import NoPort, Relay, Relays
from sip.service.media.room_audio import keep_warm

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
CODECS = ("G722/16000/1", "PCMU/8000/1", "PCMA/8000/1")
LOAD_SECONDS = 1.0
PROBE_SECONDS = 0.1
"""How often the event loop's lateness is looked at."""
PRIORITY = -10
"""Niceness wished for: audio that comes late is lost, what else this machine does can wait."""
SWITCH_SECONDS = 0.001
"""How long one Python thread may keep the others waiting; audio comes on threads of its own."""
CONTROL_LINE = 1_048_576
"""Bytes of the longest control message."""
_KEY = re.compile(r"<?sips?:([^@;>]+)@")


class MediaProcess:
    """All calls of this process."""

    agent: UserAgent
    channel: Channel

    def __init__(self) -> None:
        self.clock = Clock()
        self._runtime = Runtime()
        self._calls: dict[str, MediaCall] = {}
        self._relays: dict[str, Relay] = {}
        self._relaying = Relays()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handles = 1
        self._draining = False
        self._done = asyncio.Event()

    async def run(self, control: socket.socket) -> None:
        """Until the edge goes, or until the last call is over when it said `Drain`."""
        reader, writer = await asyncio.open_connection(sock=control, limit=CONTROL_LINE)
        self.channel = Channel(reader, writer, self._on_message)
        listening = asyncio.create_task(self.channel.run())
        port = await self._start()
        self._warm = keep_warm()
        self.channel.send(Ready(pid=os.getpid(), sip_port=port))
        watching = asyncio.create_task(self._watch())
        done = asyncio.create_task(self._done.wait())
        await asyncio.wait({listening, done}, return_when=asyncio.FIRST_COMPLETED)
        for call in [*self._calls.values()]:
            call.end("the service stops")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in (watching, done, listening):
            task.cancel()
        await asyncio.gather(watching, done, listening, return_exceptions=True)
        self.channel.close()
        self.clock.close()
        self._relaying.close()
        await self._runtime.close()

    def stop(self) -> None:
        """Hang up everything and go."""
        self._done.set()

    async def _start(self) -> int:
        port = _free_port()
        await self._runtime.start(configuration(port))
        if _is_free(port):
            raise ServiceError("the private SIP port cannot be opened", f"UDP {HOST}:{port}")
        confine(ANY_PORTS)
        account = Account(
            "media", HOST, "", reg_interval=0, audio_codecs=CODECS, extra_params=("catchall=yes",)
        )
        self.agent = await UserAgent.create(self._runtime, account)
        self.agent.on_incoming(self._on_incoming)
        return port

    def _on_incoming(self, near: Call) -> None:
        self._handles += 1
        confine(RTP_PORTS)
        match = _KEY.search(near.headers.get("To", ""))
        call = self._calls.get(match.group(1)) if match else None
        if call is None or not call.invite(near):
            logger.warning("an INVITE that nobody announced is rejected")
            self._spawn(_reject(near))

    def _on_message(self, message: Message, answer: Callable[[str], None]) -> None:
        match message:
            case Expect(spec=spec) | Dial(spec=spec):
                try:
                    self._open_relay(spec)
                except (NoPort, OSError) as error:
                    answer(f"no RTP: {error}")
                    self.channel.send(Ended(spec.key, f"no RTP: {error}"))
                else:
                    self._begin(message, spec, answer)
            case Play(key=key, sound=sound):
                if isinstance(call := self._calls.get(key), MediaPinCall):
                    call.play(sound, answer)
                else:
                    answer("no call that is asked for a PIN")
            case Admit(spec=spec):
                if isinstance(call := self._calls.get(spec.key), MediaPinCall):
                    call.admit(spec)
            case Drain():
                self._draining = True
                self._leave_if_drained()
            case _:
                self._tell(message)

    def _begin(self, message: Expect | Dial, spec: CallSpec, answer: Callable[[str], None]) -> None:
        call = MediaPinCall(self, spec) if spec.asks_pin else MediaCall(self, spec)
        if isinstance(message, Dial):
            self._handles += 1
            self._carry(call, call.run_outbound(answer))
        else:
            self._carry(call, call.run_inbound())
            answer("")

    def _open_relay(self, spec: CallSpec) -> None:
        """Raises `NoPort` or `OSError`; nothing for a call that needs no relay."""
        if not spec.rtp_host:
            return
        relay = self._relays[spec.key] = Relay(spec.rtp_host, (spec.rtp_low, spec.rtp_high))
        self._relaying.add(relay)
        self.channel.send(Relayed(spec.key, relay.far_port, relay.near_port))

    def _close_relay(self, key: str) -> None:
        if relay := self._relays.pop(key, None):
            self._relaying.remove(relay)

    def _tell(self, message: Message) -> None:
        key = str(getattr(message, "key", ""))
        call = self._calls.get(key)
        match message:
            case End() if call is None:
                self.channel.send(Ended(key, "the call is unknown"))
            case _ if call is None:
                return
            case End(reason=reason):
                call.end(reason)
            case Attributes(values=values, remote_headers=remote_headers):
                call.set_attributes(values, remote_headers)
            case Digits(digits=digits):
                call.press(digits)
            case TransferTone(on=on):
                call.ring_caller(on)
            case Transferring(on=on):
                call.transferring(on)
            case Hold(on=on):
                call.hold(on)
            case FarMedia() if relay := self._relays.get(key):
                relay.towards_far(message.host, message.port, message.behind_nat)
            case NearMedia(port=port) if relay := self._relays.get(key):
                relay.towards_near(port)
            case _:
                logger.warning("an unexpected control message", extra={"kind": type(message).__name__})

    def _carry(self, call: MediaCall, course: Any) -> None:
        self._calls[call.key] = call

        async def carry() -> None:
            try:
                await course
            finally:
                del self._calls[call.key]
                self._close_relay(call.key)
                self._leave_if_drained()

        self._spawn(carry())

    def _leave_if_drained(self) -> None:
        if self._draining and not self._calls:
            self._done.set()

    async def _watch(self) -> None:
        """Tell the edge every second how this process does, and look after the calls' limits."""
        loop = asyncio.get_running_loop()
        worst, told = 0.0, loop.time()
        while True:
            due = loop.time() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            now = loop.time()
            worst = max(worst, now - due)
            if now - told >= LOAD_SECONDS:
                self.channel.send(Load(len(self._calls), self._handles, round(worst * 1000, 1)))
                worst, told = 0.0, now
                for call in [*self._calls.values()]:
                    call.check(time.monotonic())

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def configuration(port: int) -> Config:
    """baresip on one private port: loopback, UDP, no jitter buffer (rooms have one), any number of calls."""
    lines = (
        f"sip_listen {HOST}:{port}",
        "sip_transports udp",
        "audio_jitter_buffer_type off",
        f"rtp_ports {RTP_PORTS[0]}-{RTP_PORTS[1]}",
    )
    return Config(
        net_interface=HOST,
        expose_headers=("To",),
        max_concurrent_calls=None,
        extra_config_text="\n".join(lines) + "\n",
    )


async def _reject(near: Call) -> None:
    try:
        await near.reject()
    except BaresipError as error:
        logger.info("an unannounced call was gone already", extra={"error": str(error)})


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def _main(descriptor: int) -> None:
    process = MediaProcess()
    loop = asyncio.get_running_loop()
    # Ctrl-C reaches the whole process group; the edge decides what it means.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, process.stop)
    await process.run(socket.socket(fileno=descriptor))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m sip.service.media.process", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="our end of the edge's socket pair")
    parser.add_argument("--log-level", default="INFO", help="how much is logged, as `logging` names it")
    arguments = parser.parse_args()
    logs.start(arguments.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    # Before any thread is started, as each inherits it; only a privileged process may.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    asyncio.run(_main(arguments.fd))


if __name__ == "__main__":
    main()
