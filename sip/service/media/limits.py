"""What ends a call that stands: its time is over, no media comes, nobody is left in the room. No I/O."""

from __future__ import annotations

from sip.service.control import CallSpec

AGENT_GONE = "agent gone"
"""Nobody else has been in the room for `CallSpec.alone_timeout`: the agent's worker died, or it left."""
NOBODY_HEARD = "nobody in the room can be heard"
"""`CallSpec.ringing_timeout` is over: no agent came, or it sent no audio."""


class Limits:
    """One call's limits, from the moment it is active. All times are `time.monotonic()`."""

    def __init__(self, spec: CallSpec, now: float) -> None:
        self._spec = spec
        self._active_at = self._media_since = now
        self._alone_since: float | None = None

    def reached(self, now: float, *, heard_at: float | None, held: bool, alone: bool) -> str:
        """Why the call must end now; "" while it may go on. Asked about once a second.

        `heard_at` is when RTP came last (None: never), `held` whether the far end does not want to send any,
        `alone` whether the caller is the only one in the room.
        """
        if self._spec.max_call_duration and now - self._active_at >= self._spec.max_call_duration:
            return "max_call_duration"
        if self._is_silent(now, heard_at, held):
            return "media_timeout"
        if self._is_alone(now, alone):
            return AGENT_GONE
        return ""

    def _is_silent(self, now: float, heard_at: float | None, held: bool) -> bool:
        if held:
            self._media_since = now  # the time starts again when the far end comes back
            return False
        limit = self._spec.media_timeout_initial if heard_at is None else self._spec.media_timeout
        return bool(limit) and now - max(heard_at or 0.0, self._media_since) >= limit

    def _is_alone(self, now: float, alone: bool) -> bool:
        if not alone:
            self._alone_since = None
            return False
        if self._alone_since is None:
            self._alone_since = now
        limit = self._spec.alone_timeout
        return bool(limit) and now - self._alone_since >= limit
