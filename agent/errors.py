"""Every error that `agent` raises. Each one names the thing, the reason and the mend."""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors of this package.

    `what` went wrong, `why` it did (may be empty), and what `mend` would help (may be empty).
    """

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.mend = what, why, mend

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.mend:
            text += f". {self.mend}"
        return text


class SettingsError(AgentError):
    """Settings that cannot work; all problems of one reading in one error."""

    def __init__(self, problems: list[str]) -> None:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"the worker cannot start with these settings:{lines}")
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"{self.what}\nSet them in the environment or in .env (.env.example names them all)."


class PersonaError(AgentError):
    """A persona file that cannot be used; every problem with its line."""


class TransferError(AgentError):
    """The caller could not be handed over; he is still on the line unless `gone`.

    `sip_code` is the far end's final SIP code, 0 when there was none.
    """

    def __init__(self, what: str, why: str = "", *, sip_code: int = 0, gone: bool = False) -> None:
        super().__init__(what, why)
        self.sip_code, self.gone = sip_code, gone
