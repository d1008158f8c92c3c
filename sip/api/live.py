"""Trunks and rules of a LiveKit server, through its API.

What livekit-server 1.13 does, seen on a running one: lists give passwords and PINs back in plain text; the
answer is one page, whatever `page` asks for; a trunk id that nobody has is deleted without an error; an
empty list in a field update changes nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

import aiohttp
from livekit import api
from livekit.protocol import models
from livekit.protocol import sip as pb

from sip.api import wire
from sip.api.connect import Target
from sip.api.failure import CONNECT_TIMEOUT, explain
from sip.api.wire import ApiItem, Message
from sip.errors import ApiError, NotFound
from sip.model import InboundTrunk, OutboundTrunk, Rule, State

TIMEOUT = 20.0
"""Seconds for one request in all."""
PAGE = 100

_Item = TypeVar("_Item", bound=ApiItem)
_Answer = TypeVar("_Answer")
NOUNS: dict[wire.ApiKind, str] = {
    "inbound": "inbound trunk",
    "outbound": "outbound trunk",
    "rule": "dispatch rule",
}
COMMANDS: dict[wire.ApiKind, str] = {"inbound": "trunk inbound", "outbound": "trunk outbound", "rule": "rule"}
_FIELDS: dict[type, set[str]] = {
    pb.SIPInboundTrunkInfo: {
        "numbers",
        "allowed_addresses",
        "allowed_numbers",
        "auth_username",
        "auth_password",
        "name",
        "metadata",
        "media",
    },
    pb.SIPOutboundTrunkInfo: {
        "address",
        "transport",
        "numbers",
        "auth_username",
        "auth_password",
        "name",
        "metadata",
        "media",
    },
    pb.SIPDispatchRuleInfo: {"trunk_ids", "rule", "name", "metadata"},
}
"""What the client's field updates can say."""


