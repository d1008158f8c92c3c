"""Who may call, and where the call goes: asked of livekit-server, explained when the answer is no."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import aiohttp
from google.protobuf.message import Message
from livekit import api
from livekit.protocol import room, sip

from sip.api import wire
from sip.dispatch.explain import Call, Explanation, explain, forbidding
from sip.model import State
from sip.service.bus import messages as rpc
from sip.service.bus.rpc import BusError
from sip.service.signalling.digest import Credentials

logger = logging.getLogger(__name__)

DEFAULT_REALM = "LiveKit"
ANONYMOUS = "anonymous"
"""User of a From that has none, as RFC 3323 writes it."""
TOKEN_LIFETIME = datetime.timedelta(hours=24)
LIST_TIMEOUT = 3.0
"""Seconds for listing trunks and rules; only a refused call waits for it."""
_Answer = TypeVar("_Answer", bound=Message)


class Caller(Protocol):
    """The client half of the bus."""

    async def call(
        self, service: str, method: str, request: Message, response_type: type[_Answer], /, *, timeout: float
    ) -> _Answer:
        """Ask a method of another service."""
        ...


class Directory(Protocol):
    """Where trunks and rules are read."""

    async def state(self) -> State:
        """All inbound trunks and all dispatch rules."""
        ...


class Refused(Exception):
    """A call is not taken. `code` is for the caller, `why` for the log (no numbers in it)."""

    def __init__(
        self,
        code: int,
        why: str,
        phrase: str = "",
        headers: Iterable[tuple[str, str]] = (),
        trunk_id: str = "",
    ) -> None:
        super().__init__(why)
        self.code, self.why, self.phrase, self.headers = code, why, phrase, list(headers)
        self.trunk_id = trunk_id


@dataclass(frozen=True)
class Inbound:
    """What routing needs to know of an INVITE."""

    lk_call_id: str
    sip_call_id: str
    source_ip: str
    uri: sip.SIPUri
    from_uri: sip.SIPUri
    to_uri: sip.SIPUri

    @property
    def match(self) -> Call:
        """The same, in the words of `sip.dispatch.explain`."""
        return Call(self.source_ip, self.caller, self.to_uri.user, self.from_uri.host, self.to_uri.host)

    @property
    def caller(self) -> str:
        """User of From. Without one livekit-server 1.13.5 would end at a rule that hides numbers."""
        return self.from_uri.user or ANONYMOUS

    @property
    def described(self) -> rpc.SIPCall:
        """The call, in the new fields of both questions."""
        from_uri = sip.SIPUri()
        from_uri.CopyFrom(self.from_uri)
        from_uri.user = self.caller
        return rpc.SIPCall(
            lk_call_id=self.lk_call_id,
            source_ip=self.source_ip,
            address=self.uri,
            to=self.to_uri,
            sip_call_id=self.sip_call_id,
            **{"from": from_uri},
        )

    @property
    def evaluation(self) -> rpc.EvaluateSIPDispatchRulesRequest:
        """Which rule takes the call?"""
        return rpc.EvaluateSIPDispatchRulesRequest(
            call=self.described,
            sip_call_id=self.lk_call_id,
            calling_number=self.caller,
            calling_host=self.from_uri.host,
            called_number=self.to_uri.user,
            called_host=self.to_uri.host,
            src_address=self.source_ip,
        )


@dataclass(frozen=True)
class Route:
    """A call that is taken, once `credentials` (if any) were proven."""

    trunk_id: str
    credentials: Credentials | None
    dispatch: rpc.EvaluateSIPDispatchRulesResponse | None
    """None when there is no rule; learnt only after the credentials are proven."""


class Routing:
    """Asks livekit-server."""

    def __init__(self, bus: Caller, directory: Directory) -> None:
        self._bus, self._directory = bus, directory

    async def route(self, call: Inbound) -> Route:
        """Trunk, credentials and rule of a call. Raises `Refused`.

        Both questions are asked at once: evaluating rules changes nothing, and the server finds the trunk
        for each.
        """
        authentication = rpc.GetSIPTrunkAuthenticationRequest(call=call.described)
        evaluation = call.evaluation
        auth, dispatch = await asyncio.gather(
            self._ask("GetSIPTrunkAuthentication", authentication, rpc.GetSIPTrunkAuthenticationResponse),
            self._ask("EvaluateSIPDispatchRules", evaluation, rpc.EvaluateSIPDispatchRulesResponse),
            return_exceptions=True,
        )
        if isinstance(auth, BaseException):
            raise auth
        self._check_trunk(auth)
        if not auth.sip_trunk_id:
            await self._no_trunk(call)
        credentials = None
        if auth.username and auth.password:
            credentials = Credentials(auth.username, auth.password, auth.realm or DEFAULT_REALM)
        if isinstance(dispatch, Refused) and dispatch.code != 404:
            raise dispatch
        if isinstance(dispatch, BaseException):
            return Route(auth.sip_trunk_id, credentials, None)
        return Route(auth.sip_trunk_id, credentials, dispatch)

    async def accept(self, call: Inbound, route: Route) -> rpc.EvaluateSIPDispatchRulesResponse:
        """The rule that takes the call, told only after its credentials were proven. Raises `Refused`.

        There is no room in it where `asks_pin`.
        """
        dispatch = route.dispatch
        if dispatch and (asks_pin(dispatch) or _leads_to_room(dispatch)):
            return dispatch
        explanation = await self._explain(call)
        if explanation is None or explanation.code == 200:
            raise Refused(404, "livekit-server found no dispatch rule")
        raise Refused(explanation.code, str(explanation))

    async def open(
        self, call: Inbound, trunk_id: str, pin: str
    ) -> rpc.EvaluateSIPDispatchRulesResponse | None:
        """The rule with this PIN; None when there is none. Raises `Refused`. Without a PIN: a rule that asks
        for none."""
        evaluation = call.evaluation
        evaluation.sip_trunk_id, evaluation.pin, evaluation.no_pin = trunk_id, pin, not pin
        try:
            dispatch = await self._ask(
                "EvaluateSIPDispatchRules", evaluation, rpc.EvaluateSIPDispatchRulesResponse
            )
        except Refused as refused:
            if refused.code == 404:
                return None
            raise
        return dispatch if _leads_to_room(dispatch) else None

    async def _no_trunk(self, call: Inbound) -> None:
        """A rule without trunks takes calls without a trunk, but not past a trunk that forbids this one."""
        state = await self._state()
        forbidden = forbidding(state, call.match) if state else None
        if forbidden:
            raise Refused(403, str(forbidden), trunk_id=forbidden.id)

    @staticmethod
    def _check_trunk(auth: rpc.GetSIPTrunkAuthenticationResponse) -> None:
        if auth.error_code == rpc.SIP_TRUNK_AUTH_ERROR_QUOTA_EXCEEDED:
            raise Refused(503, "livekit-server says that the quota is used up")
        if auth.error_code == rpc.SIP_TRUNK_AUTH_ERROR_NO_TRUNK_FOUND:
            raise Refused(404, "livekit-server found no trunk")
        if auth.drop:
            raise Refused(403, "livekit-server wants this call dropped")

    async def _explain(self, call: Inbound) -> Explanation | None:
        state = await self._state()
        return explain(state, call.match) if state else None

    async def _state(self) -> State | None:
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                return await self._directory.state()
        except (TimeoutError, aiohttp.ClientError, api.ServerError) as error:
            logger.warning("cannot list trunks and rules", extra={"error": str(error)})
            return None

    async def _ask(self, method: str, request: Message, answer: type[_Answer]) -> _Answer:
        try:
            return await self._bus.call("IOInfo", method, request, answer, timeout=3.0)
        except BusError as error:
            if error.code in ("unavailable", "deadline_exceeded", "canceled"):
                why = f"livekit-server does not answer on the bus ({error.message})"
                raise Refused(503, why, headers=[("Retry-After", "5")]) from error
            if "No SIP" in error.message:
                raise Refused(404, "livekit-server found no dispatch rule") from error
            raise Refused(500, f"livekit-server refused {method}: {error.code}") from error


class LiveKitDirectory:
    """Trunks and rules by LiveKit's public API."""

    def __init__(self, livekit: api.LiveKitAPI) -> None:
        self._livekit = livekit

    async def state(self) -> State:
        """All of them; a refused call asks, so that the answer is never old."""
        trunks, rules = await asyncio.gather(
            self._livekit.sip.list_inbound_trunk(sip.ListSIPInboundTrunkRequest()),
            self._livekit.sip.list_dispatch_rule(sip.ListSIPDispatchRuleRequest()),
        )
        return State(inbound=tuple(map(wire.read, trunks.items)), rules=tuple(map(wire.read, rules.items)))


