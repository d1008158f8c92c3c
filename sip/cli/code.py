"""`sip code`: what a SIP code or a Q.850 cause means, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sip.cli import output
from sip.cli.options import Json
from sip.errors import NotFound

if TYPE_CHECKING:
    from sip.advice import Advice, Explained
    from sip.q850 import Cause

_RETRY = {
    "": "it is no failure",
    "no": "no",
    "later": "yes, later",
    "soon": "yes, soon",
    "other route": "at once, by another trunk",
    "changed": "not as it is; yes once it is changed",
}


def code(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CODE|WORDS|q850:CAUSE]",
            help="A SIP code, words to look for, q850:17, or q850 for all causes. Nothing: all SIP codes.",
            show_default=False,
        ),
    ] = None,
    q850: Annotated[
        int | None, typer.Option("--q850", metavar="CAUSE", help="A cause of Q.850, as in a Reason header.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a SIP code means, its likely cause on a trunk to an agent, the mend, and whether to call again.

    Also the Q.850 cause that stands for it (RFC 3398), and what livekit-api raises. A code that nobody
    knows is told by its class.
    """
    from sip import advice, codes
    from sip import q850 as isdn

    text = " ".join(what or []).strip()
    cause = re.fullmatch(r"q\.?850(?:[:=; ]+(?:cause=)?(\d+))?", text.lower())
    if q850 is not None or (cause and cause[1]):
        number = q850 if q850 is not None else int(cause[1]) if cause else 0
        _one_cause(number, as_json)
    elif cause:
        _all_causes(list(isdn.CAUSES.values()), as_json)
    elif number := re.fullmatch(r"(?:SIP/2\.0 +)?(\d+)(?: .*)?", text):
        found = advice.explain(int(number[1]))
        if found is None:
            mend = f"For a cause of Q.850: sip code q850:{number[1]}" if int(number[1]) < 128 else ""
            raise NotFound(f"{number[1]} is no SIP code", "they go from 100 to 699", mend)
        _one(found, as_json)
    else:
        numbers = advice.search(text) if text else list(codes.STATUSES)
        if not numbers:
            raise NotFound(f"no SIP code speaks of {text!r}", "", "All of them: sip code")
        _all([each for number in numbers if (each := advice.explain(number))], as_json)


def _one(found: Explained, as_json: bool) -> None:
    if as_json:
        output.as_json(_document(found))
        return
    note = "" if found.registered else " (not in IANA's registry)"
    print(output.paint(f"{found.code} {found.phrase}".rstrip() + note, "bold"))
    rows = [("meaning", found.meaning), *_rows(found.advice)]
    if found.cause:
        rows.append(("Q.850", f"{found.cause.number} {found.cause.name}"))
    if found.error:
        rows.append(("livekit-api", f"SipCallError, code {found.error}"))
    output.fields(rows)


def _rows(advice: Advice) -> list[tuple[str, str]]:
    again = _RETRY[advice.retry]
    if advice.after:
        again += f": after {', '.join(map(_time, advice.after))}"
    return [
        ("likely", advice.likely),
        ("mend", advice.mend),
        ("call again", again),
    ]


def _time(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _one_cause(number: int, as_json: bool) -> None:
    from sip import advice, q850

    cause = q850.explain(number)
    if cause is None:
        raise NotFound(
            f"{number} is no cause of Q.850", "they go from 1 to 127", "All of them: sip code q850"
        )
    found = advice.explain(cause.sip) if cause.sip else None
    if as_json:
        output.as_json(_cause(cause) | {"advice": _document(found) if found else None})
        return
    print(output.paint(f"Q.850 cause {cause.number} {cause.name}".rstrip(), "bold"))
    rows = [("meaning", cause.meaning)]
    if found:
        rows += [("SIP", f"{found.code} {found.phrase}"), *_rows(found.advice)]
    else:
        rows += [("SIP", "BYE, or CANCEL before the answer")]
    output.fields(rows)


def _all_causes(causes: list[Cause], as_json: bool) -> None:
    if as_json:
        output.as_json([_cause(cause) for cause in causes])
        return
    output.table(
        ("cause", "name", "sip", "meaning"),
        [(cause.number, cause.name, cause.sip or "BYE", cause.meaning) for cause in causes],
    )


def _all(found: list[Explained], as_json: bool) -> None:
    if as_json:
        output.as_json([_document(each) for each in found])
        return
    output.table(
        ("code", "phrase", "q.850", "again", "meaning"),
        [
            (
                each.code,
                each.phrase,
                each.cause.number if each.cause else "",
                each.advice.retry,
                each.meaning,
            )
            for each in found
        ],
    )


def _document(found: Explained) -> dict[str, Any]:
    return {
        "code": found.code,
        "phrase": found.phrase,
        "registered": found.registered,
        "meaning": found.meaning,
        "likely": found.advice.likely,
        "mend": found.advice.mend,
        "retry": found.advice.retry or None,
        "retry_after_s": list(found.advice.after),
        "q850": {"cause": found.cause.number, "name": found.cause.name} if found.cause else None,
        "livekit_api": {"error": "SipCallError", "code": found.error} if found.error else None,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "cause": cause.number,
        "name": cause.name,
        "meaning": cause.meaning,
        "sip": cause.sip or None,
    }
