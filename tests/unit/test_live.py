"""`Live` against a scripted API: pages, updates, and what each failure means."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from livekit.protocol import sip as pb

from sip.api import live, mark
from sip.api.connect import Target
from sip.api.failure import explain
from sip.api.live import Live
from sip.errors import ApiError, NotFound
from sip.model import AgentDispatch, InboundTrunk, Media, OutboundTrunk, Rule

SECRET = "s" * 32
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncGenerator[str]:
    """An HTTP server that answers everything with `handler`; its address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Api:
    """A server that holds inbound trunks and one rule, and keeps what it is sent."""

    def __init__(self, pages: int = 0) -> None:
        self.trunks: dict[str, pb.SIPInboundTrunkInfo] = {}
        self.rules: dict[str, pb.SIPDispatchRuleInfo] = {}
        self.pages = pages
        """Most objects of one answer; 0: all of them."""
        self.asked: list[str] = []
        self.updates: list[Any] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """One call of the API."""
        method = request.path.rpartition(".")[2].partition("/")[2] or request.path.rpartition("/")[2]
        self.asked.append(method)
        body = await request.read()
        return web.Response(body=getattr(self, method)(body).SerializeToString())

    def ListSIPInboundTrunk(self, body: bytes) -> Any:
        """All trunks, or those of a page or of some ids."""
        query = pb.ListSIPInboundTrunkRequest.FromString(body)
        found = [
            each for id, each in sorted(self.trunks.items()) if not query.trunk_ids or id in query.trunk_ids
        ]
        if self.pages:
            found = [each for each in found if each.sip_trunk_id > query.page.after_id][
                : min(self.pages, query.page.limit)
            ]
        return pb.ListSIPInboundTrunkResponse(items=found)

    def ListSIPOutboundTrunk(self, body: bytes) -> Any:
        """None."""
        return pb.ListSIPOutboundTrunkResponse()

    def ListSIPDispatchRule(self, body: bytes) -> Any:
        """All rules."""
        return pb.ListSIPDispatchRuleResponse(items=self.rules.values())

    def UpdateSIPInboundTrunk(self, body: bytes) -> Any:
        """Keep the request."""
        query = pb.UpdateSIPInboundTrunkRequest.FromString(body)
        self.updates.append(query)
        return query.replace if query.HasField("replace") else self.trunks[query.sip_trunk_id]

    def UpdateSIPDispatchRule(self, body: bytes) -> Any:
        """Keep the request."""
        query = pb.UpdateSIPDispatchRuleRequest.FromString(body)
        self.updates.append(query)
        return query.replace if query.HasField("replace") else self.rules[query.sip_dispatch_rule_id]

    def trunk(self, id: str, **fields: Any) -> pb.SIPInboundTrunkInfo:
        """One more trunk."""
        self.trunks[id] = pb.SIPInboundTrunkInfo(sip_trunk_id=id, **fields)
        return self.trunks[id]


@asynccontextmanager
async def connected(api: Api) -> AsyncGenerator[Live]:
    """A `Live` that talks to a scripted server."""
    async with listening(api) as url, Live(Target(url, "key", SECRET, "flags")) as found:
        yield found


@pytest.mark.parametrize("pages", [0, live.PAGE])
@pytest.mark.parametrize("count", [0, 1, live.PAGE, live.PAGE + 1, 2 * live.PAGE])
async def test_all_pages_are_read(pages: int, count: int) -> None:
    """A server that pages, and one that gives everything at once, both give every trunk once."""
    api = Api(pages)
    for index in range(count):
        api.trunk(f"ST_{index:04}")
    async with connected(api) as found:
        state = await found.fetch()
    assert [trunk.id for trunk in state.inbound] == sorted(api.trunks)


