"""`sip call`, `sip calls`, `sip transfer`, `sip hangup`: calls that are made, seen, moved and ended."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sip.cli import output
from sip.cli.names import names_of
from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url, Yes
from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from sip.api.connect import Target
    from sip.calls.current import LiveCall
    from sip.calls.outgoing import Event, Order, Outcome

Numbers = Annotated[bool, typer.Option("--numbers", help="Show phone numbers in full.")]
Header = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A SIP header; may be repeated.")
]


def call(
    to: Annotated[str, typer.Argument(help="Number or extension to call, as the trunk wants it: +15550123.")],
    trunk: Annotated[
        str,
        typer.Option(
            "--trunk",
            help="Outbound trunk, name or id; the only one by default.",
            autocompletion=names_of("outbound"),
        ),
    ] = "",
    agent: Annotated[
        str, typer.Option("--agent", help="Name of the agent that talks (AGENT_NAME; the local stack's).")
    ] = "",
    metadata: Annotated[str, typer.Option("--metadata", help="For the agent's job; JSON by custom.")] = "",
    header: Header = None,
    caller_id: Annotated[str, typer.Option("--caller-id", help="Our number; the trunk's by default.")] = "",
    ring_timeout: Annotated[float, typer.Option("--ring-timeout", help="Seconds that it may ring.")] = 30.0,
    max_duration: Annotated[
        float, typer.Option("--max-duration", help="Seconds until the call is cut; 0: the server's default.")
    ] = 0.0,
    dtmf: Annotated[str, typer.Option("--dtmf", help="Digits after the answer; w waits 0.5 s.")] = "",
    room: Annotated[str, typer.Option("--room", help="A room of your own; a new one by default.")] = "",
    until: Annotated[
        Literal["answered", "ended"], typer.Option("--until", help="How long to wait.")
    ] = "ended",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the answer; or return once it is dialled.")
    ] = True,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Call a number with an agent, and say what happens as it happens.

    The agent joins first, so that nobody is called by an agent that is not there. Exit code 0 only when
    the call was answered (with --no-wait: dialled). Ctrl-C hangs up.
    """
    from sip.api.connect import find
    from sip.calls.outgoing import Order, check, trunk_for

    if metadata.lstrip()[:1] in ("{", "["):
        _check_json(metadata)
    headers = _headers(header)
    target = find(url, api_key, api_secret, stack)

    async def run() -> Outcome:
        from sip.api.live import Live
        from sip.calls.outgoing import place

        async with Live(target) as live:
            chosen = trunk_for(await live.list("outbound"), trunk)
            order = Order(
                to=to,
                trunk=chosen,
                agent=agent or ("" if room else _agent_of(target)),
                metadata=metadata,
                headers=headers,
                caller_id=caller_id,
                ring_timeout=ring_timeout,
                max_duration=max_duration,
                dtmf=dtmf,
                room=room,
            )
            check(order)
            if not order.agent and not room:
                raise ConfigurationError(
                    "nobody would talk", "neither --agent nor --room is given", "Give --agent NAME"
                )
            return await place(live, order, lambda e: _tell(e, order, as_json), until if wait else "dialled")

    outcome = _cancellable(run())
    if outcome is None:
        output.say("hung up")
        raise typer.Exit(1)
    if as_json:
        output.as_json(outcome)
    elif outcome.code >= 300:
        _advise(outcome.code)
    raise typer.Exit(0 if outcome.answered or (not wait and not outcome.why) else 1)


