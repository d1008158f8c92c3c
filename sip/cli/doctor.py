"""`sip doctor`: is this phone system able to carry calls, and if not, what mends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.cli import output
from sip.cli.options import ApiKey, ApiSecret, Json, Stack, Url
from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from sip.doctor import Report

_COLOURS: dict[str, output.Colour] = {
    "error": "red", "warning": "yellow", "info": "dim", "skipped": "dim", "ok": "green",
}  # fmt: skip


def doctor(
    sip: Annotated[
        str,
        typer.Option("--sip", metavar="HOST[:PORT]", help="The SIP service; the local stack's by default."),
    ] = "",
    call: Annotated[bool, typer.Option("--call", help="Place one test call through the whole path.")] = False,
    to: Annotated[str, typer.Option("--to", metavar="NUMBER", help="Whom the test call dials.")] = "",
    preset: Annotated[
        list[str] | None, typer.Option("--preset", help="A preset whose codecs must fit; may be repeated.")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe/--no-probe", help="Call each agent into an empty room, to see that it comes."),
    ] = True,
    url: Url = "",
    api_key: ApiKey = "",
    api_secret: ApiSecret = "",
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Look for everything that would keep a call from working; each finding says what mends it.

    Exit code 1 when something would. Checks that cannot run here say why; they are no fault.
    """
    from sip.api.connect import find
    from sip.finding import Finding

    try:
        target = find(url, api_key, api_secret, stack)
    except ConfigurationError as error:
        from sip.doctor import Report

        missing = Finding("livekit-not-configured", "error", f"{error.what}: {error.why}.", error.mend)
        _print(Report((missing,)), as_json)
        raise typer.Exit(1) from None
    report = asyncio.run(
        _run(target, sip=sip, call=call or bool(to), to=to, presets=tuple(preset or ()), probe=probe)
    )
    _print(report, as_json)
    raise typer.Exit(0 if report.works else 1)


async def _run(
    target: Any, *, sip: str, call: bool, to: str, presets: tuple[str, ...], probe: bool
) -> Report:
    from sip import local
    from sip.api.live import Live
    from sip.doctor import CHECKS, Context, run
    from sip.doctor.service import split
    from sip.wanted.references import environment

    if sip:
        host, port = split(sip)
        sip = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    stack = next((each for each in local.running() if each.livekit_url == target.url), None)
    async with Live(target) as live:
        context = Context(
            target=target,
            live=live,
            stack=stack,
            settings=environment(),
            sip_address=sip,
            probe=probe,
            presets=presets,
            call=call,
            number=to,
        )
        with output.Progress("checking", len(CHECKS) - (not call)) as progress:
            return await run(context, CHECKS, lambda check: progress.step(check.name))


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        output.as_json({"works": report.works, "findings": report.findings})
        return
    for each in report.findings:
        mark = output.paint(f"{each.severity:<8}", _COLOURS[each.severity])
        about = f" [{each.subject}]" if each.subject and each.subject not in each.what else ""
        print(f"{mark} {each.name}{about}: {each.what}")
        if each.mend and each.severity in ("error", "warning"):
            print(f"{'':8} → {each.mend}")
    counted = {severity: 0 for severity in ("error", "warning")}
    for each in report.findings:
        counted[each.severity] = counted.get(each.severity, 0) + 1
    text = "calls should work" if report.works else "calls will fail until the errors are mended"
    print(f"\n{counted['error']} errors, {counted['warning']} warnings: {text}")
