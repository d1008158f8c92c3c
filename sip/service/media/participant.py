"""A call's side in the room: a SIP participant that hears everybody and says what the caller says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.rtc._proto.room_pb2 import AudioEncoding, ContinualGatheringPolicy

from sip.service.control import RoomSpec, Strings
from sip.service.media.room_audio import Microphone, prepare

logger = logging.getLogger(__name__)

GATHER_ONCE = ContinualGatheringPolicy.GATHER_ONCE
MICROPHONE = rtc.TrackSource.SOURCE_MICROPHONE
BITRATE = 72_000
"""Bits a second. From here on Opus codes speech as it codes music, at half the processor time."""
LOST_AFTER = 6.0
"""Seconds without the room after which the call ends: so long the caller has heard nothing. The library tries
for up to 20 s."""
_AUDIO = rtc.TrackKind.KIND_AUDIO
_SIP = rtc.ParticipantKind.PARTICIPANT_KIND_SIP
_RECORDER = rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS
_ENDS = {
    rtc.DisconnectReason.ROOM_DELETED: "room_deleted",
    rtc.DisconnectReason.ROOM_CLOSED: "room_deleted",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "participant_removed",
}
ANSWER_TIMEOUT = 1.0
"""Seconds that the answer to `lk.sip.EndCall` may take to reach its caller."""
DTMF_DIGITS = "0123456789*#ABCD"
"""A digit's place is its event code (RFC 4733)."""


class JoinError(Exception):
    """The room cannot be joined; the message says why."""


@dataclass(frozen=True)
class RoomEvents:
    """Who is told what happens in the room; all are called on the event loop."""

    on_speaker: Callable[[rtc.RemoteAudioTrack], None]
    """A remote audio track is subscribed."""
    on_silence: Callable[[str], None]
    """The track of this sid is no longer subscribed."""
    on_caller: Callable[[], None]
    """Another SIP participant is in the room."""
    on_digit: Callable[[str], None]
    """Somebody in the room pressed a key for the far end."""
    on_end: Callable[[str], None]
    """The room has put us out: `room_deleted`, `participant_removed`, `error: …`."""
    on_end_call: Callable[[Strings], None]
    """`lk.sip.EndCall` was called with these headers."""


