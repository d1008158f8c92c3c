"""What the edge and a media process say to each other: frozen messages, one JSON line each, on a socket pair.

Every call has a `key`, the user part of its near leg's request URI (`sip:<key>@127.0.0.1`), chosen by the
edge. Requests marked "acknowledged" are answered by `Ack` before their sender goes on, so that what they
change is in place before the SIP message that follows it: the two channels have no common order of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

Strings = dict[str, str]


def _strings() -> Strings:
    return {}


@dataclass(frozen=True)
class RoomSpec:
    """Where the participant joins; identity, name, metadata, attributes and room_config are in the token."""

    url: str
    token: str
    name: str


@dataclass(frozen=True)
class CallSpec:
    """Everything that a media process needs to know of a call. Times are seconds; 0 means no limit."""

    key: str
    call_id: str
    """LiveKit's id of the call, `SCL_…`."""
    direction: str
    """`inbound` or `outbound`."""
    room: RoomSpec
    ringing_timeout: float
    max_call_duration: float
    edge: str = ""
    """`host:port` of the edge's near leg, for `Dial`."""
    dtmf: str = ""
    """Digits to send once answered (outbound); `w` is half a second."""
    play_dialtone: bool = False
    """Ring-back tone into the room while the far end rings (outbound)."""
    media_timeout_initial: float = 30.0
    media_timeout: float = 15.0
    """Without any RTP for so long the call ends; not while the far end holds."""
    alone_timeout: float = 10.0
    """With nobody else in the room for so long after the answer the call ends; not during a transfer."""
    remote_headers: Strings = field(default_factory=_strings)
    """Headers of the far end's INVITE, for the `lk.sip.GetRemoteHeaders` room RPC."""
    asks_pin: bool = False
    """Answer at once, in no room: `Play` says what the caller hears, `Admit` brings the room."""
    rtp_host: str = ""
    """Address of this machine for RTP with the far end; empty: baresip's own sockets, on loopback."""
    rtp_low: int = 0
    rtp_high: int = 0
    """The first and the last port for it."""


class Message:
    """A message's name on the wire is its class name."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message.kinds[cls.__name__] = cls


# Edge → media.


@dataclass(frozen=True)
class Expect(Message):
    """Acknowledged. An INVITE for `spec.key` follows on the near leg; join the room when this arrives."""

    spec: CallSpec


@dataclass(frozen=True)
class Dial(Message):
    """Acknowledged once the room is joined. Then media calls `sip:<key>@<edge>` on the near leg."""

    spec: CallSpec


@dataclass(frozen=True)
class Attributes(Message):
    """Set these attributes of the SIP participant (`sip.callStatus`, mapped headers of a 200 OK …)."""

    key: str
    values: Strings
    remote_headers: Strings = field(default_factory=_strings)
    """Headers of the far end's 200 OK; replaces `CallSpec.remote_headers` unless empty."""


@dataclass(frozen=True)
class Digits(Message):
    """The far end pressed these. To the media process by SIP INFO; to the edge by RFC 4733."""

    key: str
    digits: str


@dataclass(frozen=True)
class Play(Message):
    """Acknowledged once the caller has heard it, or something else took its place. Only before `Admit`."""

    key: str
    sound: str
    """Name in `sip.service.media.sounds`, `beep`, or empty for silence."""


@dataclass(frozen=True)
class Admit(Message):
    """The PIN was right: this is the call's room. `spec` takes the place of the one in `Expect`."""

    spec: CallSpec


@dataclass(frozen=True)
class TransferTone(Message):
    """Play (or stop) ring-back towards the caller while a REFER is under way."""

    key: str
    on: bool


@dataclass(frozen=True)
class Transferring(Message):
    """A REFER is under way (or is over): its agent may have left, and the call stands meanwhile."""

    key: str
    on: bool


@dataclass(frozen=True)
class FarMedia(Message):
    """Where the far end wants its RTP, for a call with a relay; port 0: nowhere. See `Relay.towards_far`."""

    key: str
    host: str
    port: int
    behind_nat: str


@dataclass(frozen=True)
class NearMedia(Message):
    """baresip's own RTP port, for a call with a relay."""

    key: str
    port: int


@dataclass(frozen=True)
class Hold(Message):
    """The far end put the call on hold (or took it back): no media timeout meanwhile."""

    key: str
    on: bool


@dataclass(frozen=True)
class End(Message):
    """The call is over for the edge's reason; hang up the near leg if it still stands and leave the room."""

    key: str
    reason: str
    disconnect_reason: str = ""
    """Unused by the room API today; the log's words for why."""


@dataclass(frozen=True)
class Drain(Message):
    """Finish the calls that stand, then exit 0."""


# Media → edge.


@dataclass(frozen=True)
class Ready(Message):
    """First message of a media process: its private SIP port on 127.0.0.1 (UDP)."""

    pid: int
    sip_port: int


