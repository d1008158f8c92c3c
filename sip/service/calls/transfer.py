"""Transfer by REFER (RFC 3515): sent in the far dialog, its outcome learnt from NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping

from sip import codes
from sip.service.bus.rpc import BusError
from sip.service.calls import mapping
from sip.service.calls.call import Call
from sip.service.calls.outbound import sip_status
from sip.service.calls.record import Ending
from sip.service.control import Transferring, TransferTone
from sip.service.signalling.messages import Pairs, Request, uri_of

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 30.0
BYE_WAIT = 1.0
"""Seconds in which the far end may hang up by itself after a transfer."""
_STATUS_LINE = re.compile(r"SIP/2\.0 (\d{3})(?: ([^\r\n]*))?")
_TARGET = re.compile(r"(?:sips?|tel):[^\s<>\"]+", re.IGNORECASE)


async def transfer(
    call: Call, target: str, headers: Mapping[str, str], timeout: float, *, dialtone: bool = False
) -> None:
    """Send the far end to `target` and wait for what becomes of it. Raises `BusError`; then the call goes on.

    On success the call ends: the far end hangs up, or we do.
    """
    far = call.far
    if far is None or not far.established or call.over.done():
        raise BusError("failed_precondition", "the call is not answered, or it is over")
    if call.on_notify is not None:
        raise BusError("already_exists", "a transfer of this call is under way")
    target = target.strip().removeprefix("<").removesuffix(">")
    if not _TARGET.fullmatch(target):
        raise BusError("invalid_argument", "transfer_to must be a sip:, sips: or tel: URI")
    call.mark("transfer")
    if call.media:
        call.media.send(Transferring(call.key, True))
        if dialtone:
            call.media.send(TransferTone(call.key, True))
    try:
        async with asyncio.timeout(timeout or DEFAULT_TIMEOUT):
            await _refer(call, target, headers)
    except TimeoutError:
        logger.warning("transfer timed out", extra=call.log_fields())
        raise BusError(
            "deadline_exceeded",
            "the transfer's target did not answer in time",
            [sip_status(408, "Request Timeout")],
        ) from None
    finally:
        call.on_notify = None
        if call.media and not call.over.done():
            call.media.send(Transferring(call.key, False))
            if dialtone:
                call.media.send(TransferTone(call.key, False))
    call.mark("transferred")
    logger.info("call transferred", extra=call.log_fields())
    call.desk.spawn(_hang_up(call))


async def _refer(call: Call, target: str, headers: Mapping[str, str]) -> None:
    """REFER and its NOTIFYs. Raises `BusError` for a refusal of either."""
    assert call.far
    outcome: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_notify(request: Request) -> None:
        result = _outcome(request)
        if result and not outcome.done():
            outcome.set_result(result)

    call.on_notify = on_notify
    extra: Pairs = [("Refer-To", f"<{target}>"), ("Referred-By", f"<{uri_of(call.far.dialog.local)}>")]
    mapped = mapping.to_headers(call.attributes, call.attributes_to_headers, headers)
    accepted = call.far.request("REFER", [*extra, *mapped])
    await asyncio.wait({accepted, call.over}, return_when=asyncio.FIRST_COMPLETED)
    if not accepted.done():
        raise BusError("failed_precondition", "the call ended before the transfer was accepted")
    response = accepted.result()
    if response.code >= 300:
        raise _failure(response.code, response.phrase)
    await asyncio.wait({outcome, call.over}, return_when=asyncio.FIRST_COMPLETED)
    if outcome.done():
        code, phrase = outcome.result()
        if code >= 300:
            raise _failure(code, phrase)
    # A far end that took the REFER and hung up has gone where it was sent.


def _outcome(notify: Request) -> tuple[int, str] | None:
    """The final code that a NOTIFY tells; None while the target still rings."""
    found = _STATUS_LINE.match(notify.body.decode(errors="replace").lstrip())
    code, phrase = (int(found.group(1)), found.group(2) or "") if found else (0, "")
    if code >= 200:
        return code, phrase
    state = (notify.headers.get("Subscription-State") or "").lower()
    if state.startswith("terminated"):
        # No more news, and none was final: the far end does not know, so it did not work.
        return 500, "Transfer outcome unknown"
    return None


def _failure(code: int, phrase: str) -> BusError:
    phrase = phrase or codes.phrase(code)
    return BusError(
        codes.psrpc_code(code),
        f"call transfer failed: sip status {code}: {phrase}",
        [sip_status(code, phrase)],
    )


async def _hang_up(call: Call) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(call.over), BYE_WAIT)
    call.end(Ending("service", "transferred"))
