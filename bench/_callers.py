"""SIP callers and a SIP echo for `bench.service`, in a process of their own: `python -m bench._callers`.

Reads one JSON line of orders from standard input, writes one JSON line of results. The agents are baresip's
with its default buffers, as the reference is two of them back to back.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from baresip import Account, AudioNotActive, AudioRestarted, Config
from baresip.call import Call, CallState
from baresip.runtime import Runtime
from baresip.ua import UserAgent

from bench import _chirp
from bench._priority import go_first
from lab.stack.ports import HOST

PACKET_S = 0.02
POLL_S = 0.004
SETTLE_S = 3.0
"""Between the last answer and the first sweep: jitter buffers calm down after the rush of setting up."""
APART_S = 0.3
"""Between two INVITEs."""
_ANY = 64_000


async def round_trips(agent: UserAgent, targets: list[str], seconds: float) -> list[list[float | None]]:
    """Round trips of each call's sweeps in ms; None for one that did not come back."""
    calls: list[Call] = []
    for target in targets:
        call = await agent.dial(target)
        await call.wait_established()
        calls.append(call)
        await asyncio.sleep(APART_S)
    print(json.dumps("talking"), flush=True)
    start = time.perf_counter() + SETTLE_S
    try:
        return list(await asyncio.gather(*(_talk(call, start, seconds) for call in calls)))
    finally:
        for call in calls:
            await call.hangup()


async def _talk(call: Call, start: float, seconds: float) -> list[float | None]:
    program, begins = _chirp.program(seconds)
    packet = int(PACKET_S * _chirp.RATE)
    quiet = np.zeros(packet, np.int16).tobytes()
    first = time.perf_counter()
    count = -round((start - first) / PACKET_S)
    origin = first - count * PACKET_S
    heard: list[tuple[float, bytes]] = []
    said_at: dict[int, float] = {}
    while count * packet < len(program):
        due = origin + count * PACKET_S
        while (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(min(wait, POLL_S))
            heard.append((time.perf_counter(), _read(call)))
        said_at[count] = time.perf_counter()
        pcm = program[count * packet : (count + 1) * packet].tobytes() if count >= 0 else quiet
        _write(call, pcm)
        count += 1
    samples = np.frombuffer(b"".join(pcm for _, pcm in heard), np.int16)
    counts = np.cumsum([len(pcm) // 2 for _, pcm in heard])
    times = np.array([moment for moment, _ in heard])
    return [_trip(samples, counts, times, begin, said_at, packet) for begin in begins]


def _trip(
    samples: Any, counts: Any, times: Any, begin: float, said_at: dict[int, float], packet: int
) -> float | None:
    index, inside = divmod(int(begin * _chirp.RATE), packet)
    said = said_at[index] + inside / _chirp.RATE
    after = int(counts[max(0, int(np.searchsorted(times, said)) - 1)])
    before = int(counts[min(len(counts) - 1, int(np.searchsorted(times, said + _chirp.PERIOD_S)))])
    found = _chirp.find(samples, after, before)
    if found is None:
        return None
    # A sample has been heard when the read that brought it returned.
    return float(times[int(np.searchsorted(counts, found + 1))] - said) * 1000


def _read(call: Call) -> bytes:
    try:
        return call.audio.read(_ANY)
    except (AudioNotActive, AudioRestarted):
        return b""


def _write(call: Call, pcm: bytes) -> None:
    try:
        call.audio.write(pcm)
    except (AudioNotActive, AudioRestarted) as error:
        raise RuntimeError("the call has no audio any more") from error


async def echo(call: Call) -> None:
    """Say what is heard, until the caller hangs up."""
    await call.answer(video=True)
    while call.state is not CallState.CLOSED:
        if pcm := _read(call):
            _write(call, pcm)
        await asyncio.sleep(POLL_S)


async def _main() -> None:
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    port = orders.get("echo_port")
    listen = f"sip_listen {HOST}:{port}\nsip_transports udp\n" if port else ""
    runtime = Runtime()
    await runtime.start(Config(net_interface=HOST, max_concurrent_calls=None, extra_config_text=listen))
    account = Account(
        "bench", HOST, "", reg_interval=0, audio_codecs=("PCMU",), extra_params=("catchall=yes",)
    )
    agent = await UserAgent.create(runtime, account)
    echoes: set[asyncio.Task[None]] = set()
    if port:
        agent.on_incoming(lambda call: echoes.add(asyncio.create_task(echo(call))))
        print(json.dumps("ready"), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    else:
        print(json.dumps(await round_trips(agent, orders["targets"], orders["seconds"])), flush=True)
    await runtime.close()


if __name__ == "__main__":
    go_first()
    asyncio.run(_main())
