"""One extension at its registrar (RFC 3261 10): requests, what answers mean, when to ask again. No I/O."""

from __future__ import annotations

import math
import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from sip import codes
from sip.model import Registration
from sip.registered import Status
from sip.service.calls.call import ALLOW
from sip.service.signalling.digest import Authorization, Credentials, parameters
from sip.service.signalling.messages import Request, Response, set_all, uri_of
from sip.service.signalling.peer import next_hop

BASE, LONGEST = 30.0, 300.0
"""Seconds of the back-off (RFC 5626 4.5): the wait doubles from 2 x BASE to LONGEST, half of it by chance."""
SELDOM = 600.0
"""Seconds until a registrar that refused the extension is asked again: somebody must mend something first,
and PBXs lock out addresses that try too often."""
PATIENCE = 2
"""Refusals in a row that are taken for a PBX that starts up, once it has known the extension."""
MAX_RETRY_AFTER = 3600.0
MAX_EXPIRES = 86_400
RETRANSMISSION = 32.0
"""Seconds that a lost request takes to fail (64 x T1): a refresh begins so long before the end, if it can."""
_LATER = frozenset({408, 429, 480, 486, 491})
"""4xx that pass by themselves; all others, and 3xx and 6xx, need a change."""
_USER = "-_.!~*'()&=+$,;?/"
_EXPIRES = re.compile(r";\s*expires\s*=\s*\"?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to."""

    status: Status
    wait: float
    """Seconds until the next attempt."""
    code: int = 0
    """SIP code; 0: none came."""
    reason: str = ""
    mend: str = ""
    granted: float = 0
    """Seconds for which the registrar keeps the extension."""
    behind_nat: bool = False
    """Whether the registrar saw us at another address than we name in Contact."""


class Extension:
    """One registration for as long as the service runs: one Call-ID, and a CSeq that grows."""

    def __init__(self, wanted: Registration, chance: Callable[[], float] = random.random) -> None:
        self.wanted = wanted
        self.call_id = f"{secrets.token_hex(12)}@registration"
        self.failures = 0
        """Attempts in a row that failed."""
        self.expires = math.ceil(wanted.expires)
        """Seconds to ask for: what the file says, or more if the registrar wants it."""
        self._chance, self._tag, self._sequence = chance, secrets.token_hex(8), 0
        self._known = False
        self.peer = next_hop(f"sip:{wanted.registrar}", wanted.transport)
        """The registrar, its name not looked up. Raises `ValueError` for a transport that is not served."""
        domain = wanted.domain or re.sub(r":\d+$", "", wanted.registrar)
        self._record = f"sip:{self.user}@{domain}"
        self._credentials = None
        if wanted.auth_password:
            user = wanted.auth_username or wanted.username
            self._credentials = Credentials(user, wanted.auth_password)
        self.begin()

    @property
    def user(self) -> str:
        """User part of the Contact."""
        return quote(self.wanted.username, safe=_USER)

    def begin(self) -> None:
        """A new attempt: no challenge is answered yet."""
        self._authorization = Authorization(self._credentials)
        self._lengthened = False

    def request(self, contact: str, *, leave: bool = False) -> Request:
        """The next REGISTER; with `leave` it takes the Contact back (10.2.2)."""
        self._sequence += 1
        self._contact = contact
        request = Request(method="REGISTER", uri=self._uri)
        request.headers.add("From", f"<{self._record}>;tag={self._tag}")
        request.headers.add("To", f"<{self._record}>")
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{self._sequence} REGISTER")
        request.headers.add("Max-Forwards", "70")
        request.headers.add("Contact", contact)
        request.headers.add("Expires", "0" if leave else str(self.expires))
        request.headers.add("Allow", ALLOW)
        set_all(request, self._authorization.headers)
        return request

    @property
    def _uri(self) -> str:
        """10.2: the domain alone, no user. The port tells registrars on other ports that they are meant."""
        return f"sip:{self.wanted.domain or self.wanted.registrar}"

    def answered(self, response: Response) -> Outcome | None:
        """What the final response means; None: send another request now (a challenge, a longer interval)."""
        if response.code in (401, 407):
            if self._authorization.answer(response, "REGISTER", self._uri):
                return None
            return self._not_authorized(response)
        if response.code == 423 and not self._lengthened and self._lengthen(response):
            return None
        if response.code < 300:
            return self._accepted(response)
        where = f"registrations.{self.wanted.name}"
        if not response.received:
            silent = "said nothing for 32 s" if response.code == 408 else "cannot be reached"
            return self._lost(0, f"the registrar {silent}", f"Check {where}.registrar and transport")
        said = f"the registrar answered {response.code} {codes.phrase(response.code)}".rstrip()
        if response.code in _LATER or 500 <= response.code < 600:
            after = re.match(r"\s*(\d{1,9})", response.headers.get("Retry-After") or "")
            wait = min(max(float(after[1]), 1.0), MAX_RETRY_AFTER) if after else 0.0
            return self._lost(response.code, said, f"sip code {response.code}", wait)
        mends = {
            403: f"Check {where}: username, auth_username, auth_password; and what the PBX lets in",
            404: f"Check {where}: username, registrar and domain",
        }
        return self._refused(response.code, said, mends.get(response.code, f"sip code {response.code}"))

    def unreachable(self, reason: str) -> Outcome:
        """No request could be sent."""
        return self._lost(0, reason, f"Check registrations.{self.wanted.name}.registrar")

    def _accepted(self, response: Response) -> Outcome:
        granted = self._granted(response)
        if granted <= 0:
            return self._lost(response.code, "the registrar took the request and kept nothing", "Ask the PBX")
        self.failures, self._known = 0, True
        seen = (response.via.parameters.get("received") or "").strip("[]")
        ours = response.via.host.strip("[]")
        port = response.via.parameters.get("rport")
        moved = bool(port) and str(port) != str(response.via.port or 5060) and not self.peer.reliable
        latest = max(granted / 2, min(0.9 * granted, granted - RETRANSMISSION))
        return Outcome(
            "registered",
            max(1.0, latest * (0.9 + 0.1 * self._chance())),
            response.code,
            granted=granted,
            behind_nat=bool(seen and seen != ours) or moved,
        )

    def _granted(self, response: Response) -> float:
        """10.2.4: `expires` of our own Contact, else the Expires header, else what was asked for.

        Some PBXs write the address that they saw into the Contact. Of several that may be ours it is the one
        that lasts longest: it is the youngest.
        """
        header = response.headers.get("Expires") or ""
        default = int(header) if header.isdecimal() and len(header) < 10 else self.expires
        given: list[tuple[str, int]] = []
        for item in response.items("Contact"):
            found = _EXPIRES.search(item[item.rfind(">") + 1 :])
            given.append((_place(item), int(found[1][:9]) if found else default))
        ours = [seconds for place, seconds in given if place == _place(self._contact)]
        return float(min(max(ours or [seconds for _, seconds in given] or [default]), self.expires))

    def _lengthen(self, response: Response) -> bool:
        """10.3: ask for Min-Expires, once an attempt. The challenge is answered anew: its nonce was used."""
        least = (response.headers.get("Min-Expires") or "").strip()
        if not (least.isdecimal() and len(least) < 10 and self.expires < int(least) <= 7 * MAX_EXPIRES):
            return False
        self.expires = int(least)
        self.begin()
        self._lengthened = True
        return True

    def _not_authorized(self, response: Response) -> Outcome:
        where = f"registrations.{self.wanted.name}"
        asks = [
            text
            for name in ("WWW-Authenticate", "Proxy-Authenticate")
            for text in response.headers.getlist(name)
        ]
        if self._credentials is None:
            return self._refused(
                response.code, "the registrar asks for a password", f"Set {where}.auth_password"
            )
        if not self._authorization.headers:
            mend = "Let the PBX ask for a Digest with MD5 or SHA-256"
            return self._refused(response.code, "the registrar asks for what is not known here", mend)
        if any(parameters(text).get("stale", "").lower() == "true" for text in asks):
            return self._lost(
                response.code, "the registrar finds every answer too old", "Check the PBX's clock"
            )
        mend = f"Check {where}: username, auth_username, auth_password"
        return self._refused(response.code, "the registrar refuses the password", mend)

    def _refused(self, code: int, reason: str, mend: str) -> Outcome:
        self.failures += 1
        # A PBX that starts up may not know an extension yet that it knew before.
        soon = self._known and self.failures <= PATIENCE
        wait = self._back_off() if soon else SELDOM * (1 + 0.1 * self._chance())
        return Outcome("refused", wait, code, reason, mend)

    def _lost(self, code: int, reason: str, mend: str, wait: float = 0.0) -> Outcome:
        self.failures += 1
        return Outcome("lost", wait or self._back_off(), code, reason, mend)

    def _back_off(self) -> float:
        longest = min(LONGEST, BASE * 2.0 ** min(self.failures, 10))
        return longest * (0.5 + 0.5 * self._chance())


def _place(contact: str) -> str:
    """User, host and port of a Contact, for comparison; empty for what is none."""
    try:
        return uri_of(contact).partition(";")[0].lower()
    except ValueError:
        return ""
