"""One phone call as the agent sees it: who called whom, and the ids that join its records.

Everything is read from the participant's `sip.*` attributes, which livekit-sip, LiveKit Cloud and the
embedded service set alike. A browser or the console has none of them: the call is then `direct`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from livekit import rtc

Direction = Literal["inbound", "outbound", "direct"]

STATUS = "sip.callStatus"
"""dialing, ringing, automation (digits are being sent), active, hangup."""
_HEADER = "sip.h."


@dataclass(frozen=True)
class Call:
    """Values of one call. Numbers are not part of its `repr`, so that they cannot slip into a log message."""

    direction: Direction
    room: str
    identity: str = field(repr=False)
    """The far end's participant, often made of his number; empty in the console."""
    caller: str = field(default="", repr=False)
    """Who called: the far end's number, or ours for an outbound call; empty when withheld or unknown."""
    dialled: str = field(default="", repr=False)
    """Who was called."""
    call_id: str = ""
    """LiveKit's id, `sip.callID` (`SCL_…`)."""
    call_id_full: str = ""
    """The SIP Call-ID, `sip.callIDFull`."""
    trunk_id: str = ""
    rule_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """SIP headers that the trunk exposes, by lower-case name."""

    @classmethod
    def of(cls, room: str, identity: str = "", attributes: Mapping[str, str] | None = None) -> Call:
        """The call of a participant with these attributes."""
        found = attributes or {}
        ours, theirs = found.get("sip.trunkPhoneNumber", ""), found.get("sip.phoneNumber", "")
        direction: Direction = "direct"
        if any(name.startswith("sip.call") for name in found):
            # Only a call that came in through a dispatch rule carries the rule's id.
            direction = "inbound" if found.get("sip.ruleID") else "outbound"
        return cls(
            direction=direction,
            room=room,
            identity=identity,
            caller=ours if direction == "outbound" else theirs,
            dialled=theirs if direction == "outbound" else ours,
            call_id=found.get("sip.callID", ""),
            call_id_full=found.get("sip.callIDFull", ""),
            trunk_id=found.get("sip.trunkID", ""),
            rule_id=found.get("sip.ruleID", ""),
            headers={k.removeprefix(_HEADER): v for k, v in found.items() if k.startswith(_HEADER)},
        )

    @property
    def log_fields(self) -> dict[str, str]:
        """Fields for every log line of the call; no numbers among them."""
        fields = {
            "room": self.room,
            "direction": self.direction,
            "sip_call_id": self.call_id,
            "sip_call_id_full": self.call_id_full,
        }
        return {name: value for name, value in fields.items() if value}


async def wait_until_answered(room: rtc.Room, participant: rtc.RemoteParticipant) -> bool:
    """Wait until the far end can hear us; True at once for a participant without a SIP call.

    False: the call ended first. A participant of an outbound call is in the room while the phone still
    rings, and one of an inbound call until the service has answered; what is said before is lost.
    """
    ended = asyncio.get_running_loop().create_future()
    wanted = participant.identity

    def settle(answered: bool) -> None:
        if not ended.done():
            ended.set_result(answered)

    def look(attributes: Mapping[str, str]) -> None:
        status = attributes.get(STATUS)
        if status is None or status == "active":
            settle(True)
        elif status == "hangup":
            settle(False)

    def on_attributes(_: dict[str, str], who: rtc.Participant) -> None:
        if who.identity == wanted:
            look(who.attributes)

    def on_gone(who: rtc.RemoteParticipant) -> None:
        if who.identity == wanted:
            settle(False)

    def on_disconnected(_: object) -> None:
        settle(False)

    room.on("participant_attributes_changed", on_attributes)
    room.on("participant_disconnected", on_gone)
    room.on("disconnected", on_disconnected)
    try:
        look(participant.attributes)
        if wanted not in room.remote_participants:
            settle(False)
        return await ended
    finally:
        room.off("participant_attributes_changed", on_attributes)
        room.off("participant_disconnected", on_gone)
        room.off("disconnected", on_disconnected)
