"""SIP status codes: what they say, what they mean on a phone, and how other systems number them.

All 75 of IANA's registry (as of July 2026), and four that are met without being in it. Reason phrases: IANA
"SIP Parameters"; Q.850 causes: RFC 3398, 7.2.4.1 and 8.2.6.1; psrpc codes: livekit-server 1.13.5. What
to do about a code is in `sip.advice`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    """One SIP status code. `q850` is the ISDN cause that it stands for (0: none); `meaning` is for people."""

    code: int
    phrase: str
    q850: int = 0
    psrpc: str = ""
    meaning: str = ""


UNREGISTERED = frozenset({409, 411, 477, 478})
"""Codes that IANA's registry does not have, but that are met."""
STATUSES = {
    status.code: status
    for status in (
        Status(100, "Trying", 0, "", "the next hop has the call and works on it"),
        Status(180, "Ringing", 0, "", "the callee's phone rings"),
        Status(181, "Call Is Being Forwarded", 0, "", "the callee has a diversion"),
        Status(182, "Queued", 0, "", "the callee cannot take it yet, and it waits"),
        Status(
            183, "Session Progress", 0, "", "audio before the answer: ringback, an announcement, a mailbox"
        ),
        Status(199, "Early Dialog Terminated", 0, "", "one of several phones gave up; the call goes on"),
        Status(200, "OK", 0, "", "the request was carried out; to an INVITE: answered"),
        Status(202, "Accepted", 0, "", "the far end will try; the result comes in a NOTIFY"),
        Status(204, "No Notification", 0, "", "done, and nothing will be told about it"),
        Status(300, "Multiple Choices", 0, "invalid_argument", "the callee is at one of several addresses"),
        Status(301, "Moved Permanently", 22, "not_found", "the number moved"),
        Status(302, "Moved Temporarily", 22, "not_found", "the callee forwards elsewhere"),
        Status(305, "Use Proxy", 0, "invalid_argument", "the callee is only reached through a proxy"),
        Status(
            380,
            "Alternative Service",
            0,
            "invalid_argument",
            "the call failed, and another kind of service is offered",
        ),
        Status(400, "Bad Request", 41, "invalid_argument", "the request was malformed"),
        Status(401, "Unauthorized", 21, "permission_denied", "credentials missing or wrong"),
        Status(402, "Payment Required", 21, "permission_denied", "no credit with the carrier"),
        Status(403, "Forbidden", 21, "permission_denied", "caller ID, source or destination not allowed"),
        Status(404, "Not Found", 1, "not_found", "nobody answers to this number"),
        Status(
            405,
            "Method Not Allowed",
            63,
            "invalid_argument",
            "the far end does not serve this kind of request here",
        ),
        Status(
            406,
            "Not Acceptable",
            79,
            "invalid_argument",
            "the far end can answer only in a form that was not asked for",
        ),
        Status(407, "Proxy Authentication Required", 21, "unauthenticated", "credentials missing or wrong"),
        Status(408, "Request Timeout", 102, "deadline_exceeded", "the far end did not answer in time"),
        Status(
            409,
            "Conflict",
            0,
            "failed_precondition",
            "a registration contradicts another (RFC 2543, obsolete)",
        ),
        Status(410, "Gone", 22, "not_found", "the number was disconnected"),
        Status(411, "Length Required", 127, "invalid_argument", "no Content-Length (RFC 2543, obsolete)"),
        Status(
            412,
            "Conditional Request Failed",
            0,
            "failed_precondition",
            "a published state is not the one that was meant",
        ),
        Status(413, "Request Entity Too Large", 127, "invalid_argument", "the body is too long"),
        Status(414, "Request-URI Too Long", 127, "invalid_argument", "the address called is too long"),
        Status(415, "Unsupported Media Type", 79, "invalid_argument", "the body is not SDP"),
        Status(
            416, "Unsupported URI Scheme", 127, "out_of_range", "the address is neither sip:, sips: nor tel:"
        ),
        Status(
            417,
            "Unknown Resource-Priority",
            0,
            "invalid_argument",
            "a priority is demanded that the far end does not know",
        ),
        Status(420, "Bad Extension", 127, "invalid_argument", "a required extension is not supported"),
        Status(
            421,
            "Extension Required",
            127,
            "invalid_argument",
            "the far end wants an extension that was not offered",
        ),
        Status(
            422,
            "Session Interval Too Small",
            0,
            "invalid_argument",
            "the session timer is shorter than the far end allows",
        ),
        Status(
            423,
            "Interval Too Brief",
            127,
            "invalid_argument",
            "the registration is shorter than the far end allows",
        ),
        Status(
            424,
            "Bad Location Information",
            0,
            "invalid_argument",
            "the location in an emergency call cannot be used",
        ),
        Status(
            425,
            "Bad Alert Message",
            0,
            "invalid_argument",
            "an emergency alert in the request cannot be used",
        ),
        Status(428, "Use Identity Header", 0, "unauthenticated", "the carrier wants signed calls (STIR)"),
        Status(
            429, "Provide Referrer Identity", 0, "invalid_argument", "a transfer must say who asks for it"
        ),
        Status(430, "Flow Failed", 0, "invalid_argument", "the connection of a registered phone broke"),
        Status(433, "Anonymity Disallowed", 0, "permission_denied", "the callee refuses hidden numbers"),
        Status(
            436,
            "Bad Identity Info",
            0,
            "unauthenticated",
            "the certificate of a signed call cannot be fetched",
        ),
        Status(
            437,
            "Unsupported Credential",
            0,
            "unauthenticated",
            "the certificate of a signed call is not trusted",
        ),
        Status(438, "Invalid Identity Header", 0, "unauthenticated", "the signature of the call is wrong"),
        Status(
            439,
            "First Hop Lacks Outbound Support",
            0,
            "invalid_argument",
            "a proxy on the way cannot keep connections of phones",
        ),
        Status(
            440,
            "Max-Breadth Exceeded",
            0,
            "resource_exhausted",
            "the request would fork into too many branches",
        ),
        Status(469, "Bad Info Package", 0, "invalid_argument", "an INFO is of a kind that was not agreed"),
        Status(
            470,
            "Consent Needed",
            0,
            "permission_denied",
            "the callee must agree first to be reached this way",
        ),
        Status(
            477,
            "Unfortunately error on sending to next hop",
            0,
            "invalid_argument",
            "a proxy cannot send to its next hop (Kamailio, OpenSIPS)",
        ),
        Status(
            478,
            "Unresolvable destination",
            0,
            "invalid_argument",
            "a proxy cannot resolve the host of the address (Kamailio, Telnyx)",
        ),
        Status(480, "Temporarily Unavailable", 18, "resource_exhausted", "not registered or not answering"),
        Status(481, "Call/Transaction Does Not Exist", 41, "not_found", "the other side has no such call"),
        Status(482, "Loop Detected", 25, "failed_precondition", "the same request came on two ways"),
        Status(483, "Too Many Hops", 25, "failed_precondition", "the request runs in circles"),
        Status(484, "Address Incomplete", 28, "invalid_argument", "digits are missing"),
        Status(485, "Ambiguous", 1, "invalid_argument", "the address fits several users"),
        Status(486, "Busy Here", 17, "resource_exhausted", "the callee is busy"),
        Status(487, "Request Terminated", 0, "aborted", "the caller gave up"),
        Status(488, "Not Acceptable Here", 65, "invalid_argument", "no common codec"),
        Status(
            489, "Bad Event", 127, "invalid_argument", "the far end does not know the event of a subscription"
        ),
        Status(491, "Request Pending", 0, "aborted", "both sides changed the session at once"),
        Status(493, "Undecipherable", 127, "invalid_argument", "the body is encrypted for somebody else"),
        Status(
            494,
            "Security Agreement Required",
            0,
            "unauthenticated",
            "the far end wants to agree on security first",
        ),
        Status(500, "Server Internal Error", 41, "failed_precondition", "the far end failed"),
        Status(
            501,
            "Not Implemented",
            79,
            "failed_precondition",
            "the far end does not know this kind of request at all",
        ),
        Status(
            502, "Bad Gateway", 38, "failed_precondition", "a network behind the far end answered nonsense"
        ),
        Status(503, "Service Unavailable", 41, "failed_precondition", "overloaded, draining or out of lines"),
        Status(
            504,
            "Server Time-out",
            102,
            "deadline_exceeded",
            "a server behind the far end did not answer in time",
        ),
        Status(505, "Version Not Supported", 127, "invalid_argument", "not SIP/2.0"),
        Status(513, "Message Too Large", 127, "invalid_argument", "the message is too long for the far end"),
        Status(
            555,
            "Push Notification Service Not Supported",
            0,
            "failed_precondition",
            "a phone asks for a push service that is not there",
        ),
        Status(
            580,
            "Precondition Failure",
            0,
            "failed_precondition",
            "bandwidth that was demanded cannot be reserved",
        ),
        Status(600, "Busy Everywhere", 17, "resource_exhausted", "the callee is busy on every phone"),
        Status(603, "Decline", 21, "permission_denied", "the callee declined"),
        Status(604, "Does Not Exist Anywhere", 1, "not_found", "nobody anywhere has this number"),
        Status(
            606, "Not Acceptable", 65, "invalid_argument", "the callee wants to talk, but not with this audio"
        ),
        Status(607, "Unwanted", 21, "permission_denied", "the callee blocks this caller"),
        Status(608, "Rejected", 21, "permission_denied", "an analytics service blocked the call"),
    )
}