@dataclass(frozen=True)
class Relayed(Message):
    """The call has a relay (`CallSpec.rtp_host`); sent before the `Ack` of `Expect` or `Dial`."""

    key: str
    far_port: int
    near_port: int


@dataclass(frozen=True)
class Joined(Message):
    """The room is joined; sent before the `Ack` of `Dial` (optional for inbound calls)."""

    key: str
    participant_id: str
    """LiveKit's id of the SIP participant, `PA_…`: `CreateSIPParticipant` returns it."""


@dataclass(frozen=True)
class Refuse(Message):
    """Acknowledged. The call cannot stand (no room, no agent …): answer the far end with this code."""

    key: str
    code: int
    reason: str


@dataclass(frozen=True)
class Answering(Message):
    """Acknowledged. 200 OK follows on the near leg; `attributes` of the participant, for mapped headers."""

    key: str
    attributes: Strings


@dataclass(frozen=True)
class Active(Message):
    """Media flows both ways and the room knows it (`sip.callStatus` is `active`)."""

    key: str


@dataclass(frozen=True)
class Hangup(Message):
    """Acknowledged. The room's side ends the call; BYE (or CANCEL) with `headers` goes to the far end."""

    key: str
    reason: str
    """`room_deleted`, `participant_removed`, `end_call_rpc`, `media_timeout`, `max_call_duration`,
    `agent gone`, `error: …`."""
    headers: Strings = field(default_factory=_strings)
    attributes: Strings = field(default_factory=_strings)


@dataclass(frozen=True)
class Ended(Message):
    """Last message of a call, after BYE, room and audio are gone: what was measured on the RTP received."""

    key: str
    reason: str
    quality: dict[str, Any] = field(default_factory=dict[str, Any])
    """`{"codec", "packets", "lost", "loss_pct", "jitter_ms", "rtt_ms", "mos", "r", "duration_s"}`; see
    sip.quality. `mos` and `r` are None when no packet was received."""


@dataclass(frozen=True)
class Load(Message):
    """Sent every second: calls that stand, handles used up so far, the event loop's worst lateness in ms."""

    calls: int
    handles: int
    lag_ms: float


# Both ways.


@dataclass(frozen=True)
class Ack(Message):
    """Answer to the request numbered `to`; `error` is empty when it was done."""

    to: int
    error: str = ""


def encode(message: Message, number: int = 0) -> bytes:
    """One JSON line: `{"kind": …, "number": …, fields…}`; a number asks for an `Ack`."""
    body = dataclasses.asdict(message)  # type: ignore[call-overload]
    return json.dumps({"kind": type(message).__name__, "number": number, **body}).encode() + b"\n"


def decode(line: bytes) -> tuple[Message, int]:
    """The message and its number. Raises `ValueError` for a line that is none of ours."""
    body = json.loads(line)
    kind = Message.kinds.get(body.pop("kind", ""))
    if kind is None:
        raise ValueError(f"not a control message: {line[:80]!r}")
    number = body.pop("number")
    if "spec" in body:
        body["spec"]["room"] = RoomSpec(**body["spec"]["room"])
        body["spec"] = CallSpec(**body["spec"])
    return kind(**body), number


class Channel:
    """One end of the socket pair. `on_message` gets every message that is no `Ack`, and how to answer it.

    `run()` returns when the other end is gone; what still waited for an `Ack` then raises `ConnectionError`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_message: Callable[[Message, Callable[[str], None]], None],
    ) -> None:
        self._reader, self._writer, self._on_message = reader, writer, on_message
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def send(self, message: Message) -> None:
        """Send and go on; silently nothing once the other end is gone (its `run()` says so)."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def request(self, message: Message, timeout: float = 10.0) -> None:
        """Send, wait for the `Ack`. Raises `RuntimeError` (its error), `TimeoutError`, `ConnectionError`."""
        if self._writer.is_closing():
            raise ConnectionError("control channel closed")
        number = next(self._numbers)
        done = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(encode(message, number))
        try:
            await asyncio.wait_for(done, timeout)
        finally:
            self._waiting.pop(number, None)

    async def run(self) -> None:
        """Read until the other end is gone."""
        try:
            while line := await self._reader.readline():
                message, number = decode(line)
                if isinstance(message, Ack):
                    self._finish(message)
                else:
                    self._on_message(message, self._answer(number))
        except ConnectionError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close this end; closing twice is safe."""
        self._writer.close()
        for done in self._waiting.values():
            if not done.done():
                done.set_exception(ConnectionError("control channel closed"))

    def _finish(self, ack: Ack) -> None:
        done = self._waiting.get(ack.to)
        if done is None or done.done():
            return
        if ack.error:
            done.set_exception(RuntimeError(ack.error))
        else:
            done.set_result(None)

    def _answer(self, number: int) -> Callable[[str], None]:
        def answer(error: str = "") -> None:
            if number and not self._writer.is_closing():
                self._writer.write(encode(Ack(number, error)))

        return answer
