"""`sip plan`, `sip apply` and `sip import` against a real livekit-server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit import api, rtc

from lab.processes import Supervisor
from sip.api.connect import Target
from sip.api.live import Live
from sip.dispatch.decide import rule_conflict, trunk_conflict
from sip.model import InboundTrunk, OutboundTrunk, Rule, State
from sip.plan.apply import ApplyError, apply
from sip.plan.occupied import calls_by_trunk
from sip.plan.plan import plan
from sip.plan.unsafe import ALLOWABLE
from tests.stack.rig import Rig

pytestmark = pytest.mark.stack
EXAMPLE = Path(__file__).parents[2] / "trunks.yaml"


class Shell:
    """The command `sip` in a directory of its own, against one server."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.target = Target(rig.url, rig.key, rig.secret, "test")
        self.directory = directory
        self.environment = {name: value for name, value in os.environ.items() if "PASSWORD" not in name} | {
            "LIVEKIT_URL": rig.url,
            "LIVEKIT_API_KEY": rig.key,
            "LIVEKIT_API_SECRET": rig.secret,
        }

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = [sys.executable, "-m", "sip.cli", *arguments]
        return await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def write(self, text: str, name: str = "trunks.yaml") -> None:
        """Put a file there."""
        (self.directory / name).write_text(text)

    async def state(self) -> State:
        """What the server holds."""
        async with Live(self.target) as live:
            return await live.fetch()

    async def create(self, *items: Any) -> list[Any]:
        """Objects that others made."""
        async with Live(self.target) as live:
            return [await live.create(item) for item in items]


@asynccontextmanager
async def shell(binary: Path, directory: Path) -> AsyncGenerator[Shell]:
    """Store and livekit-server, nothing else."""
    async with Supervisor() as supervisor:
        rig = Rig(supervisor, binary, directory)
        await rig.start_store()
        await rig.start_server()
        home = directory / "home"
        home.mkdir()
        yield Shell(rig, home)


async def test_a_file_is_planned_applied_imported_and_pruned(livekit_server: Path, tmp_path: Path) -> None:
    """The whole way of a file; each second time there is nothing to do."""
    async with shell(livekit_server, tmp_path) as sip:
        await _apply_twice(sip)
        await _update_in_place(sip)
        await _import_and_plan(sip)
        await _prune_only_ours(sip)
        await _refuse(sip)


async def _apply_twice(sip: Shell) -> None:
    sip.write(EXAMPLE.read_text())
    planned = await sip("plan")
    assert planned.returncode == 0, planned.stderr
    assert "3 to create, 0 to update, 0 to delete" in planned.stdout
    assert (await sip("plan", "--check")).returncode == 1
    assert not [*await sip.state()], "a plan writes nothing"
    asked = await sip("apply")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert not [*await sip.state()], "without an answer nothing is written"
    applied = await sip("apply", "--yes")
    assert applied.returncode == 0, applied.stderr
    state = await sip.state()
    assert [item.name for item in state] == ["desk", "far-end", "reception"]
    assert all(item.managed for item in (*state.inbound, *state.outbound, *state.rules))
    assert state.rules[0].trunks == (state.inbound[0].id,)
    again = await sip("apply", "--yes")
    assert (again.returncode, again.stdout[:13]) == (0, "nothing to do")
    assert await sip.state() == state
    assert (await sip("plan", "--check")).returncode == 0


async def _update_in_place(sip: Shell) -> None:
    before = await sip.state()
    sip.write(EXAMPLE.read_text().replace('["+15550123"]\n    allowed', '["+15550125"]\n    allowed'))
    planned = await sip("plan", "--json")
    [change] = json.loads(planned.stdout)["changes"]
    assert (change["action"], change["id"]) == ("update", before.inbound[0].id)
    assert change["fields"] == [{"field": "numbers", "old": ["+15550123"], "new": ["+15550125"]}]
    assert (await sip("apply", "-y")).returncode == 0
    after = await sip.state()
    assert after == replace(before, inbound=(replace(before.inbound[0], numbers=("+15550125",)),))