def asks_pin(dispatch: rpc.EvaluateSIPDispatchRulesResponse) -> bool:
    """Whether the caller must type a PIN before he learns of a room."""
    legacy = dispatch.result == rpc.LEGACY_ACCEPT_OR_PIN and dispatch.request_pin
    return legacy or dispatch.result == rpc.REQUEST_PIN


def _leads_to_room(dispatch: rpc.EvaluateSIPDispatchRulesResponse) -> bool:
    accepted = dispatch.result in (rpc.ACCEPT, rpc.LEGACY_ACCEPT_OR_PIN) and not asks_pin(dispatch)
    return accepted and bool(dispatch.room_name)


def participant_token(
    key: str,
    secret: str,
    room_name: str,
    identity: str,
    name: str,
    metadata: str,
    attributes: Mapping[str, str],
    *,
    room_preset: str = "",
    room_config: room.RoomConfiguration | None = None,
) -> str:
    """The token with which a SIP participant joins; a room configuration in it dispatches the agent."""
    token = (
        api.AccessToken(key, secret)
        .with_identity(identity)
        .with_name(name)
        .with_metadata(metadata)
        .with_attributes(dict(attributes))
        .with_kind("sip")
        .with_ttl(TOKEN_LIFETIME)
        .with_grants(
            api.VideoGrants(
                room_join=True,
                room=room_name,
                can_publish=True,
                can_subscribe=True,
                can_publish_data=True,
                can_update_own_metadata=True,
            )
        )
    )
    if room_preset:
        token = token.with_room_preset(room_preset)
    if room_config is not None:
        token = token.with_room_config(room_config)
    return token.to_jwt()