class Live:
    """The trunks and rules of one server: `async with Live(target) as live: state = await live.fetch()`.

    Every method raises `ApiError` when the server cannot be reached or refuses, and `NotFound` for a name or
    id that it does not have.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._api: api.LiveKitAPI | None = None
        self._session: aiohttp.ClientSession | None = None
        self._seen: dict[str, Message] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            trust_env=not self.target.loopback,  # a proxy cannot reach this machine's own servers
        )
        self._api = api.LiveKitAPI(
            self.target.url,
            self.target.key,
            self.target.secret,
            session=cast("Any", _WithTimeout(self._session)),
            failover=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    @property
    def api(self) -> api.LiveKitAPI:
        """The client itself, for what is not about trunks and rules; send requests through `ask`."""
        assert self._api, "Live is used inside `async with`"
        return self._api

    async def ask(self, request: Awaitable[_Answer], what: str = "the request") -> _Answer:
        """Wait for a request of `api`; its errors become `ApiError`, which names `what` failed."""
        try:
            return await request
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise explain(error, self.target, what) from error

    async def fetch(self) -> State:
        """All trunks and rules."""
        inbound, outbound, rules = await asyncio.gather(
            self._list("inbound"), self._list("outbound"), self._list("rule")
        )
        return State(
            inbound=tuple(wire.read(cast("pb.SIPInboundTrunkInfo", each)) for each in inbound),
            outbound=tuple(wire.read(cast("pb.SIPOutboundTrunkInfo", each)) for each in outbound),
            rules=tuple(wire.read(cast("pb.SIPDispatchRuleInfo", each)) for each in rules),
        )

    @overload
    async def list(self, kind: Literal["inbound"]) -> list[InboundTrunk]: ...
    @overload
    async def list(self, kind: Literal["outbound"]) -> list[OutboundTrunk]: ...
    @overload
    async def list(self, kind: Literal["rule"]) -> list[Rule]: ...
    @overload
    async def list(self, kind: wire.ApiKind) -> list[Any]: ...
    async def list(self, kind: wire.ApiKind) -> list[Any]:
        """All of one kind."""
        return [wire.read(message) for message in await self._list(kind)]

    @overload
    async def find(self, kind: Literal["inbound"], name_or_id: str) -> InboundTrunk: ...
    @overload
    async def find(self, kind: Literal["outbound"], name_or_id: str) -> OutboundTrunk: ...
    @overload
    async def find(self, kind: Literal["rule"], name_or_id: str) -> Rule: ...
    @overload
    async def find(self, kind: wire.ApiKind, name_or_id: str) -> Any: ...
    async def find(self, kind: wire.ApiKind, name_or_id: str) -> Any:
        """The trunk or rule with this id, or else with this name. Raises `NotFound` for none and several."""
        items = await self.list(kind)
        try:
            return choose(items, kind, name_or_id)
        except NotFound:
            other: wire.ApiKind = "outbound" if kind == "inbound" else "inbound"
            if kind == "rule" or not any(
                name_or_id in (each.id, each.name) for each in await self.list(other)
            ):
                raise
        raise NotFound(
            f"no {NOUNS[kind]} has the name or id {name_or_id!r}",
            f"it is an {NOUNS[other]}",
            f"See `sip {COMMANDS[other]} show {name_or_id}`",
        )

    async def create(self, item: _Item, like: Message | None = None) -> _Item:
        """Make it; the answer has its id. `like` may hold fields that the model does not know."""
        item = await self._with_trunk_ids(item)
        message = wire.MESSAGES[wire.kind_of(item)]() if like is None else wire.copy(like)
        wire.write(message, item, None if like is None else wire.changed(wire.read(like), item))
        wire.assign(message, None)
        sip = self.api.sip
        request: Awaitable[Message]
        if isinstance(message, pb.SIPInboundTrunkInfo):
            request = sip.create_inbound_trunk(pb.CreateSIPInboundTrunkRequest(trunk=message))
        elif isinstance(message, pb.SIPOutboundTrunkInfo):
            request = sip.create_outbound_trunk(pb.CreateSIPOutboundTrunkRequest(trunk=message))
        else:
            request = sip.create_dispatch_rule(pb.CreateSIPDispatchRuleRequest(dispatch_rule=message))
        return cast("_Item", self._keep(await self.ask(request, f"creating {label(item)}")))

    async def update(self, old: _Item, new: _Item, like: Message | None = None) -> _Item:
        """Change `old` (it has the id) into `new`; the answer is what the server holds now.

        The live object is read again, and only what differs between `old` and `new` is written to it, so
        that neither fields that the model does not know nor others' changes are lost. `like` takes the place
        of the live object, for a full replace. Nothing is sent where nothing changes.
        """
        new = await self._with_trunk_ids(new)
        live = await self._again(old)
        wanted = wire.copy(live if like is None else like)
        before = old if like is None else wire.read(like)
        wire.write(wanted, new, wire.changed(before, new))
        wire.assign(wanted, live)
        if wanted == live:
            return cast("_Item", self._keep(live))
        request = self._request(live, wanted)
        return cast("_Item", self._keep(await self.ask(request, f"changing {label(old)}")))

    async def delete(self, item: ApiItem) -> None:
        """Remove it by its id."""
        if isinstance(item, Rule):
            request: Awaitable[Any] = self.api.sip.delete_dispatch_rule(
                pb.DeleteSIPDispatchRuleRequest(sip_dispatch_rule_id=item.id)
            )
        else:
            request = self.api.sip.delete_trunk(pb.DeleteSIPTrunkRequest(sip_trunk_id=item.id))
        await self.ask(request, f"deleting {label(item)}")
        self._seen.pop(item.id, None)

    def message(self, item: ApiItem) -> Message:
        """The server's own message of an item that this object has fetched or made, mark included."""
        return wire.copy(self._seen[item.id])

    async def _list(self, kind: wire.ApiKind, ids: Iterable[str] = ()) -> list[Message]:
        """All pages. A server that knows no pages gives everything at once: more, or the same again."""
        found: dict[str, Message] = {}
        after = ""
        while True:
            page = models.Pagination(after_id=after, limit=PAGE)
            answer = await self.ask(self._page(kind, [*ids], page), f"reading {NOUNS[kind]}s")
            items = {wire.id_of(each): each for each in answer}
            known = len(found)
            found |= items
            if len(items) != PAGE or len(found) == known:
                break
            after = wire.id_of(answer[-1])
        self._seen |= found
        return list(found.values())

    async def _page(self, kind: wire.ApiKind, ids: list[str], page: models.Pagination) -> list[Message]:
        sip = self.api.sip
        if kind == "inbound":
            inbound = await sip.list_inbound_trunk(pb.ListSIPInboundTrunkRequest(page=page, trunk_ids=ids))
            return list(inbound.items)
        if kind == "outbound":
            outbound = await sip.list_outbound_trunk(pb.ListSIPOutboundTrunkRequest(page=page, trunk_ids=ids))
            return list(outbound.items)
        rules = await sip.list_dispatch_rule(pb.ListSIPDispatchRuleRequest(page=page, dispatch_rule_ids=ids))
        return list(rules.items)

    async def _again(self, item: ApiItem) -> Message:
        found = [
            each for each in await self._list(wire.kind_of(item), [item.id]) if wire.id_of(each) == item.id
        ]
        if not found:
            raise NotFound(f"{label(item)} is gone", "somebody else deleted it")
        return found[0]

    async def _with_trunk_ids(self, item: _Item) -> _Item:
        """A rule's trunks as ids; names are looked up."""
        if not isinstance(item, Rule) or all(trunk.startswith("ST_") for trunk in item.trunks):
            return item
        trunks = await self.list("inbound")
        ids = tuple(dict.fromkeys(choose(trunks, "inbound", trunk).id for trunk in item.trunks))
        return cast("_Item", dataclasses.replace(item, trunks=ids))

    def _request(self, live: Message, wanted: Message) -> Awaitable[Message]:
        """An update of single fields where that can say it, of the whole object elsewhere."""
        sip = self.api.sip
        id = wire.id_of(live)
        fields = field_update(live, wanted)
        if fields is None and isinstance(wanted, (pb.SIPInboundTrunkInfo, pb.SIPOutboundTrunkInfo)):
            self._check_password(wanted)
        if isinstance(wanted, pb.SIPInboundTrunkInfo):
            if fields is None:
                return sip.update_inbound_trunk(id, wanted)
            return sip.update_inbound_trunk_fields(id, **fields)
        if isinstance(wanted, pb.SIPOutboundTrunkInfo):
            if fields is None:
                return sip.update_outbound_trunk(id, wanted)
            return sip.update_outbound_trunk_fields(id, **fields)
        if fields is None:
            return sip.update_dispatch_rule(id, wanted)
        return sip.update_dispatch_rule_fields(id, **fields)

    def _check_password(self, wanted: pb.SIPInboundTrunkInfo | pb.SIPOutboundTrunkInfo) -> None:
        """A server that hides passwords would lose one in a full replace; livekit-server shows them."""
        if self.target.cloud and wanted.auth_username and not wanted.auth_password:
            raise ApiError(
                f"changing trunk {wanted.name or wanted.sip_trunk_id}",
                "this change replaces the whole trunk, and the server does not show its password",
                "Give the password again with --auth-password-env",
            )

    def _keep(self, message: Message) -> ApiItem:
        self._seen[wire.id_of(message)] = message
        return wire.read(message)


