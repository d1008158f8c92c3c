"""Every error that `sip` raises. Each one names the thing, the reason and the mend."""

from __future__ import annotations


class SipError(Exception):
    """Base of all errors of this package.

    `what` went wrong, `why` it did (may be empty), and what `mend` would help (may be empty).
    """

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.mend = what, why, mend

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text.rstrip('.')}. {self.mend}" if self.mend else text


class ConfigurationError(SipError):
    """Settings that cannot work; all problems of one reading in one error."""


class StackNotFound(SipError):
    """No local stack runs under this name."""


class ServiceError(SipError):
    """The SIP service cannot start or go on."""


class SetupError(SipError):
    """A part that the local stack needs cannot be had on this machine."""


class ApiError(SipError):
    """LiveKit's API cannot be reached, or refused a request; `code` is its own word: `invalid_argument` …"""

    def __init__(self, what: str, why: str = "", mend: str = "", *, code: str = "") -> None:
        super().__init__(what, why, mend)
        self.code = code


class NotFound(SipError):
    """No trunk, rule or call answers to a name or id, or several do."""