async def _import_and_plan(sip: Shell) -> None:
    """Names that are missing or there twice, secrets, and values that YAML could misread."""
    one = InboundTrunk(
        name="no",
        numbers=("0123", "+1 555 0199"),
        allowed_addresses=("203.0.113.7", "203.0.113.0/24"),
        auth_username="1e3",
        auth_password="pass: #word ${HOME}",
        headers={"X-Token": "top-secret", "X-Empty": "", "X-Colon": "a: b"},
        metadata='{"a": 1}',
        ringing_timeout=0.25,
    )
    out = OutboundTrunk(name="twice", address="sip.example.com", numbers=("*",), transport="tls")
    made = await sip.create(one, replace(one, name="", numbers=("+15550188",)), out, out)
    rule = Rule(
        name="yes",
        kind="direct",
        room="${ROOM}",
        pin="0815",
        trunks=(made[0].id, "ST_gone"),
        room_config={"empty_timeout": 30},
    )
    await sip.create(rule)
    state = await sip.state()
    imported = await sip("import", "live.yaml")
    assert imported.returncode == 0, imported.stderr
    text = (sip.directory / "live.yaml").read_text()
    for secret in ("pass: #word", "top-secret", "0815"):
        assert secret not in text + imported.stdout + imported.stderr
    planned = await sip("plan", "live.yaml")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.startswith("nothing to do"), planned.stdout
    assert "NO_PASSWORD is not set" in planned.stderr
    assert (await sip("import", "live.yaml")).returncode == 2, "no file is overwritten"
    with_secrets = await sip("import", "live.yaml", "--force", "--env-file", ".env")
    assert with_secrets.returncode == 0, with_secrets.stderr
    assert (sip.directory / ".env").stat().st_mode & 0o077 == 0
    planned = await sip("plan", "live.yaml")
    assert (planned.stdout[:13], "not set" in planned.stderr) == ("nothing to do", False), planned.stdout
    (sip.directory / ".env").unlink()
    assert await sip.state() == state


async def _prune_only_ours(sip: Shell) -> None:
    before = await sip.state()
    sip.write('outbound:\n  far-end: {address: "127.0.0.1:5070", transport: udp, numbers: ["+15550123"]}\n')
    kept = await sip("apply", "--yes")
    assert kept.stdout.startswith("nothing to do")
    pruned = await sip("apply", "--yes", "--prune")
    assert pruned.returncode == 0, pruned.stderr
    assert "left alone" in pruned.stderr and "twice" in pruned.stderr
    after = await sip.state()
    gone = {item.name for item in before} - {item.name for item in after}
    assert gone == {"desk", "reception"}
    assert len([*before]) - len([*after]) == 2


async def _refuse(sip: Shell) -> None:
    before = await sip.state()
    sip.write('inbound:\n  open: {numbers: ["+15550177"]}\n')
    for command in (("plan",), ("apply", "--yes")):
        refused = await sip(*command)
        assert refused.returncode == 1
        assert "trunks.yaml:2" in refused.stdout and "--allow open-trunk" in refused.stdout
    assert await sip.state() == before
    allowed = await sip("apply", "--yes", "--allow", "open-trunk", "--json")
    assert allowed.returncode == 0, allowed.stderr
    [done] = json.loads(allowed.stdout)["done"]
    assert done["id"] in {trunk.id for trunk in (await sip.state()).inbound}


class Failing:
    """A proxy before a server's API that answers one write with 503; `fails_at` counts writes from 0."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("ws", "http", 1)
        self.fails_at: int | None = None
        self.url = ""

    async def __aenter__(self) -> Failing:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        if not request.path.split("/")[-1].startswith("List") and self.fails_at is not None:
            self.fails_at -= 1
            if self.fails_at < 0:
                self.fails_at = None
                return web.json_response({"code": "unavailable", "msg": "out of order"}, status=503)
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        body = await request.read()
        async with self._session.post(self._url + request.path, data=body, headers=headers) as answer:
            return web.Response(
                body=await answer.read(), status=answer.status, content_type=answer.content_type
            )


STEPS = """
inbound:
  a: {numbers: ["+15550101"], allowed_addresses: [203.0.113.1]}
  b: {numbers: ["+15550102"], allowed_addresses: [203.0.113.2]}
rules:
  r: {trunks: [a, b], agent: phone-agent}
