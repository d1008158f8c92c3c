"""SIP headers to participant attributes and back, as trunks map them. Names as livekit-sip gives them."""

from __future__ import annotations

from collections.abc import Mapping

from sip.service.signalling.messages import Request, Response

CALL_ID = "sip.callID"
CALL_ID_FULL = "sip.callIDFull"
CALL_TAG = "sip.callTag"
CALL_STATUS = "sip.callStatus"
PHONE_NUMBER = "sip.phoneNumber"

X_HEADERS, ALL_HEADERS = 1, 2
"""`livekit.SIPHeaderOptions`: map `X-…`, or every header, to `sip.h.<name>`."""

_CARRIERS = {
    "X-Twilio-AccountSid": "sip.twilio.accountSid",
    "X-Twilio-CallSid": "sip.twilio.callSid",
    "X-call_leg_id": "sip.telnyx.callLegID",
    "X-call_session_id": "sip.telnyx.callSessionID",
    "X-Amzn-ConnectContactId": "sip.amazon.contactId",
    "X-Amzn-ConnectInitialContactId": "sip.amazon.initialContactId",
    "X-Amzn-SourceAccount": "sip.amazon.sourceAccount",
    "X-Amzn-SourceArn": "sip.amazon.sourceArn",
    "X-Amzn-TargetArn": "sip.amazon.targetArn",
}
_TELLS_CALLER = {
    "from",
    "contact",
    "p-asserted-identity",
    "p-preferred-identity",
    "remote-party-id",
    "diversion",
}
_SECRET = {"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate"}
_OURS = {
    "via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "route", "record-route",
    "content-length", "content-type", "require", "supported", "allow", "session-expires", "min-se",
    "refer-to", *_SECRET,
}  # fmt: skip
"""Headers that make the dialog: no mapping may replace them."""


def to_attributes(
    message: Request | Response, mapped: Mapping[str, str], include: int, *, hide_caller: bool = False
) -> dict[str, str]:
    """Attributes from a far end's INVITE or 200 OK.

    `mapped` is header → attribute, `include` a SIPHeaderOptions; `hide_caller` leaves out the number.
    """
    attributes: dict[str, str] = {}
    for name, value in remote_headers(message).items():
        lower = name.lower()
        wanted = include == ALL_HEADERS or (include == X_HEADERS and lower.startswith("x-"))
        if wanted and not (hide_caller and lower in _TELLS_CALLER):
            attributes[f"sip.h.{lower}"] = value
    for header, attribute in {**_CARRIERS, **mapped}.items():
        value = message.headers.get(header)
        if value is not None:
            attributes[attribute] = value
    return attributes


def remote_headers(message: Request | Response) -> dict[str, str]:
    """All headers but credentials; several values of one name are joined with commas."""
    return {
        name: ", ".join(message.headers.getlist(name))
        for name in message.headers.keys()  # noqa: SIM118 - not a dictionary
        if name.lower() not in _SECRET
    }


def to_headers(
    attributes: Mapping[str, str], mapped: Mapping[str, str], fixed: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Headers for a response, BYE or REFER: `fixed` ones, and those that `mapped` gives."""
    headers = dict(fixed)
    for attribute, header in mapped.items():
        if attribute in attributes:
            headers[header] = attributes[attribute]
    return [(name, value) for name, value in headers.items() if name.lower() not in _OURS]
