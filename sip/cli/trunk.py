"""`sip trunk inbound|outbound list|show|create|update|delete`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import typer

from sip.cli.edit import Spec
from sip.cli.flags import Flag
from sip.cli.objects import app
from sip.model import Encryption, HeaderOptions, InboundTrunk, OutboundTrunk, Transport

NAME = Flag("name", ("--name",), "text", "Its name: commands take it in place of the id.")
METADATA = Flag("metadata", ("--metadata",), "text", "Free text of your own.")
MEDIA = (
    Flag(
        "media.encryption",
        ("--media-encryption", "--media-enc"),
        "choice",
        "SRTP for the audio.",
        words=get_args(Encryption),
    ),
    Flag(
        "media.codecs",
        ("--codec", "--codecs"),
        "list",
        "Codec, preferred first: PCMU, PCMA, G722/8000.",
        "CODEC",
    ),
    Flag(
        "media.only_listed_codecs",
        ("--only-listed-codecs", "--no-default-codecs"),
        "switch",
        "Offer and take nothing but --codec.",
    ),
    Flag(
        "media.media_timeout",
        ("--media-timeout",),
        "seconds",
        "End the call after this time without audio from the far end, at most 10m.",
        "TIME",
    ),
)
KRISP = Flag("krisp_enabled", ("--krisp",), "switch", "Krisp noise cancellation (LiveKit Cloud only).")
_AUTH = (
    Flag("auth_username", ("--auth-username", "--auth-user"), "text", "User name of the SIP digest."),
    Flag(
        "auth_password",
        ("--auth-password", "--auth-pass"),
        "secret",
        "Its password; - asks for it, or reads a line of standard input. The "
        "shell's history keeps what you type here.",
    ),
)
_HEADERS = (
    Flag(
        "headers_to_attributes",
        ("--header-to-attribute",),
        "map",
        "Keep a header of the far end as an attribute of the participant.",
        "HEADER=ATTRIBUTE",
    ),
    Flag(
        "attributes_to_headers",
        ("--attribute-to-header",),
        "map",
        "Send an attribute as a header of responses, BYE and REFER.",
        "ATTRIBUTE=HEADER",
    ),
    Flag(
        "include_headers",
        ("--include-headers",),
        "choice",
        "Keep headers as attributes sip.h.…: none, those that begin with X-, or all.",
        words=get_args(HeaderOptions),
    ),
)
_INBOUND = (
    NAME,
    Flag(
        "numbers",
        ("--number", "--numbers"),
        "list",
        "A number of yours that is called; without any, all are taken.",
        "NUMBER",
    ),
    Flag(
        "allowed_addresses",
        ("--allowed-address", "--allowed-addresses"),
        "list",
        "Where calls may come from: your carrier's IP addresses and networks.",
        "IP[/BITS]",
    ),
    Flag(
        "allowed_numbers",
        ("--allowed-number", "--allowed-numbers"),
        "list",
        "A caller who may call; without any, all may.",
        "NUMBER",
    ),
    *_AUTH,
    Flag("auth_realm", ("--auth-realm",), "text", "Realm of the digest."),
    Flag("headers", ("--header",), "map", "A header of the 200 OK.", "NAME=VALUE"),
    *_HEADERS,
    Flag(
        "ringing_timeout",
        ("--ringing-timeout",),
        "seconds",
        "Refuse a call that nobody has answered after this time (3m).",
        "TIME",
    ),
    Flag(
        "ringing_timeout_status", ("--ringing-timeout-status",), "number", "SIP code of that refusal.", "CODE"
    ),
    Flag("max_call_duration", ("--max-call-duration",), "seconds", "End calls after this time.", "TIME"),
    *MEDIA,
    KRISP,
    METADATA,
)
_OUTBOUND = (
    NAME,
    Flag(
        "address",
        ("--address",),
        "text",
        "HOST or HOST:PORT of the carrier or PBX, without sip: and parameters.",
        "HOST[:PORT]",
    ),
    Flag("transport", ("--transport",), "choice", "How the SIP messages travel.", words=get_args(Transport)),
    Flag(
        "numbers",
        ("--number", "--numbers"),
        "list",
        "A number that calls are made from; * allows any.",
        "NUMBER",
    ),
    *_AUTH,
    Flag(
        "from_host",
        ("--from-host",),
        "text",
        "Host of the From header, where the carrier wants its own.",
        "HOST",
    ),
    Flag(
        "destination_country",
        ("--destination-country",),
        "text",
        "Dial from a region near this country (LiveKit Cloud only).",
        "CC",
    ),
    Flag("headers", ("--header",), "map", "A header of the INVITE.", "NAME=VALUE"),
    *_HEADERS,
    *MEDIA,
    METADATA,
)
_OPEN = Flag("open", ("--open",), "allow", "Let anybody call in: no addresses, no password.")


def _inbound_row(trunk: InboundTrunk, names: Mapping[str, str]) -> Sequence[object]:
    from sip.checks.validate import open_trunk

    auth = trunk.auth_username or ("(open)" if open_trunk(trunk) else "")
    return (
        trunk.name,
        trunk.id,
        trunk.numbers or "(any)",
        trunk.allowed_addresses or "(any)",
        auth,
        trunk.managed,
    )


def _outbound_row(trunk: OutboundTrunk, names: Mapping[str, str]) -> Sequence[object]:
    return (
        trunk.name,
        trunk.id,
        trunk.address,
        trunk.transport,
        trunk.numbers,
        trunk.auth_username,
        trunk.managed,
    )


def _as_it_is(item: Any, given: Mapping[str, Any]) -> Any:
    return item


INBOUND = Spec(
    "inbound",
    InboundTrunk(),
    "SIPTrunkID",
    _INBOUND,
    (_OPEN,),
    _as_it_is,
    "open",
    ("name", "id", "numbers", "addresses", "auth", "managed"),
    _inbound_row,
)
OUTBOUND = Spec(
    "outbound",
    OutboundTrunk(),
    "SIPTrunkID",
    _OUTBOUND,
    (),
    _as_it_is,
    "",
    ("name", "id", "address", "transport", "numbers", "auth", "managed"),
    _outbound_row,
)
_CHANGES = (
    "--number and its like replace the whole list; --add-… and --remove-… "
    "change single entries. --header and its"
    " like set single ones. A change to live calls: none, they keep what they began with."
)

inbound = app(
    INBOUND,
    "inbound trunk",
    "trunk inbound",
    "Inbound trunks: which calls are let in, by number called, source address, caller and password.",
    {
        "list": ("list", "list --json"),
        "show": ("show carrier", "show carrier --json --show-secrets"),
        "create": (
            "create --name carrier --number +15550100 --allowed-address 203.0.113.0/24",
            "create --name pbx --auth-username pbx --auth-password-env PBX_PASSWORD",
            "create inbound-trunk.json --name carrier",
        ),
        "update": (
            "update carrier --add-number +15550101 --remove-number +15550100",
            "update carrier --header X-Account=42 --clear allowed_numbers",
            'update carrier \'{"ringing_timeout": "30s"}\'',
        ),
        "delete": ("delete carrier", "delete ST_abc --yes"),
    },
    {"update": _CHANGES},
)
outbound = app(
    OUTBOUND,
    "outbound trunk",
    "trunk outbound",
    "Outbound trunks: the carrier or PBX that takes calls to the outside, and with which numbers.",
    {
        "list": ("list", "list --json"),
        "show": ("show carrier", "show carrier --json --show-secrets"),
        "create": (
            "create --name carrier --address sip.carrier.example --transport tls"
            " --number +15550100 --auth-username me --auth-password-env CARRIER_PASSWORD",
            "create outbound-trunk.json",
        ),
        "update": (
            "update carrier --address sip2.carrier.example:5061 --transport tls",
            "update carrier new.json",
        ),
        "delete": ("delete carrier", "delete ST_abc --yes"),
    },
    {"update": _CHANGES},
)
trunk = typer.Typer(
    help="Trunks: who may call in (inbound), and the way out to a carrier or PBX (outbound).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
trunk.add_typer(inbound, name="inbound")
trunk.add_typer(outbound, name="outbound")
