"""What a failed request to LiveKit's API means: unreachable, wrong keys, no such API, a refusal."""

from __future__ import annotations

import os

import aiohttp
from livekit import api

from sip.api.connect import Target
from sip.errors import ApiError

CONNECT_TIMEOUT = 5.0
"""Seconds until a server that takes no connection is given up."""


def explain(error: BaseException, target: Target, what: str) -> ApiError:
    """What a failed request means, with the mend; `what` says what it was for."""
    where = f"{target.url} ({target.origin})"
    if isinstance(error, api.TwirpError):
        return _refused(error, target, what, where)
    why, mend = str(error) or type(error).__name__, "Is the server up, and the address right?"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        why, mend = "no such host", "Check the host's name in LIVEKIT_URL"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        why, mend = "its TLS certificate is not trusted", "Check the host's name and the certificate"
    elif isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientSSLError)):
        why = "it does not speak TLS there"
        mend = "A server without TLS is reached with ws:// or http://"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"no connection within {CONNECT_TIMEOUT:g} s"
    elif isinstance(error, TimeoutError):
        why = "it took the connection, and did not answer in time"
    if target.origin.startswith("local stack"):
        mend = "`./run sip stack status` shows what is wrong with the stack"
    return ApiError(f"cannot reach LiveKit at {where}", why, mend, code="unreachable")


def _refused(error: api.TwirpError, target: Target, what: str, where: str) -> ApiError:
    why, mend = error.message or error.code, ""
    if error.status == 401 and error.message == "permissions denied":
        why, mend = "this key may not manage SIP", "Use a key (or a token with the grant sip.admin) that may"
    elif error.status == 401:
        what, why = f"{where} refused the API key", "it does not know the key, or the secret is not the key's"
        mend = "Check LIVEKIT_API_KEY and LIVEKIT_API_SECRET, and this machine's clock"
    elif error.status == 404 and error.code in ("unknown", "bad_route"):
        what, why = f"there is no LiveKit API at {where}", "it answers 404"
        mend = (
            "Copy the project's URL from its settings in LiveKit Cloud: wss://PROJECT.livekit.cloud"
            if target.cloud
            else "Check host, port and path of LIVEKIT_URL; the server may be too old"
        )
    elif "sip not connected" in error.message:
        why = "this livekit-server has no Redis, which SIP needs"
        mend = "Set redis.address in its configuration"
    elif error.message.startswith("Conflicting inbound SIP Trunks"):
        mend = "Another trunk takes these calls: give each its own numbers, or set allowed numbers on both"
    elif error.message.startswith("Dispatch rule for the same trunk"):
        mend = "Another rule takes these calls: change its trunks, numbers or PIN, or update that rule"
    elif error.status >= 500:
        mend = "The server failed, not the request: see its log, and try again"
    return ApiError(what, why, mend, code=error.code)
