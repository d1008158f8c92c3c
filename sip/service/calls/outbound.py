"""A call from a room to the far end: room → near INVITE → far INVITE, digest → 180 → 200 → talk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from livekit.protocol import sip

from sip.service.bus import messages as rpc
from sip.service.calls import mapping
from sip.service.calls.call import ALLOW, Call, Desk, Over
from sip.service.calls.destination import Destination
from sip.service.calls.inbound import MAX_CALL_DURATION, RINGING_TIMEOUT, media_timeouts
from sip.service.calls.ladder import Ladder
from sip.service.calls.record import Ending, Facts
from sip.service.control import Attributes, CallSpec, Dial, RoomSpec
from sip.service.routing import Refused, participant_token
from sip.service.signalling import digest
from sip.service.signalling.dialog import Dialog
from sip.service.signalling.leg import SDP, Invitation, Leg, resolve
from sip.service.signalling.messages import Pairs, Response
from sip.service.signalling.transaction import ServerTransaction

logger = logging.getLogger(__name__)

DIAL_TIMEOUT = 20.0
"""Seconds for the room to be joined."""
NEAR_TIMEOUT = 10.0
"""Seconds for the media process to call out once it said that it would."""
NO_ANSWER = "nobody answered"
_UNHEARD = {408: "the far end said nothing for 32 s", 503: "the far end's address cannot be reached"}
"""Why an INVITE failed that had no response at all."""


class OutboundCall(Call):
    """A call that somebody in a room wants made."""

    def __init__(
        self,
        desk: Desk,
        request: rpc.InternalCreateSIPParticipantRequest,
        target: Destination,
        ladder: Ladder,
    ) -> None:
        call_id_full = target.call_id
        facts = Facts(
            "outbound",
            request.sip_call_id,
            call_id_full,
            caller=request.number,
            called=request.call_to,
            trunk_id=request.sip_trunk_id,
            room=request.room_name,
            identity=request.participant_identity,
        )
        super().__init__(desk, facts, ladder)
        self._request, self._target = request, target
        loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[None] = loop.create_future()
        """Done once the participant is in the room."""
        self._near_invite: asyncio.Future[ServerTransaction] = loop.create_future()
        self._invitation: Invitation | None = None
        self._rang = False
        self.attributes_to_headers = _strings(request.attributes_to_headers)

    def near_invited(self, transaction: ServerTransaction) -> None:
        """The media process calls out."""
        if self._near_invite.done():
            transaction.reply(482)
        else:
            self._near_invite.set_result(transaction)

    async def _carry(self) -> None:
        media = self._take_media()
        spec = self._spec()
        await self._request_media(Dial(spec), DIAL_TIMEOUT)
        self.joined.set_result(None)
        near = await self._near_offer(media.sip_port)
        try:
            response = await asyncio.wait_for(self.until(self._dial(near)), spec.ringing_timeout)
        except TimeoutError:
            raise Refused(408, NO_ANSWER) from None
        self._connect(near, response)
        await self._talk()

    async def _near_offer(self, sip_port: int) -> ServerTransaction:
        try:
            near = await asyncio.wait_for(self.until(self._near_invite), NEAR_TIMEOUT)
        except TimeoutError as error:
            raise Refused(500, "the media process did not call out") from error
        peer = near.source
        self.near = Leg(
            self.desk.near,
            Dialog.answering(near.request, self.desk.near.contact(peer, self.key)),
            peer,
            self,
        )
        return near

    async def _dial(self, near: ServerTransaction) -> Response:
        """INVITE the far end, answering its challenges; its 200. Any other final response ends the call."""
        try:
            peer = await resolve(self._target.peer)
        except OSError as error:
            raise Refused(503, f"cannot look up the trunk's address: {error}") from error
        self.facts.peer = str(peer)
        self.far = Leg(self.desk.far, self._target.dialog(self.desk.far.contact(peer)), peer, self)
        self.path.far = peer
        offer = self.session.near = self.path.to_far(near.request.body)
        self.far.credentials = self._target.credentials
        authorization = digest.Authorization(self._target.credentials)
        self.mark("invite")
        while True:
            headers = [*self._headers(), *authorization.headers]
            self._invitation = Invitation(self.far, headers, offer, peer)
            self._invitation.ack_headers = authorization.headers
            final = await self._responses(self._invitation, near)
            if final.code < 300:
                return final
            if not authorization.answer(final, "INVITE", self._target.uri):
                break
        if final.received:
            raise self._refused(f"answered {final.code} {final.phrase}", final.code, final.phrase)
        # The API's user reads the phrase: a code of our own says there what happened.
        raise self._refused(_UNHEARD[final.code], final.code, _UNHEARD[final.code])

    def _refused(self, reason: str, code: int, phrase: str) -> Over:
        self.end(Ending("far", reason, code, phrase))
        return Over()

    async def _responses(self, invitation: Invitation, near: ServerTransaction) -> Response:
        final = None
        async for response in invitation.responses():
            final = response
            if 180 <= response.code < 200 and not self._rang:
                self._ringing(near)
        assert final
        return final

    def _ringing(self, near: ServerTransaction) -> None:
        assert self.near and self.media
        self._rang = True
        self.mark("ringing")
        near.respond(self.near.dialog.response(near.request, 180))
        self.media.send(Attributes(self.key, {mapping.CALL_STATUS: "ringing"}))

    def _connect(self, near: ServerTransaction, response: Response) -> None:
        """ACK the far end and answer the near one. Raises `Refused` for a 200 that brings no answer."""
        assert self._invitation and self.near and self.media
        self.mark("answered")
        self.facts.code = 200
        self._invitation.ack()
        if not response.body or response.content_type != SDP:
            raise Refused(488, "the far end's 200 brought no SDP")
        self.session.far = response.body
        values = mapping.to_attributes(
            response, _strings(self._request.headers_to_attributes), self._request.include_headers
        )
        values[mapping.CALL_TAG] = response.to_tag
        self.media.send(Attributes(self.key, values, mapping.remote_headers(response)))
        self.attributes.update(values)
        answer = self.near.dialog.response(near.request, 200)
        answer.headers.set("Content-Type", SDP)
        answer.body = self.path.to_near(response.body)
        near.on_no_ack = lambda: self.end(Ending("service", "media did not acknowledge", 500))
        self.near.accept(near, answer)

    def _headers(self) -> Pairs:
        mapped = mapping.to_headers({}, {}, _strings(self._request.headers))
        return [("Allow", ALLOW), ("Supported", "timer"), *mapped]

    def _spec(self) -> CallSpec:
        request, settings = self._request, self.desk.settings
        attributes = _strings(request.participant_attributes)
        attributes |= {
            mapping.CALL_ID: request.sip_call_id,
            mapping.CALL_ID_FULL: self.facts.call_id_full,
            mapping.CALL_STATUS: "dialing",
        }
        self.attributes = dict(attributes)
        token = request.token or participant_token(
            settings.api_key,
            settings.api_secret,
            request.room_name,
            request.participant_identity,
            request.participant_name,
            request.participant_metadata,
            attributes,
        )
        return CallSpec(
            **self._spec_defaults(),
            room=RoomSpec(request.ws_url or settings.livekit_url, token, request.room_name),
            ringing_timeout=request.ringing_timeout.ToTimedelta().total_seconds() or RINGING_TIMEOUT,
            max_call_duration=request.max_call_duration.ToTimedelta().total_seconds() or MAX_CALL_DURATION,
            dtmf=request.dtmf,
            play_dialtone=request.play_dialtone,
            **media_timeouts(request.media),
        )

    def _end_far(self, ending: Ending, headers: Pairs) -> asyncio.Future[Response] | None:
        answered = "answered" in self.facts.times
        if not answered:
            self.facts.code = ending.code or 487
        if self.far is None or not self.far.established:
            if self._invitation:
                self._invitation.cancel()
            return None
        if not answered and self._invitation:
            # The answer came as the call ended.
            self._invitation.ack()
        return self.far.bye(headers)

    def _end_near(self, ending: Ending) -> None:
        if self.near and self.near.established:
            self.near.bye()
        elif self._near_invite.done() and not self._near_invite.cancelled():
            near = self._near_invite.result()
            if not near.answered:
                tag = self.near.dialog.local_tag if self.near else self.key
                near.reply(self.facts.code if self.facts.code >= 300 else 487, tag=tag)


def sip_status(code: int, phrase: str) -> sip.SIPStatus:
    """The error detail from which `api.SipCallError` reads the SIP code."""
    return sip.SIPStatus(code=code, status=phrase)  # pyright: ignore[reportArgumentType]  # any code is valid


def _strings(mapped: Mapping[str, str]) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapped.items()}
