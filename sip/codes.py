"""SIP status codes: what they say, what they mean on a phone, and how other systems number them.

Reason phrases: IANA "SIP Parameters"; Q.850 causes: RFC 3398; psrpc codes: what livekit-server's users know.
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


STATUSES = {
    status.code: status
    for status in (
        Status(100, "Trying"),
        Status(180, "Ringing"),
        Status(181, "Call Is Being Forwarded"),
        Status(182, "Queued"),
        Status(183, "Session Progress"),
        Status(200, "OK"),
        Status(202, "Accepted"),
        Status(300, "Multiple Choices", 0, "invalid_argument"),
        Status(301, "Moved Permanently", 22, "not_found", "the number moved"),
        Status(302, "Moved Temporarily", 22, "not_found", "the callee forwards elsewhere"),
        Status(305, "Use Proxy", 0, "invalid_argument"),
        Status(380, "Alternative Service", 0, "invalid_argument"),
        Status(400, "Bad Request", 41, "invalid_argument", "the request was malformed"),
        Status(401, "Unauthorized", 21, "permission_denied", "credentials missing or wrong"),
        Status(402, "Payment Required", 21, "permission_denied", "no credit with the carrier"),
        Status(403, "Forbidden", 21, "permission_denied", "caller ID, source or destination not allowed"),
        Status(404, "Not Found", 1, "not_found", "nobody answers to this number"),
        Status(405, "Method Not Allowed", 63, "invalid_argument"),
        Status(406, "Not Acceptable", 79, "invalid_argument"),
        Status(407, "Proxy Authentication Required", 21, "unauthenticated", "credentials missing or wrong"),
        Status(408, "Request Timeout", 102, "deadline_exceeded", "the far end did not answer in time"),
        Status(409, "Conflict", 0, "failed_precondition"),
        Status(410, "Gone", 22, "not_found", "the number was disconnected"),
        Status(411, "Length Required", 127, "invalid_argument"),
        Status(413, "Request Entity Too Large", 127, "invalid_argument"),
        Status(414, "Request-URI Too Long", 127, "invalid_argument"),
        Status(415, "Unsupported Media Type", 79, "invalid_argument", "the body is not SDP"),
        Status(416, "Unsupported URI Scheme", 127, "out_of_range"),
        Status(420, "Bad Extension", 127, "invalid_argument", "a required extension is not supported"),
        Status(421, "Extension Required", 127, "invalid_argument"),
        Status(422, "Session Interval Too Small", 127, "invalid_argument"),
        Status(423, "Interval Too Brief", 127, "invalid_argument"),
        Status(428, "Use Identity Header", 0, "unauthenticated", "the carrier wants signed calls (STIR)"),
        Status(429, "Provide Referrer Identity", 0, "invalid_argument"),
        Status(430, "Flow Failed", 0, "invalid_argument"),
        Status(433, "Anonymity Disallowed", 0, "permission_denied", "the callee refuses hidden numbers"),
        Status(436, "Bad Identity Info", 0, "unauthenticated"),
        Status(437, "Unsupported Certificate", 0, "unauthenticated"),
        Status(438, "Invalid Identity Header", 0, "unauthenticated"),
        Status(480, "Temporarily Unavailable", 18, "resource_exhausted", "not registered or not answering"),
        Status(481, "Call/Transaction Does Not Exist", 127, "not_found", "the other side has no such call"),
        Status(482, "Loop Detected", 127, "failed_precondition", "the same request came on two ways"),
        Status(483, "Too Many Hops", 127, "failed_precondition", "the request runs in circles"),
        Status(484, "Address Incomplete", 28, "invalid_argument", "digits are missing"),
        Status(485, "Ambiguous", 1, "invalid_argument"),
        Status(486, "Busy Here", 17, "resource_exhausted", "the callee is busy"),
        Status(487, "Request Terminated", 127, "aborted", "the caller gave up"),
        Status(488, "Not Acceptable Here", 65, "invalid_argument", "no common codec"),
        Status(489, "Bad Event", 127, "invalid_argument"),
        Status(491, "Request Pending", 127, "aborted", "both sides changed the session at once"),
        Status(493, "Undecipherable", 127, "invalid_argument"),
        Status(500, "Server Internal Error", 41, "failed_precondition"),
        Status(501, "Not Implemented", 79, "failed_precondition"),
        Status(502, "Bad Gateway", 38, "failed_precondition"),
        Status(503, "Service Unavailable", 41, "failed_precondition", "overloaded, draining or out of lines"),
        Status(504, "Server Time-out", 102, "deadline_exceeded"),
        Status(505, "Version Not Supported", 127, "invalid_argument"),
        Status(513, "Message Too Large", 127, "invalid_argument"),
        Status(600, "Busy Everywhere", 17, "resource_exhausted", "the callee is busy on every phone"),
        Status(603, "Decline", 21, "permission_denied", "the callee declined"),
        Status(604, "Does Not Exist Anywhere", 1, "not_found"),
        Status(606, "Not Acceptable", 0, "invalid_argument"),
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
    """The Q.850 cause of a final code (RFC 3398); 16 (normal clearing) for success, 31 for what has none."""
    if 200 <= code < 300:
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