class _WithTimeout:
    """A session for livekit-api 1.2, which passes `timeout=None` with most requests: to aiohttp that is no
    time limit at all, also where the session has one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.timeout = session.timeout

    def post(self, url: str, **options: Any) -> Any:
        """A request, with the session's own time limit unless another is asked for."""
        options["timeout"] = options.get("timeout") or self.timeout
        return self._session.post(url, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def choose(items: Iterable[_Item], kind: wire.ApiKind, name_or_id: str) -> _Item:
    """The item with this id, or else with this name. Raises `NotFound` for none and for several."""
    items = list(items)
    noun = NOUNS[kind]
    if not name_or_id.strip():
        raise NotFound(
            f"no {noun} is named", "the name is empty", f"`sip {COMMANDS[kind]} list` shows them all"
        )
    for item in items:
        if item.id == name_or_id:
            return item
    named = [item for item in items if item.name == name_or_id]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(sorted(item.id for item in named))
        raise NotFound(
            f"{len(named)} {noun}s are named {name_or_id!r}", ids, "Use the id of the one you mean"
        )
    names = [text for item in items for text in (item.name, item.id) if text]
    near = difflib.get_close_matches(name_or_id, names, n=1, cutoff=0.6)
    mend = f"Did you mean {near[0]!r}?" if near else f"`sip {COMMANDS[kind]} list` shows them all"
    if not items:
        mend = f"There are none yet: `sip {COMMANDS[kind]} create --help`"
    raise NotFound(f"no {noun} has the name or id {name_or_id!r}", "", mend)


def label(item: ApiItem) -> str:
    """How a message names an item: kind, and name or id; no numbers, which may be somebody's."""
    return f"{NOUNS[wire.kind_of(item)]} {item.name or item.id or '(no name)'}"


def field_update(live: Message, wanted: Message) -> dict[str, Any] | None:
    """Arguments for the API's field update, or None where only a full replace can say the change.

    `[]` in a field update is no change, and maps, times and most switches are not among its fields.
    """
    possible = _FIELDS[type(wanted)]
    fields: dict[str, Any] = {}
    for field in wanted.DESCRIPTOR.fields:
        value, before = getattr(wanted, field.name), getattr(live, field.name)
        same = value == before and (
            field.is_repeated
            or field.message_type is None
            or wanted.HasField(cast("Any", field.name)) == live.HasField(cast("Any", field.name))
        )
        if same or (field.name == "media_encryption" and wanted.media != live.media):
            continue  # the server keeps the older field in step with `media`
        if field.name not in possible or (field.is_repeated and not value):
            return None
        fields[field.name] = [*value] if field.is_repeated else value
    return fields
