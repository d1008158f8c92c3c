"""What SIP INFO and Reason headers say: keys pressed, causes of a hang-up. No I/O."""

from __future__ import annotations

from sip import codes
from sip.service.calls.record import Ending
from sip.service.media.limits import AGENT_GONE, NOBODY_HEARD
from sip.service.signalling.messages import Request


def info_digit(request: Request) -> str | None:
    """The key pressed, of a SIP INFO; empty for a body that says something else; None for no DTMF at all."""
    text = request.body.decode(errors="replace")
    if request.content_type == "application/dtmf":
        digit = text.strip()[:1].upper()
    elif request.content_type == "application/dtmf-relay":
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        digit = fields.get("Signal", fields.get("signal", "")).strip()[:2].upper()
        digit = {"10": "*", "11": "#"}.get(digit, digit[:1])
    else:
        return None
    return digit if digit and digit in "0123456789*#ABCD" else ""


def q850_cause(reason: str) -> int:
    """The Q.850 cause of a Reason header (RFC 3326); 0 when there is none."""
    for item in reason.split(","):
        protocol, _, parameters = item.strip().partition(";")
        if protocol.strip().upper() == "Q.850":
            for parameter in parameters.split(";"):
                name, _, value = parameter.partition("=")
                if name.strip().lower() == "cause" and value.strip().isdecimal():
                    return int(value)
    return 0


def room_reason(ending: Ending, *, answered: bool) -> str:
    """The Reason header (RFC 3326) of a call that the room's side ended."""
    if not answered:
        return f'Q.850;cause={codes.q850(ending.code)};text="{codes.phrase(ending.code)}"'
    if ending.reason == "media_timeout":
        return 'Q.850;cause=102;text="Recovery on timer expiry"'
    if ending.reason == AGENT_GONE:
        return 'Q.850;cause=41;text="Temporary failure"'
    if ending.reason == NOBODY_HEARD:
        return 'Q.850;cause=19;text="No answer from user"'
    if ending.reason.startswith("error"):
        return 'Q.850;cause=38;text="Network out of order"'
    return 'Q.850;cause=16;text="Normal call clearing"'