def calls(
    numbers: Numbers = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second, until Ctrl-C.")] = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Who is on the line now: how long, over which trunk, with which agent."""
    from sip.api.connect import find

    target = find(url, api_key, api_secret, stack)

    async def once() -> None:
        from sip.api.live import Live

        async with Live(target) as live:
            await _print_calls(live, numbers=numbers, as_json=as_json)

    async def again() -> None:
        from sip.api.live import Live

        async with Live(target) as live:
            while True:
                if output.colours():
                    print("\x1b[H\x1b[2J", end="")
                await _print_calls(live, numbers=numbers, as_json=as_json)
                await asyncio.sleep(1)

    if watch:
        _cancellable(again())
    else:
        asyncio.run(once())


def transfer(
    call: Annotated[str, typer.Argument(help="Row of `sip calls`, room, identity, call id or its start.")],
    to: Annotated[str, typer.Argument(help="tel:+15550123, sip:desk@pbx.example, or a number.")],
    header: Header = None,
    ring_timeout: Annotated[
        float, typer.Option("--ring-timeout", help="Seconds that the target may ring.")
    ] = 30.0,
    dialtone: Annotated[
        bool, typer.Option("--dialtone", help="Let the caller hear it ring meanwhile.")
    ] = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Hand the far end over to another number or address (REFER), and say what became of it.

    Exit code 0 when it got there. A call that was over when the server answered is `unconfirmed`: the API
    calls that a success, and it may be one.
    """
    from sip.api.connect import find
    from sip.calls.current import target_uri
    from sip.codes import meaning

    target_uri(to)  # before anything is asked
    headers = _headers(header)
    target = find(url, api_key, api_secret, stack)

    async def run() -> tuple[Any, LiveCall]:
        from sip.api.live import Live
        from sip.calls import current as line

        async with Live(target) as live:
            chosen = line.choose(await line.on_line(live), call)
            result = await line.transfer(
                live,
                chosen,
                to,
                headers=headers,
                ringing_timeout=ring_timeout,
                dialtone=dialtone,
                records=_records(target),
            )
            return result, chosen

    result, chosen = asyncio.run(run())
    if as_json:
        output.as_json({**vars(result), "room": chosen.room, "call_id": chosen.call_id})
    elif result.outcome == "transferred":
        output.say(f"transferred {chosen.call_id or chosen.room}")
    elif result.outcome == "unconfirmed":
        output.warn(f"unconfirmed: {result.why}")
    elif result.outcome == "ended":
        output.say(f"not transferred: {result.why}")
    else:
        code = f"{result.code} {result.why}: {meaning(result.code)}" if result.code else result.why
        output.say(f"not transferred: {code}; the call goes on")
        if result.code:
            _advise(result.code)
    raise typer.Exit(0 if result.outcome in ("transferred", "unconfirmed") else 1)


def hangup(
    call: Annotated[
        str, typer.Argument(help="Row of `sip calls`, room, identity, call id or its start.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every call of the project.")] = False,
    yes: Yes = False,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """End a call: its far end gets BYE, and the room goes on without it."""
    from sip.api.connect import find

    if bool(call) == everything:
        raise ConfigurationError("which call?", "", "Name one, or give --all")
    target = find(url, api_key, api_secret, stack)

    async def run() -> list[LiveCall]:
        from sip.api.live import Live
        from sip.calls import current as line

        async with Live(target) as live:
            on_line = await line.on_line(live)
            chosen = on_line if everything else [line.choose(on_line, call)]
            if everything and chosen and not output.confirm(f"Hang up {len(chosen)} call(s)?", yes=yes):
                return []
            done = await asyncio.gather(*(line.hang_up(live, each) for each in chosen))
            return [each for each, ended in zip(chosen, done, strict=True) if ended]

    ended = asyncio.run(run())
    if as_json:
        output.as_json({"ended": [{"room": each.room, "call_id": each.call_id} for each in ended]})
    else:
        for each in ended:
            print(f"ended {each.call_id or each.room}")
        if not ended:
            output.say("nobody is on the line" if everything else "the call was over already")


async def _print_calls(live: Any, *, numbers: bool, as_json: bool) -> None:
    from sip.calls.current import masked, on_line

    now = time.time()
    found, trunks = await asyncio.gather(on_line(live), live.fetch())
    names = {trunk.id: trunk.name or trunk.id for trunk in (*trunks.inbound, *trunks.outbound)}

    def shown(number: str) -> str:
        return number if numbers else masked(number)

    if as_json:
        output.as_json(
            [
                {
                    "room": each.room,
                    "identity": shown(each.identity),
                    "direction": each.direction,
                    "far": shown(each.far),
                    "ours": shown(each.ours),
                    "trunk": names.get(each.trunk_id, ""),
                    "trunk_id": each.trunk_id,
                    "rule_id": each.rule_id,
                    "agents": each.agents,
                    "status": each.status,
                    "since": each.since,
                    "duration_s": round(each.seconds(now), 1),
                    "call_id": each.call_id,
                    "call_id_full": each.call_id_full,
                }
                for each in found
            ]
        )
        return
    output.table(
        ("#", "room", "call id", "way", "far end", "ours", "trunk", "agent", "status", "since", "for"),
        [
            (
                number,
                each.room if numbers else _unnumbered(each),
                each.call_id,
                "in" if each.direction == "inbound" else "out",
                shown(each.far),
                shown(each.ours),
                names.get(each.trunk_id, each.trunk_id),
                each.agents,
                each.status,
                time.strftime("%H:%M:%S", time.localtime(each.since)) if each.since else "",
                _clock(each.seconds(now)),
            )
            for number, each in enumerate(found, 1)
        ],
        empty="nobody is on the line",
    )


def _unnumbered(each: LiveCall) -> str:
    """The room's name; livekit-sip makes it of the caller's number."""
    from sip.calls.current import masked

    name = each.room
    for number in (each.far, each.far.removeprefix("+")):
        if len(number) > 3:
            name = name.replace(number, masked(number))
    return name


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _tell(event: Event, order: Order, as_json: bool) -> None:
    """One event: a line for people, a JSON line on standard error for machines."""
    if as_json:
        fields = {"event": event.name, "seconds": round(event.seconds, 3), "detail": event.detail}
        output.say(json.dumps(fields))
        return
    words = {
        "room": f"room {event.detail}",
        "agent": f"agent {event.detail} is there",
        "dialling": f"dialling over trunk {event.detail}",
        "ringing": "ringing (180)",
        "answered": "answered (200 OK)",
        "failed": f"not answered: {event.detail}",
        "ended": f"ended {event.detail}",
    }
    colour: output.Colour = {"answered": "green", "failed": "red"}.get(event.name, "dim")  # pyright: ignore[reportAssignmentType] # both are colours
    print(f"{event.seconds:6.1f} s  {output.paint(words[event.name], colour)}", flush=True)


def _advise(code: int) -> None:
    """What to do about a refusal."""
    from sip.advice import explain

    told = explain(code)
    if told and told.advice.mend:
        output.say(f"→ {told.advice.mend} (sip code {code})")


def _cancellable(work: Any) -> Any:
    """Run it; on Ctrl-C and TERM it is cancelled, may clean up, and None comes back."""

    async def main() -> Any:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    return asyncio.run(main())


def _headers(header: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in header or ():
        name, equals, value = each.partition("=")
        if not equals or not name.strip() or any(char in name for char in " :\r\n") or "\n" in value:
            raise ConfigurationError(f"--header {each!r} is no header", "", "Write NAME=VALUE: X-Order=42")
        pairs[name.strip()] = value.strip()
    return pairs


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise ConfigurationError("--metadata begins like JSON and is none", str(error)) from None


def _local(target: Target) -> Any:
    """The local stack behind a target; None when it is another server."""
    from sip import local

    return next((each for each in local.running() if each.livekit_url == target.url), None)


def _agent_of(target: Target) -> str:
    from sip.wanted.references import environment

    stack = _local(target)
    return stack.agent_name if stack else environment().get("AGENT_NAME", "")


def _records(target: Target) -> Path | None:
    """The records of the SIP service, where it runs on this machine."""
    stack = _local(target)
    return Path(stack.directory) / "records" if stack else None