"""


async def test_an_apply_that_fails_half_way_is_told_and_gone_on_with(
    livekit_server: Path, tmp_path: Path
) -> None:
    """Exit 1, what was done and what not, whichever step it is; the next apply does the rest."""
    async with shell(livekit_server, tmp_path) as sip, Failing(sip.target.url) as proxy:
        steps = ["create inbound trunk a", "create inbound trunk b", "create rule r"]
        sip.environment["LIVEKIT_URL"] = proxy.url
        for fails_at in range(len(steps)):
            sip.write(STEPS)
            proxy.fails_at = fails_at
            failed = await sip("apply", "--yes")
            assert failed.returncode == 1, failed.stdout + failed.stderr
            assert f"step {fails_at + 1} of 3 failed: {steps[fails_at]}" in failed.stderr
            done, left = failed.stderr.split("Not done:")
            assert [step in done.partition("Done:")[2] for step in steps] == [
                index < fails_at for index in range(3)
            ]
            assert [step in left for step in steps] == [index >= fails_at for index in range(3)]
            assert len([*await sip.state()]) == fails_at
            finished = await sip("apply", "--yes")
            assert finished.returncode == 0, finished.stderr
            assert f"{3 - fails_at} created" in finished.stdout
            assert (await sip("apply", "--yes")).stdout.startswith("nothing to do")
            sip.write("rules: {}\n")
            cleared = await sip("apply", "--yes", "--prune", "--allow", "delete-everything")
            assert cleared.returncode == 0, cleared.stderr


async def test_a_trunk_with_a_live_call_is_not_deleted(livekit_server: Path, tmp_path: Path) -> None:
    """Whoever is in a room as a SIP participant of a trunk keeps its numbers from being taken away."""
    async with shell(livekit_server, tmp_path) as sip:
        sip.write(STEPS)
        assert (await sip("apply", "--yes")).returncode == 0
        trunk = next(each for each in (await sip.state()).inbound if "+15550101" in each.numbers)
        token = (
            api.AccessToken(sip.target.key, sip.target.secret)
            .with_identity("sip_alice")
            .with_kind("sip")
            .with_attributes({"sip.trunkID": trunk.id})
            .with_grants(api.VideoGrants(room_join=True, room="call-1"))
        )
        caller = rtc.Room()
        await caller.connect(sip.target.url, token.to_jwt())
        async with Live(sip.target) as live, asyncio.timeout(10):
            while await calls_by_trunk(live) != {trunk.id: 1}:  # noqa: ASYNC110 -- a server is polled
                await asyncio.sleep(0.05)  # the server stores participants a moment after they have joined
        sip.write(STEPS.replace("+15550101", "+15550109"))
        refused = await sip("apply", "--yes")
        assert refused.returncode == 1
        assert "1 call is on it now" in refused.stdout and "--allow busy-trunk" in refused.stdout
        assert trunk in (await sip.state()).inbound
        await caller.disconnect()


NUMBERS = ("+1555", "1555", "+1 (555)", "+1666", "1777", "desk")


def _drawn(chance: random.Random) -> State:
    """Trunks and rules that get into each other's way."""

    def numbers() -> tuple[str, ...]:
        return tuple(chance.sample(NUMBERS, chance.choice((0, 1, 1, 2))))

    trunks = [
        InboundTrunk(
            name=name,
            numbers=numbers(),
            allowed_numbers=chance.choice(((), numbers())),
            allowed_addresses=("203.0.113.1",),
        )
        for name in "abc"[: chance.randint(1, 3)]
    ]
    rules = [
        Rule(
            name=name,
            kind=chance.choice(("individual", "callee")),
            pin=chance.choice(("", "", "1", "2")),
            trunks=tuple(chance.sample([trunk.name for trunk in trunks], chance.randint(0, len(trunks)))),
            numbers=numbers(),
            inbound_numbers=chance.choice(((), (), numbers())),
        )
        for name in "xyz"[: chance.randint(0, 3)]
    ]
    return State(tuple(trunks), (), tuple(rules))


async def test_what_the_server_refuses_is_foreseen(livekit_server: Path, tmp_path: Path) -> None:
    """From one random state to the next: no write is refused that the plan does not foresee.

    What it foresees is refused, or leaves a conflict that fails calls: livekit-server does not check every
    update against all that there is.
    """
    chance = random.Random(4)
    counts = {"refused": 0, "taken": 0, "conflict": 0}
    async with shell(livekit_server, tmp_path) as sip, Live(sip.target) as live:
        for _ in range(250):
            wanted = _drawn(chance)
            made = plan(wanted, await live.fetch(), allow=ALLOWABLE, prune=True)
            if made is None:
                continue
            try:
                await apply(replace(made, findings=()), live)
                refused = ""
            except ApplyError as error:
                refused = str(error)
            state = await live.fetch()
            conflict = rule_conflict(state.rules) or any(
                trunk_conflict(one, [two]) for one, two in itertools.combinations(state.inbound, 2)
            )
            if made.refused:
                assert refused or conflict
                counts["refused" if refused else "conflict"] += 1
            else:
                assert not refused, f"{wanted}\n{made.steps}\n{refused}"
                assert not conflict
                assert plan(wanted, state, prune=True) is None
                counts["taken"] += 1
            if conflict:
                for item in (*state.rules, *state.inbound):
                    await live.delete(item)
    assert counts["refused"] >= 50 and counts["taken"] >= 50, counts