async def test_an_update_sends_fields_where_that_is_enough() -> None:
    """Names and lists change by field; an emptied list, a map or a time need the whole object."""
    api = Api()
    api.trunk("ST_one", name="one", numbers=["+1"], auth_username="u", auth_password="p", krisp_enabled=True)
    async with connected(api) as found:
        old = await found.find("inbound", "one")
        await found.update(old, dataclasses.replace(old, name="two", numbers=("+2",)))
        await found.update(old, dataclasses.replace(old, numbers=()))
        await found.update(old, dataclasses.replace(old, headers={"X-A": "b"}))
        await found.update(old, dataclasses.replace(old, ringing_timeout=5))
        await found.update(old, old)
    fields, *whole = api.updates
    assert fields.update == pb.SIPInboundTrunkUpdate(name="two", numbers={"set": ["+2"]})
    assert [each.WhichOneof("action") for each in whole] == ["replace"] * 3, "and nothing for no change"
    assert list(whole[0].replace.numbers) == []
    assert all((each.replace.auth_password, each.replace.krisp_enabled) == ("p", True) for each in whole)


async def test_a_replace_starts_from_the_live_object() -> None:
    """What the model does not know, and what others changed meanwhile, stays."""
    api = Api()
    live_trunk = api.trunk("ST_one", name="one", numbers=["+1"])
    live_trunk.created_at.seconds = 1000
    live_trunk.MergeFromString(b"\xc2\x3e\x03new")  # field 1000, of a newer server
    async with connected(api) as found:
        old = await found.find("inbound", "ST_one")
        live_trunk.auth_realm = "somebody else's change"
        await found.update(old, dataclasses.replace(old, headers={"X-A": "b"}))
    sent = api.updates[0].replace
    assert sent.auth_realm == "somebody else's change"
    assert sent.created_at.seconds == 1000
    assert sent.SerializeToString().endswith(b"\xc2\x3e\x03new")


async def test_a_rule_keeps_its_agents_other_fields_and_its_mark() -> None:
    """Restart policy and deployment stay with the agent's name; the mark is an attribute."""
    api = Api()
    rule = pb.SIPDispatchRuleInfo(sip_dispatch_rule_id="SDR_one", name="r", trunk_ids=["ST_one"])
    rule.rule.dispatch_rule_individual.room_prefix = "call-"
    rule.room_config.agents.add(agent_name="a", deployment="blue")
    api.rules["SDR_one"] = rule
    async with connected(api) as found:
        old = await found.find("rule", "r")
        agents = (AgentDispatch("a", "m"), AgentDispatch("b"))
        await found.update(old, dataclasses.replace(old, agents=agents, managed=True))
    sent = api.updates[0].replace
    assert [(each.agent_name, each.metadata, each.deployment) for each in sent.room_config.agents] == [
        ("a", "m", "blue"),
        ("b", "", ""),
    ]
    assert sent.attributes == {mark.ATTRIBUTE: "true"} and sent.metadata == ""


async def test_names_of_trunks_become_ids() -> None:
    """A rule may name its trunks; an unknown name stops it before anything is sent."""
    api = Api()
    api.trunk("ST_one", name="carrier")
    api.rules["SDR_one"] = pb.SIPDispatchRuleInfo(sip_dispatch_rule_id="SDR_one", trunk_ids=["ST_other"])
    api.rules["SDR_one"].rule.dispatch_rule_individual.SetInParent()
    async with connected(api) as found:
        old = await found.find("rule", "SDR_one")
        await found.update(old, dataclasses.replace(old, trunks=("carrier", "ST_one")))
        with pytest.raises(NotFound, match="carrier"):
            await found.update(old, dataclasses.replace(old, trunks=("carier",)))
    assert [list(each.update.trunk_ids.set) for each in api.updates] == [["ST_one"]]


