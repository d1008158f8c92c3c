"""What a trunk or rule asks for and the SIP service that carries its calls does not do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sip.doctor.context import CannotRun, Context
from sip.finding import Finding
from sip.model import InboundTrunk, OutboundTrunk, State

_CLOUD = "has an effect on LiveKit Cloud only; elsewhere it is taken and does nothing"


async def unsupported(context: Context) -> Sequence[Finding]:
    """Fields without effect on this server, and what `sip serve` does not do where it carries the calls."""
    state = await context.state()
    if context.target.cloud:
        raise CannotRun("LiveKit Cloud does all that its API takes")
    found = list(find_cloud_only(state))
    if context.stack or context.serves:
        found += find_gaps(state)
    return found


def find_cloud_only(state: State) -> Iterator[Finding]:
    """Fields that LiveKit's API takes everywhere, and that only its cloud acts on."""
    for item in (*state.inbound, *state.rules):
        if item.krisp_enabled:
            text = f"krisp_enabled {_CLOUD}: callers' noise is not removed."
            yield Finding("cloud-only-field", "info", text, "", item.name or item.id)
    for trunk in state.outbound:
        if trunk.destination_country:
            text = f"destination_country {_CLOUD}."
            yield Finding("cloud-only-field", "info", text, "", trunk.name or trunk.id)


def find_gaps(state: State) -> Iterator[Finding]:
    """What the embedded service refuses: TLS, SRTP (docs/design.md, known gaps)."""
    for trunk in (*state.inbound, *state.outbound):
        wants: list[str] = []
        if isinstance(trunk, OutboundTrunk) and trunk.transport == "tls":
            wants.append("TLS")
        if trunk.media.encryption == "require":
            wants.append("SRTP")
        if wants:
            which = "in" if isinstance(trunk, InboundTrunk) else "out"
            yield Finding(
                "encryption-unsupported",
                "error",
                f"The trunk demands {' and '.join(wants)}, which `sip serve` does not speak: no call goes"
                f" {which} over it.",
                "Let livekit-sip or LiveKit Cloud carry these calls, or use UDP or TCP without SRTP",
                trunk.name or trunk.id,
            )