@dataclass
class RoomParticipant:
    """One participant. `join`, then `publish`; `leave` at the end."""

    spec: RoomSpec
    events: RoomEvents
    remote_headers: Strings = field(default_factory=dict[str, str])
    """What `lk.sip.GetRemoteHeaders` tells."""

    def __post_init__(self) -> None:
        prepare()
        self._room = rtc.Room()
        self._joining: asyncio.Task[None] | None = None
        self._joined = self._left = False
        self._lost: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._microphone: Microphone | None = None
        self._publication: rtc.LocalTrackPublication | None = None
        self._end_called_by = ""
        """Whom our answer to `lk.sip.EndCall` must reach before we leave."""

    @property
    def sid(self) -> str:
        """LiveKit's id of the participant, `PA_…`; after `join`."""
        return self._room.local_participant.sid

    @property
    def attributes(self) -> Strings:
        """The participant's attributes as the room knows them; none before `join`."""
        return dict(self._room.local_participant.attributes) if self._joined else {}

    @property
    def alone(self) -> bool:
        """Whether nobody else is in the room; a recorder is nobody."""
        return all(other.kind == _RECORDER for other in self._room.remote_participants.values())

    @property
    def hears_another_caller(self) -> bool:
        """Whether another SIP participant is in the room: two calls are bridged without an agent."""
        return any(other.kind == _SIP for other in self._room.remote_participants.values())

    def enter(self, spec: RoomSpec, remote_headers: Strings) -> None:
        """Which room it is, where that was not known from the start; before `join`."""
        self.spec, self.remote_headers = spec, remote_headers

    async def join(self, timeout: float) -> None:
        """Join. Raises `JoinError`, and `TimeoutError` after `timeout` seconds; what joins later leaves."""
        self._listen()
        options = rtc.RoomOptions(
            single_peer_connection=True,
            connect_timeout=timeout,
            # A server's network addresses do not change, and looking for more delays the first ones.
            rtc_config=rtc.RtcConfiguration(continual_gathering_policy=GATHER_ONCE),
        )
        self._joining = asyncio.create_task(self._room.connect(self.spec.url, self.spec.token, options))
        try:
            # Not cancelled: the library would go on joining with nobody to leave for it.
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._joining)
        except rtc.ConnectError as error:
            raise JoinError(error.message) from error
        self._joined = True
        local = self._room.local_participant
        local.register_rpc_method("lk.sip.EndCall", self._end_call)
        local.register_rpc_method("lk.sip.GetRemoteHeaders", self._remote_headers)
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._on_published(publication, participant)

    async def publish(self, rate: int) -> Microphone:
        """Publish the caller's microphone at `rate` Hz in the place of an earlier one. Raises `JoinError`."""
        await self._unpublish()
        microphone = self._microphone = Microphone(rate)
        track = rtc.LocalAudioTrack.create_audio_track("sip-audio", microphone.source)
        options = rtc.TrackPublishOptions(
            source=MICROPHONE,
            # Silence detection would clip soft speech.
            audio_encoding=AudioEncoding(max_bitrate=BITRATE),
            dtx=False,
            red=False,
        )
        try:
            self._publication = await self._room.local_participant.publish_track(track, options)
        except Exception as error:
            raise JoinError(f"the caller's audio cannot be published: {error}") from error
        return microphone

    async def set_attributes(self, values: Mapping[str, str]) -> None:
        """Set attributes; nothing once the room is left."""
        if self._room.isconnected() and not self._left:
            await self._room.local_participant.set_attributes(dict(values))

    async def press(self, digit: str) -> None:
        """Tell the room that the caller pressed a key."""
        if self._room.isconnected() and not self._left:
            await self._room.local_participant.publish_dtmf(code=DTMF_DIGITS.index(digit), digit=digit)

    async def leave(self) -> None:
        """Leave the room, also one that is still being joined; leaving twice is safe."""
        self._left = True
        self._on_reconnected()
        if self._joining is not None and not self._joining.done():
            self._joining.add_done_callback(self._leave_late)
            return
        await self._deliver_answer()
        await self._disconnect()

    async def _deliver_answer(self) -> None:
        """Wait until who called `lk.sip.EndCall` has our answer: otherwise his call fails as we leave.

        What one participant sends to another arrives in order, so when the other refuses a method that
        nobody has, the answer before it is there.
        """
        if not self._end_called_by or not self._room.isconnected():
            return
        with contextlib.suppress(rtc.RpcError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._end_called_by, method="lk.sip.EndCall.answered", payload=""
                )

    async def _disconnect(self) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await self._room.disconnect()
        if self._microphone is not None:
            self._microphone.close()

    def _leave_late(self, joined: asyncio.Task[None]) -> None:
        if not joined.cancelled() and joined.exception() is None:
            self._spawn(self._disconnect())

    async def _unpublish(self) -> None:
        if self._publication is not None:
            await self._room.local_participant.unpublish_track(self._publication.sid)
            self._publication = None
        if self._microphone is not None:
            self._microphone.close()
            self._microphone = None

    def _listen(self) -> None:
        room = self._room
        room.on("track_published", self._on_published)
        room.on("track_subscribed", self._on_subscribed)
        room.on("track_unsubscribed", self._on_unsubscribed)
        room.on("sip_dtmf_received", self._on_dtmf)
        room.on("disconnected", self._on_disconnected)
        room.on("reconnecting", self._on_reconnecting)
        room.on("reconnected", self._on_reconnected)
        room.on("participant_connected", self._on_participant)

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if participant.kind == _SIP and not self._left:
            self.events.on_caller()

    def _on_published(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if publication.kind != _AUDIO:
            publication.set_subscribed(False)

    def _on_subscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if isinstance(track, rtc.RemoteAudioTrack) and not self._left:
            self.events.on_speaker(track)

    def _on_unsubscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        self.events.on_silence(track.sid)

    def _on_dtmf(self, dtmf: rtc.SipDTMF) -> None:
        digit = dtmf.digit or (DTMF_DIGITS[dtmf.code] if 0 <= dtmf.code < len(DTMF_DIGITS) else "")
        if len(digit) == 1 and digit in DTMF_DIGITS:
            self.events.on_digit(digit)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._left:
            name = rtc.DisconnectReason.Name(reason).lower()
            self.events.on_end(_ENDS.get(reason, f"error: the room was lost ({name})"))

    def _on_reconnecting(self) -> None:
        if self._lost is None and not self._left:
            why = "error: the room was lost (no connection)"
            self._lost = asyncio.get_running_loop().call_later(LOST_AFTER, self.events.on_end, why)

    def _on_reconnected(self) -> None:
        if self._lost is not None:
            self._lost.cancel()
            self._lost = None

    def _end_call(self, data: rtc.RpcInvocationData) -> str:
        headers = _body(data.payload).get("headers") or {}
        self._end_called_by = data.caller_identity
        self.events.on_end_call({str(name): str(value) for name, value in dict(headers).items()})
        return "{}"

    def _remote_headers(self, data: rtc.RpcInvocationData) -> str:
        body = _body(data.payload)
        only = {str(name).lower() for name in body.get("include") or ()}
        skip = {str(name).lower() for name in body.get("exclude") or ()}
        chosen = {
            name: value
            for name, value in self.remote_headers.items()
            if name.lower() not in skip and (not only or name.lower() in only)
        }
        return json.dumps({"headers": chosen})

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _body(payload: str) -> dict[str, Any]:
    """The JSON object of an RPC; an empty payload is an empty one. Raises the RPC error for anything else."""
    try:
        body = json.loads(payload or "{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise rtc.RpcError(rtc.RpcError.ErrorCode.APPLICATION_ERROR, "the payload is not a JSON object")
    return body
