"""`python -m lab.speech`: serve Deepgram, OpenAI and Cartesia on one port until TERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from . import wire
from .faults import PROVIDERS, Fault, FaultError, Latency, Provider, latency_from_text, parse_fault


def main(arguments: list[str] | None = None) -> int:
    """Run the servers; the exit code is 0 after TERM or Ctrl-C, 1 when they cannot start, 2 for wrong use."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        faults = _faults(options)
        from .receptionist import Receptionist, load_script

        script = load_script(Path(options.script)) if options.script else ()
    except (FaultError, OSError, ValueError) as error:
        print(f"speech: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_serve(options, faults, Receptionist(script)))


async def _serve(options: argparse.Namespace, faults: dict[Provider, Fault], receptionist: object) -> int:
    from .openai import Upstream
    from .receptionist import Receptionist
    from .recognizer import Recognizer
    from .server import SpeechServer
    from .synthesizer import Synthesizer

    assert isinstance(receptionist, Receptionist)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    recognizer, synthesizer = await asyncio.gather(
        asyncio.to_thread(Recognizer, 2), asyncio.to_thread(Synthesizer)
    )
    upstream = None
    if options.llm_url:
        key = os.environ.get(options.llm_key_env, "") if options.llm_key_env else ""
        upstream = Upstream(options.llm_url, options.llm_model, key)
    keys = wire.Keys(frozenset(options.key))
    server = SpeechServer(recognizer, synthesizer, receptionist.answer, keys=keys, upstream=upstream)
    for provider, fault in faults.items():
        server.faults.set(provider, fault)
    try:
        await server.start(options.host, options.port)
    except OSError as error:
        print(
            f"speech: cannot listen on {options.host}:{options.port}: {error.strerror}. "
            "Free the port, or use --port 0 for any free one.",
            file=sys.stderr,
        )
        await server.aclose()
        return 1
    print(f"READY {json.dumps({**server.addresses(), 'pid': os.getpid()})}", flush=True)
    await stop.wait()
    await server.aclose()
    return 0


def _faults(options: argparse.Namespace) -> dict[Provider, Fault]:
    """Faults of the command line: `--fault` says all of one provider, `--latency` adds to all three."""
    faults: dict[Provider, Fault] = {}
    base = latency_from_text(options.latency) if options.latency else Latency()
    for provider in PROVIDERS:
        if base != Latency():
            faults[provider] = Fault(latency=base)
    for text in options.fault:
        name, _, body = text.partition("=")
        if name not in PROVIDERS:
            raise FaultError(f"--fault {text!r}: the provider is one of {', '.join(PROVIDERS)}")
        try:
            data = json.loads(body)
        except ValueError as error:
            raise FaultError(f"--fault {name}: not JSON: {error}") from None
        if not isinstance(data, dict):
            raise FaultError(f"--fault {name}: not an object")
        faults[name] = parse_fault({"latency": base.to_json(), **data})
    return faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.speech", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 is any free one (%(default)s)")
    parser.add_argument("--key", action="append", default=[], help="accept only this API key; repeatable")
    parser.add_argument("--llm-url", default="", help="answer with this OpenAI-compatible server (.../v1)")
    parser.add_argument("--llm-model", default="", help="model to ask there; empty keeps the client's")
    parser.add_argument("--llm-key-env", default="", help="environment variable that holds its key")
    parser.add_argument(
        "--script", default="", help="YAML file of answers that come before the built-in ones"
    )
    parser.add_argument(
        "--latency", default="", help="added to all three: 300, normal:300,50, uniform:100,400"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="PROVIDER=JSON",
        help='for example cartesia=\'{"fail": "cut", "after_chunks": 5, "times": 1}\'',
    )
    parser.add_argument("--log-level", default="info", help="debug, info, warning (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
