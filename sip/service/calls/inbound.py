"""A call from the far end into a room: INVITE → who may call → room → near INVITE → 180 → 200 → talk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from livekit.protocol import sip

from sip import codes
from sip.service.bus import messages as rpc
from sip.service.calls import mapping
from sip.service.calls.call import ALLOW, HOST, Call, Desk, Over
from sip.service.calls.ladder import Ladder
from sip.service.calls.negotiation import MIN_SESSION, Timer, session_timer
from sip.service.calls.pin import NO_PIN, WRONG_PIN
from sip.service.calls.pin_prompt import NotAdmitted, PinPrompt
from sip.service.calls.record import Ending, Facts, PinFacts
from sip.service.control import Admit, CallSpec, Expect, Play, RoomSpec
from sip.service.routing import Inbound, Refused, Route, asks_pin, participant_token
from sip.service.signalling import sdp
from sip.service.signalling.dialog import Dialog
from sip.service.signalling.digest import Verdict
from sip.service.signalling.leg import SDP, Invitation, Leg
from sip.service.signalling.messages import Pairs, Response, address_of, respond, set_all
from sip.service.signalling.peer import Peer
from sip.service.signalling.transaction import ServerTransaction

logger = logging.getLogger(__name__)

RINGING_TIMEOUT = 180.0
"""Seconds until 486 when no agent comes, unless the trunk says otherwise."""
MAX_CALL_DURATION = 86_400.0
MARGIN = 10.0
"""Seconds that the media process may be late with its own time-out."""
STILL_RINGING = 60.0
"""Seconds after which 180 is repeated (RFC 3261 13.3.1.1), so that no proxy gives up."""
WRONG_PASSWORDS = 3
PROMPT_TIMEOUT = 15.0
"""Seconds that a sentence may take."""
_NOT_ADMITTED = {NO_PIN: 408, WRONG_PIN: 403}
"""What the BYE says of a caller who got into no room."""
EXTENSIONS = {"timer"}


class InboundCall(Call):
    """An INVITE that came in, and what becomes of it."""

    def __init__(self, desk: Desk, transaction: ServerTransaction, lk_call_id: str, ladder: Ladder) -> None:
        invite = transaction.request
        from_uri, to_uri = address_of(invite.headers["From"]).uri, address_of(invite.headers["To"]).uri
        facts = Facts(
            "inbound",
            lk_call_id,
            invite.call_id,
            caller=from_uri.user or "",
            called=to_uri.user or "",
            peer=str(transaction.source),
        )
        super().__init__(desk, facts, ladder)
        self.mark("invite")
        self._transaction, self._invite = transaction, invite
        self._invitation: Invitation | None = None
        self._dispatch = rpc.EvaluateSIPDispatchRulesResponse()
        self._inbound: Inbound | None = None
        self._timer: Timer | None = None
        self._dialog: Dialog | None = None
        transaction.on_no_ack = lambda: self.end(Ending("service", "no ACK to our 200", 408))

    def cancel(self) -> None:
        """The caller gave up."""
        self.end(Ending("far", "cancelled", 487))

    async def _carry(self) -> None:
        self._check()
        self._dispatch = await self.until(self._admit())
        if asks_pin(self._dispatch):
            await self._ring(self._spec_in_no_room())
            await self._answer()
            await self._ask_pin()
        else:
            await self._ring(self._spec())
            await self._answer()
        await self._talk()

    def _check(self) -> None:
        """What can be refused without asking anybody."""
        invite = self._invite
        unknown = invite.tokens("Require") - EXTENSIONS
        if unknown:
            raise Refused(420, "requires an extension", headers=[("Unsupported", ", ".join(sorted(unknown)))])
        if invite.headers.get("Max-Forwards") == "0":
            raise Refused(483, "Max-Forwards is 0")
        if invite.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(415, "body is encoded", headers=[("Accept-Encoding", "identity")])
        try:
            self._timer = session_timer(invite)
        except ValueError as error:
            raise Refused(422, str(error), headers=[("Min-SE", str(MIN_SESSION))]) from error
        if invite.body:
            if invite.content_type != SDP:
                raise Refused(415, "body is not SDP", headers=[("Accept", SDP)])
            check_offer(invite.body)
        try:
            self._dialog = Dialog.answering(invite, self.desk.far.contact(self._transaction.source))
        except ValueError as error:
            raise Refused(400, str(error)) from error

    async def _admit(self) -> rpc.EvaluateSIPDispatchRulesResponse:
        """Source, trunk, credentials, rule. Raises `Refused`; nobody rings and no room is made before."""
        described = describe(self._transaction, self.facts.call_id)
        route = await self.desk.routing.route(described)
        self.facts.trunk_id = route.trunk_id
        self._check_credentials(route)
        dispatch = await self.desk.routing.accept(described, route)
        self.facts.trunk_id = dispatch.sip_trunk_id or route.trunk_id
        self.facts.rule_id, self.facts.room = dispatch.sip_dispatch_rule_id, dispatch.room_name
        self._inbound = described
        self.mark("admitted")
        return dispatch

    def _check_credentials(self, route: Route) -> None:
        expected = route.credentials
        if expected is None:
            return
        challenger, header = self.desk.challenger, self._invite.headers.get("Proxy-Authorization")
        verdict = challenger.check(header, "INVITE", expected) if header else None
        if verdict is Verdict.GOOD:
            return
        if verdict is Verdict.WRONG:
            tries = self.desk.wrong_password(self._invite.call_id)
            if tries >= WRONG_PASSWORDS:
                raise Refused(403, f"trunk {route.trunk_id}: wrong username or password, {tries} times")
        challenge = challenger.challenge(expected.realm, stale=verdict is Verdict.STALE)
        why = "wrong username or password" if verdict is Verdict.WRONG else "asked for credentials"
        raise Refused(407, f"trunk {route.trunk_id}: {why}", headers=[("Proxy-Authenticate", challenge)])

    async def _ask_pin(self) -> None:
        """Until the caller typed a PIN that opens a room; then he is on his way into it."""
        pin = self.facts.pin = PinFacts()
        prompt = PinPrompt(self._play, self._open)
        self.on_digits = prompt.press
        self.mark("pin_asked")
        logger.info("a PIN is asked for", extra=self.log_fields())
        try:
            dispatch = await self.until(prompt.run())
        except NotAdmitted as refused:
            pin.outcome = refused.reason
            code = _NOT_ADMITTED[refused.reason]
            self.end(Ending("service", refused.reason, code, q850=codes.q850(code)))
            raise Over from refused
        finally:
            self.on_digits = None
            pin.wrong_tries = prompt.wrong_tries
        pin.outcome, self._dispatch = "right", dispatch
        self.facts.rule_id, self.facts.room = dispatch.sip_dispatch_rule_id, dispatch.room_name
        self.mark("pin_accepted")
        self._tell_media(Admit(self._spec()))

    async def _play(self, sound: str) -> None:
        assert self.media
        await self.media.request(Play(self.key, sound), PROMPT_TIMEOUT)

    async def _open(self, pin: str) -> rpc.EvaluateSIPDispatchRulesResponse | None:
        assert self._inbound
        return await self.desk.routing.open(self._inbound, self.facts.trunk_id, pin)

    async def _ring(self, spec: CallSpec) -> None:
        """Room and near leg; 180 reaches the caller when the near leg rings, 200 is left to `_answer`."""
        assert self._dialog
        media = self._take_media()
        self.far = Leg(self.desk.far, self._dialog, self._transaction.source, self)
        self.far.remote_allow = {method.upper() for method in self._invite.tokens("Allow")}
        await self._request_media(Expect(spec), MARGIN)
        peer = Peer("udp", HOST, media.sip_port)
        near = self.desk.near
        dialog = Dialog.calling(
            f"sip:{self.key}@{HOST}:{media.sip_port}",
            f"<sip:edge@{HOST}:{near.transport.port}>",
            f"<sip:{self.key}@{HOST}>",
            near.contact(peer, self.key),
            f"{self.key}@edge",
        )
        self.near = Leg(near, dialog, peer, self)
        self.session.far = self._invite.body
        self.path.far = self.far.flow
        offer = self.path.to_near(self._invite.body)
        self._invitation = Invitation(self.near, [("Allow", ALLOW)], offer, peer)
        try:
            await asyncio.wait_for(self.until(self._near_answer()), spec.ringing_timeout + MARGIN)
        except TimeoutError as error:
            raise Refused(480, "the media process let the call ring for too long") from error

    async def _near_answer(self) -> None:
        """Pass on the near leg's responses up to its 200. Raises `Refused` for another final one."""
        assert self._invitation
        final = None
        async for response in self._invitation.responses():
            if response.code == 180:
                self._still_ringing()
            final = response
        assert final
        if final.code >= 300:
            await asyncio.sleep(0)  # a Refuse with the true code may be in the same breath
            code = final.code if final.code in (480, 486, 488) else 500
            raise Refused(code, f"the media process answered {final.code}")
        self.session.near = self.path.to_far(final.body)

    def _still_ringing(self) -> None:
        if self._dialog is None or self._transaction.answered or self._over.done():
            return
        self.mark("ringing")
        self._transaction.respond(self._dialog.response(self._invite, 180))
        asyncio.get_running_loop().call_later(STILL_RINGING, self._still_ringing)

    async def _answer(self) -> None:
        """200 with the mapped headers; the ACK is the caller's, ours goes to the near leg."""
        assert self._dialog and self.far and self._invitation
        late_offer = None if self._invite.body else self.session.expect_answer(self._invite.sequence)
        if late_offer is None:
            self._invitation.ack()
        self.far.accept(self._transaction, self._ok(self._dialog))
        self.mark("answered")
        self.facts.code = 200
        if late_offer is not None:
            answer = await self.until(late_offer)
            self.session.far = answer
            self._invitation.ack(self.path.to_near(answer))
        if self._timer and self._timer.ours:
            self.desk.spawn(self._keep_alive(self._timer.interval / 2))

    def _ok(self, dialog: Dialog) -> Response:
        response = dialog.response(self._invite, 200)
        fixed = {str(name): str(value) for name, value in self._dispatch.headers.items()}
        extra: Pairs = [("Allow", ALLOW), ("Accept", SDP), ("Supported", "timer")]
        set_all(response, extra)
        set_all(response, self._timer.headers if self._timer else ())
        set_all(response, mapping.to_headers(self.attributes, self.attributes_to_headers, fixed))
        response.headers.set("Content-Type", SDP)
        response.body = self.session.near
        return response

    async def _keep_alive(self, interval: float) -> None:
        """Refresh the session where the caller wants us to (RFC 4028 7.4)."""
        assert self.far
        while not self._over.done():
            await asyncio.wait({self._over}, timeout=interval)
            if self._over.done():
                return
            if "UPDATE" in self.far.remote_allow:
                response = await self.far.request("UPDATE", [("Supported", "timer")])
            else:
                response = await self.far.request("INVITE", [("Supported", "timer")], self.session.near)
                if response.code < 300:
                    self.far.ack(response.sequence)
            if response.code in (408, 481):
                self.end(Ending("far", "session refresh failed", response.code))

    def _spec_in_no_room(self) -> CallSpec:
        """A call that is answered before its room is known."""
        return CallSpec(
            **self._spec_defaults(),
            room=RoomSpec("", "", ""),
            ringing_timeout=RINGING_TIMEOUT,
            max_call_duration=MAX_CALL_DURATION,
            asks_pin=True,
        )

    def _spec(self) -> CallSpec:
        dispatch, settings = self._dispatch, self.desk.settings
        attributes = {str(name): str(value) for name, value in dispatch.participant_attributes.items()}
        hidden = mapping.PHONE_NUMBER not in attributes
        attributes |= mapping.to_attributes(
            self._invite,
            _strings(dispatch.headers_to_attributes),
            dispatch.include_headers,
            hide_caller=hidden,
        )
        attributes |= {
            mapping.CALL_ID: self.facts.call_id,
            mapping.CALL_ID_FULL: self._invite.call_id,
            mapping.CALL_TAG: self._invite.from_tag,
            mapping.CALL_STATUS: "ringing",
        }
        self.attributes = dict(attributes)
        self.attributes_to_headers = _strings(dispatch.attributes_to_headers)
        identity = dispatch.participant_identity or f"sip_{self.facts.caller}"
        if self.desk.in_room(dispatch.room_name, identity):
            # A second call from the same number would throw the first one out of the room.
            identity = f"{identity}_{self.key[:6]}"
        self.facts.identity = identity
        token = dispatch.token or participant_token(
            settings.api_key,
            settings.api_secret,
            dispatch.room_name,
            identity,
            dispatch.participant_name,
            dispatch.participant_metadata,
            attributes,
            room_preset=dispatch.room_preset,
            room_config=dispatch.room_config if dispatch.HasField("room_config") else None,
        )
        return CallSpec(
            **self._spec_defaults(),
            room=RoomSpec(dispatch.ws_url or settings.livekit_url, token, dispatch.room_name),
            ringing_timeout=dispatch.ringing_timeout.ToTimedelta().total_seconds() or RINGING_TIMEOUT,
            max_call_duration=dispatch.max_call_duration.ToTimedelta().total_seconds() or MAX_CALL_DURATION,
            remote_headers=mapping.remote_headers(self._invite),
            **media_timeouts(dispatch.media),
        )

    def _end_far(self, ending: Ending, headers: Pairs) -> asyncio.Future[Response] | None:
        if self.far and self.far.established:
            return self.far.bye(headers)
        self.facts.code = ending.code or 480
        tag = self._dialog.local_tag if self._dialog else self.key
        final = respond(self._invite, self.facts.code, ending.phrase, tag=tag, headers=headers)
        self._transaction.respond(final)
        return None

    def _end_near(self, ending: Ending) -> None:
        if self.near and self.near.established:
            self.near.bye()
        elif self._invitation:
            self._invitation.cancel()
            if self._ended.done():
                self._invitation.forget()