_SIP_OF_Q850 = {
    **dict.fromkeys((1, 2, 3, 26), 404),
    **dict.fromkeys((19, 20, 31), 480),
    **dict.fromkeys((34, 38, 41, 42, 47, 58, 88), 503),
    **dict.fromkeys((55, 57, 87), 403),
    **dict.fromkeys((65, 70), 488),
    **dict.fromkeys((29, 79), 501),
    **dict.fromkeys((111, 127), 500),
    17: 486,
    18: 408,
    21: 603,
    22: 410,
    23: 410,
    27: 502,
    28: 484,
    102: 504,
}


def phrase(code: int) -> str:
    """The reason phrase; for an unknown code that of its class, such as 400's."""
    known = STATUSES.get(code) or STATUSES.get(code // 100 * 100)
    return known.phrase if known else "Unknown"


def meaning(code: int) -> str:
    """What the code says about a call, in words; falls back to its phrase."""
    known = STATUSES.get(code)
    return known.meaning or known.phrase if known else phrase(code)


def q850(code: int) -> int:
    """The Q.850 cause of a final code (RFC 3398); 31 for what has none.

    16 (normal clearing) for success, and for 487: it answers a CANCEL, which is cause 16.
    """
    if 200 <= code < 300 or code == 487:
        return 16
    known = STATUSES.get(code)
    return known.q850 if known and known.q850 else 31


def from_q850(cause: int) -> int:
    """The SIP code of a Q.850 cause (RFC 3398, ISUP to SIP); 480 for a cause that has none."""
    return _SIP_OF_Q850.get(cause, 480)


def psrpc_code(code: int) -> str:
    """The psrpc error code under which livekit-server reports this final code of a far end."""
    known = STATUSES.get(code)
    if known and known.psrpc:
        return known.psrpc
    if 500 <= code < 600:
        return "failed_precondition"
    return "invalid_argument" if 300 <= code < 700 else "unknown"
