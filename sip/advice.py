"""What to do about a SIP code on a trunk to an AI agent: likely cause, mend, whether to call again.

The waiting times are our own proposal, but for those of 491 (RFC 3261, 14.1). Only for people, and for tools
that plan calls: `sip.codes` is what a running call needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sip import codes
from sip.q850 import CAUSES, Cause

Retry = Literal["", "no", "later", "soon", "other route", "changed"]
"""`soon`: seconds; `later`: minutes; `other route`: at once by another trunk; `changed`: not as it is; "": it
is no failure."""

LATER = (300, 900, 3600)
"""Seconds before the second, third and fourth try of a callee who may be reached at another time."""
SOON = (2, 4, 8)
"""Seconds before further tries where the far end has too much to do; its Retry-After goes before them."""


@dataclass(frozen=True)
class Advice:
    """Of one code."""

    likely: str = ""
    """Most likely cause on a trunk to an agent."""
    mend: str = ""
    retry: Retry = ""
    after: tuple[float, ...] = ()
    """Seconds to wait before each further try."""


_NO_AUDIO = "PCMU, PCMA and G722 on both sides; media.encryption of the trunk as the far end's SRTP setting"
_STIR = "Let the carrier sign: use a number of its own as caller ID"

ADVICE: dict[int, Advice] = {
    100: Advice("normal", "Nothing; without further answers look at the next hop"),
    180: Advice(
        "normal; when it never ends, no agent was dispatched into the room or it publishes no audio",
        "Compare the rule's agent with agent_name of the worker (sip doctor), and publish audio at once",
    ),
    181: Advice("the PBX or mobile forwards", "A longer ringing timeout"),
    182: Advice("a queue of a call centre", "A longer ringing timeout"),
    183: Advice("ringback or an announcement of the carrier", "Nothing; LiveKit does not play it"),
    199: Advice("a PBX that rings several phones", "Nothing"),
    200: Advice("a person, a mailbox or a menu answered", "Find out who (answering machine detection)"),
    202: Advice("a transfer was taken on", "Wait for its NOTIFY before the call is hung up"),
    204: Advice("a subscription without notices", "Nothing"),
    300: Advice("the PBX has several addresses", "Call one of those in Contact", "changed"),
    301: Advice(
        "the number was ported or renamed", "Call the address in Contact; LiveKit does not", "changed"
    ),
    302: Advice("the PBX redirects", "Call the address in Contact; LiveKit does not", "changed"),
    305: Advice("the carrier wants another proxy", "Put the proxy in the trunk's address", "changed"),
    380: Advice("an emergency or special number", "Use a number that this line may call", "changed"),
    400: Advice(
        "a number without +, or from livekit-sip: no common codec, no common SRTP, a bad SDP",
        f"Numbers as +E.164; {_NO_AUDIO}",
        "changed",
    ),
    401: Advice("wrong user, password or realm", "Set auth_username and auth_password of the trunk", "no"),
    402: Advice("the account is empty", "Top it up", "no"),
    403: Advice(
        "the caller ID is not yours, the country is blocked, the source is not on the carrier's list",
        "A verified caller ID, the country allowed, and LiveKit's addresses on the carrier's list; inbound: "
        "allowed_addresses and allowed_numbers (sip explain)",
        "no",
    ),
    404: Advice(
        "the number does not exist; inbound: no trunk or rule has it",
        "Write it as +E.164; inbound: sip explain --from N --to N --source IP",
        "no",
    ),
    405: Advice(
        "REFER, INFO, UPDATE or REGISTER to a side that does not serve it",
        "No REFER: bridge the call instead; a registration needs a PBX or sip serve",
        "no",
    ),
    406: Advice("a header of the trunk asks for a form", "Remove Accept headers from the trunk", "changed"),
    407: Advice(
        "no credentials or wrong ones; with Telnyx no X-Telnyx-Username or no prefix",
        "Set auth_username and auth_password of the trunk",
        "no",
    ),
    408: Advice(
        "a firewall, a wrong port or transport, or a host name that leads nowhere",
        "Check address and transport of the trunk (sip doctor)",
        "later",
        LATER,
    ),
    409: Advice("two devices register one extension", "One registration an extension", "changed"),
    410: Advice("the callee gave up the number", "Take it off the list", "no"),
    411: Advice("a very old far end", "Use TCP, or another far end", "changed"),
    412: Advice("presence, not calls", "Nothing to do with calls", "no"),
    413: Advice("too many or too long headers", "Fewer headers on the trunk; TCP", "changed"),
    414: Advice("parameters in the address called", "Call the bare number", "changed"),
    415: Advice("a body that is no SDP, or compressed", "Look at what is sent (sip trace)", "changed"),
    416: Advice("a tel: address to a far end that wants sip:", "Call sip:NUMBER@HOST", "changed"),
    417: Advice("a Resource-Priority header", "Remove it from the trunk", "changed"),
    420: Advice(
        "the far end requires 100rel, timer or replaces",
        "Turn off PRACK (100rel) and required session timers at the PBX",
        "changed",
    ),
    421: Advice("the PBX insists on 100rel or timer", "Make it optional at the PBX", "changed"),
    422: Advice("Session-Expires below Min-SE", "At least 90 s (RFC 4028)", "changed"),
    423: Advice("expires of a registration", "The Min-Expires that the answer names", "changed"),
    424: Advice("an emergency call with a location", "Send another location", "changed"),
    425: Advice("an emergency alert", "Send another alert", "changed"),
    428: Advice("an unsigned call to a carrier that demands STIR", _STIR, "changed"),
    429: Advice("a transfer without Referred-By", "Add Referred-By to the transfer's headers", "changed"),
    430: Advice("the phone's connection broke", "Call again once it has registered", "later", LATER),
    433: Advice("the caller ID is hidden", "Show a number", "changed"),
    436: Advice("the signer's certificate is out of reach", _STIR, "changed"),
    437: Advice("the signer's certificate is not trusted", _STIR, "changed"),
    438: Advice("a header was changed on the way after signing", _STIR, "changed"),
    439: Advice("an old proxy before the registrar", "Register without outbound (RFC 5626)", "changed"),
    440: Advice("a hunt group in a loop", "Fewer phones in the group", "changed"),
    469: Advice("DTMF by INFO", "DTMF as RFC 4733", "changed"),
    470: Advice("a list of callees without consent", "Call them one by one", "changed"),
    477: Advice(
        "a firewall or a dead peer behind the proxy", "Another trunk; ask its operator", "other route"
    ),
    478: Advice("our host name has no address for them", "A public DNS name, and the right port", "changed"),
    480: Advice(
        "phone off, not registered, do not disturb; at some carriers too many calls a second",
        "Call later; inbound: is the extension registered?",
        "later",
        LATER,
    ),
    481: Advice(
        "the call ended meanwhile, or a load balancer sent the request to another machine",
        "Route requests within a call by their Contact",
        "no",
    ),
    482: Advice("a number routed back to its own trunk", "Look at the routes of this number", "no"),
    483: Advice("a loop, or Max-Forwards is too small", "Look at the routes; Max-Forwards 70", "no"),
    484: Advice("country code or digits missing", "Write the number as +E.164", "changed"),
    485: Advice("an alias of several extensions", "Call one extension", "changed"),
    486: Advice(
        "the callee talks; inbound: nobody answered in the room before the ringing timeout",
        "Call later; inbound: is the worker up, and does the rule name its agent?",
        "later",
        LATER,
    ),
    487: Advice("the caller hung up, or the ringing timeout ran out", "A longer timeout", "later", LATER),
    488: Advice(
        "no common codec, or SRTP on one side only",
        _NO_AUDIO,
        "changed",
    ),
    489: Advice("a subscription, not a call", "Turn the subscription off", "no"),
    491: Advice("hold or transfer from both sides", "The stack repeats it by itself", "soon", (2.1, 4)),
    493: Advice("S/MIME", "Send without encryption of the body", "changed"),
    494: Advice("an IMS core that wants Security-Client", "Agree on TLS with the operator", "changed"),
    500: Advice(
        "a fault at the far end; inbound: trunks or rules collide",
        "Its log; inbound: sip explain",
        "other route",
    ),
    501: Advice("a method that it never learnt", "Leave out the feature", "no"),
    502: Advice("the carrier's interconnection", "Another carrier", "other route"),
    503: Advice(
        "calls a second or lines of the trunk used up, wrong host, maintenance; inbound: draining or full",
        "Wait for Retry-After, call more slowly (sip capacity), check the trunk's address",
        "soon",
        SOON,
    ),
    504: Advice("DNS or a server behind the carrier", "Another carrier", "other route"),
    505: Advice("something that is no SIP", "Check address and port of the trunk", "no"),
    513: Advice("more than about 1,300 bytes by UDP", "Fewer headers, or transport tcp", "changed"),
    555: Advice("a mobile app without push", "Another way to wake the app", "changed"),
    580: Advice("QoS preconditions of an IMS core", "Turn preconditions off", "changed"),
    600: Advice("all phones of the callee are busy", "Call later", "later", LATER),
    603: Advice(
        "the callee pressed reject, or a spam filter did (603 Network Blocked; X-Twilio-Error)",
        "Do not call again; register the number with the analytics services",
        "no",
    ),
    604: Advice("the number is wrong", "Take it off the list", "no"),
    606: Advice("codec, bandwidth or media policy", _NO_AUDIO, "changed"),
    607: Advice("the callee marked it as spam", "Never call this number again", "no"),
    608: Advice(
        "a spam filter of the network",
        "Use the contact in its Call-Info to complain; sign calls, register the number",
        "no",
    ),
}

_CLASSES = {
    1: ("a provisional answer: the call goes on", Advice("normal", "Nothing")),
    2: ("a success", Advice("normal", "Nothing")),
    3: ("a redirection: the callee is elsewhere", Advice("", "Call the address in Contact", "changed")),
    4: ("the request is refused as it is", Advice("", "Read the phrase; change the request", "changed")),
    5: ("the server failed", Advice("", "Another route, or later", "other route")),
    6: ("the callee refuses everywhere", Advice("", "Do not call again", "no")),
}


@dataclass(frozen=True)
class Explained:
    """All that is known of one SIP code."""

    code: int
    phrase: str
    """Empty for a code that is not known."""
    meaning: str
    advice: Advice
    cause: Cause | None
    """Of Q.850, as RFC 3398 maps it."""
    error: str
    """Code of the `SipCallError` that livekit-api raises for it; empty where it raises none."""
    registered: bool


def explain(code: int) -> Explained | None:
    """What a code says and what to do; None for what is no SIP code (100 to 699)."""
    if not 100 <= code <= 699:
        return None
    known = codes.STATUSES.get(code)
    meaning, advice = _CLASSES[code // 100]
    if known:
        meaning, advice = known.meaning, ADVICE[code]
    cause = CAUSES.get(codes.q850(code)) if code == 487 or (known and known.q850) else None
    return Explained(
        code,
        known.phrase if known else "",
        meaning,
        advice,
        cause,
        codes.psrpc_code(code) if code >= 300 else "",
        known is not None and code not in codes.UNREGISTERED,
    )


def search(text: str) -> list[int]:
    """The known codes in whose texts all these words stand; first those that have them in the phrase."""
    words = text.casefold().split()
    found: list[tuple[bool, int]] = []
    for code, status in codes.STATUSES.items():
        advice = ADVICE[code]
        everything = " ".join(
            (str(code), status.phrase, status.meaning, advice.likely, advice.mend, status.psrpc)
        ).casefold()
        if words and all(word in everything for word in words):
            found.append((not all(word in status.phrase.casefold() for word in words), code))
    return [code for _, code in sorted(found)]