def check_offer(body: bytes) -> None:
    """Whether a call can stand on this SDP. Raises `Refused`: 400 for no SDP, 488 for no common codec."""
    try:
        audio = sdp.audio(body)
    except sdp.NoAudio as error:
        raise Refused(488, str(error)) from error
    except ValueError as error:
        raise Refused(400, str(error)) from error
    if not audio.usable:
        if ":" in audio.address:
            raise Refused(488, "the offer has an IPv6 address alone; audio is carried over IPv4")
        offered = ", ".join(audio.codecs) or "none that has a name"
        raise Refused(488, f"no common codec or transport: {audio.profile}, {offered}")


def describe(transaction: ServerTransaction, lk_call_id: str) -> Inbound:
    """An INVITE in the words of livekit-server. Raises `Refused` for a request URI that names nobody."""
    invite, source = transaction.request, transaction.source
    via_transport = sip.SIP_TRANSPORT_TCP if source.reliable else sip.SIP_TRANSPORT_UDP

    def uri(text: str, ip: str = "") -> sip.SIPUri:
        parsed = address_of(text).uri
        return sip.SIPUri(
            user=parsed.user or "", host=parsed.host, ip=ip, port=parsed.port or 0, transport=via_transport
        )

    return Inbound(
        lk_call_id=lk_call_id,
        sip_call_id=invite.call_id,
        source_ip=source.host,
        uri=uri(f"<{invite.uri}>"),
        from_uri=uri(invite.headers["From"], source.host),
        to_uri=uri(invite.headers["To"]),
    )


def media_timeouts(media: sip.SIPMediaConfig) -> dict[str, Any]:
    """The trunk's media time-out, where it sets one."""
    seconds = media.media_timeout.ToTimedelta().total_seconds() if media.HasField("media_timeout") else 0.0
    return {"media_timeout": seconds} if seconds > 0 else {}


def _strings(mapped: Mapping[str, str]) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapped.items()}