def test_names_are_told_apart() -> None:
    """An id goes before a name; a name that stands twice lists the ids; a near one is proposed."""
    trunks = [
        InboundTrunk(id="ST_a", name="x"),
        InboundTrunk(id="ST_b", name="x"),
        InboundTrunk(id="ST_c", name="ST_a"),
    ]
    assert live.choose(trunks, "inbound", "ST_a").id == "ST_a"
    with pytest.raises(NotFound, match="2 inbound trunks are named 'x': ST_a, ST_b"):
        live.choose(trunks, "inbound", "x")
    with pytest.raises(NotFound, match="Did you mean 'ST_c'"):
        live.choose(trunks, "inbound", "ST_cc")
    with pytest.raises(NotFound, match="sip trunk outbound create"):
        live.choose(list[OutboundTrunk](), "outbound", "x")
    with pytest.raises(NotFound, match="empty"):
        live.choose(list[Rule](), "rule", " ")


async def failure(handler: Handler | None, url: str = "", **target: str) -> ApiError:
    """What `fetch` says of a server."""
    if handler is not None:
        async with listening(handler) as url:
            return await failure(None, url + target.pop("path", ""), **target)
    async with Live(Target(url, "key", SECRET, target.get("origin", "environment"))) as found:
        with pytest.raises(ApiError) as caught:
            await found.fetch()
    assert SECRET not in str(caught.value)
    return caught.value


def answering(status: int, body: Any = None) -> Handler:
    """A server that answers everything so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status) if body else web.Response(status=status, text="no JSON")

    return handle


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (answering(401), "refused the API key.*LIVEKIT_API_SECRET"),
        (answering(401, {"code": "unauthenticated", "msg": "permissions denied"}), "sip.admin"),
        (answering(404), "no LiveKit API at ws://127.0.0.1"),
        (answering(404, {"code": "bad_route", "msg": "no handler for path"}), "too old"),
        (answering(503), "server failed"),
        (answering(500, {"code": "internal", "msg": "sip not connected (redis required)"}), "redis.address"),
        (answering(400, {"code": "invalid_argument", "msg": "what is this"}), "what is this"),
    ],
)
async def test_refusals_are_explained(handler: Handler, text: str) -> None:
    """Wrong keys, missing grants, no API, no Redis: each is said, with the mend."""
    error = await failure(handler)
    assert re.search(text, str(error)), str(error)


async def test_a_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, no such host, no TLS, no answer: said within the time, once."""
    refused = await failure(None, "ws://127.0.0.1:1")
    assert "Connection refused" in str(refused) and refused.code == "unreachable"
    assert "stack status" in str(await failure(None, "ws://127.0.0.1:1", origin="local stack x"))
    monkeypatch.setattr(live, "TIMEOUT", 0.2)

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with listening(hang) as url:
        assert "did not answer in time" in str(await failure(None, url))
    monkeypatch.undo()
    async with listening(answering(200)) as url:
        assert "TLS" in str(await failure(None, url.replace("ws:", "wss:")))


def test_cloud_has_its_own_mends() -> None:
    """A wrong subdomain of LiveKit Cloud answers 404; a hidden password is never wiped by a replace."""
    target = Target("wss://wrong.livekit.cloud", "key", SECRET, ".env")
    error = explain(live.api.TwirpError("unknown", "", status=404), target, "reading")
    assert "wss://PROJECT.livekit.cloud" in str(error)
    hidden = pb.SIPOutboundTrunkInfo(sip_trunk_id="ST_one", auth_username="u")
    with pytest.raises(ApiError, match="--auth-password-env"):
        Live(target)._check_password(hidden)
    Live(Target("ws://own.example", "key", SECRET, ".env"))._check_password(hidden)


def test_a_field_update_says_all_or_nothing() -> None:
    """One change that it cannot say makes it a full replace; the older encryption field follows `media`."""
    before = pb.SIPOutboundTrunkInfo(name="a", address="x.example", numbers=["*"])
    after = pb.SIPOutboundTrunkInfo(name="b", address="x.example", numbers=["*"])
    assert live.field_update(before, after) == {"name": "b"}
    after.from_host = "me.example"
    assert live.field_update(before, after) is None
    after.from_host = ""
    live.wire.write(after, OutboundTrunk(name="b", media=Media(encryption="require")), {"media"})
    assert live.field_update(before, after) == {"name": "b", "media": after.media}
