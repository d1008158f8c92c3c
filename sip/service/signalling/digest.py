"""Digest authentication (RFC 2617, 7616, 8760): the trunk's side that asks, and ours that is asked.

No I/O. Nothing here keeps or prints a password.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sip.service.signalling.messages import Response, split_list

NONCE_LIFETIME = 60.0
"""Seconds for which an answer to a challenge is good."""
MAX_NONCES = 10_000
MAX_TRIES = 4
"""Challenges answered for one request: a proxy's and the far end's, with a stale nonce each."""
_PROXY = ("Proxy-Authenticate", "Proxy-Authorization")
_FAR_END = ("WWW-Authenticate", "Authorization")
_PARAMETER = re.compile(r"([A-Za-z0-9_-]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s,]+)")
_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}
"""Weakest first: the strongest that a challenge offers is answered."""


@dataclass(frozen=True)
class Credentials:
    """What a trunk asks for, or what we answer with. `realm` is only for asking."""

    username: str
    password: str
    realm: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


class Verdict(enum.Enum):
    """What an answer to a challenge is worth."""

    GOOD = "good"
    STALE = "stale"
    """Right or not, the nonce is too old or was used: ask again with `stale=true`."""
    WRONG = "wrong"


class Authorization:
    """Our answers to the challenges to one request, from its first try to its last (RFC 3261 22.1 to 22.3).

    A proxy's 407 may be followed by the far end's own 401: each realm gets its answer, and the next try
    carries all of them. A realm that was answered and asks again has refused the password, unless it says
    that only the nonce is stale (RFC 7616 3.3).
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._answers: dict[tuple[str, str], str] = {}
        self._tries = 0

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Headers of the next try."""
        return [(name, value) for (name, _), value in self._answers.items()]

    def answer(self, challenged: Response, method: str, uri: str, body: bytes = b"") -> bool:
        """Whether another try is worth it: `challenged` is a 401 or 407 that we have an answer for."""
        if challenged.code not in (401, 407) or self._credentials is None or self._tries == MAX_TRIES:
            return False
        self._tries += 1
        asks, answers = _PROXY if challenged.code == 407 else _FAR_END
        realms: dict[str, list[str]] = {}
        for challenge in challenged.headers.getlist(asks):
            realms.setdefault(parameters(challenge).get("realm", ""), []).append(challenge)
        news = False
        for realm, challenges in realms.items():
            stale = any(parameters(text).get("stale", "").lower() == "true" for text in challenges)
            if (answers, realm) in self._answers and not stale:
                return False
            if value := answer(challenges, method, uri, self._credentials, body):
                self._answers[answers, realm] = value
                news = True
        return news


class Challenger:
    """Asks and checks. A nonce proves itself (time and signature), so only its use is remembered."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._key = secrets.token_bytes(32)
        self._uses: OrderedDict[str, int] = OrderedDict()

    def challenge(self, realm: str, *, stale: bool = False) -> str:
        """The value of a Proxy-Authenticate header."""
        text = f'Digest realm="{_escape(realm)}", nonce="{self._nonce()}", algorithm=MD5, qop="auth"'
        return text + (", stale=true" if stale else "")

    def check(self, header: str, method: str, expected: Credentials) -> Verdict:
        """What a Proxy-Authorization header is worth."""
        given = parameters(header)
        if given.get("username") is None or given.get("realm") != expected.realm:
            return Verdict.WRONG
        nonce = given.get("nonce", "")
        age = self._age(nonce)
        if age is None:
            return Verdict.STALE
        right = _response(given, method, expected, b"")
        same_user = hmac.compare_digest(given["username"].encode(), expected.username.encode())
        same_response = right is not None and hmac.compare_digest(
            given.get("response", "").lower().encode(), right.encode()
        )
        if not (same_user and same_response):
            return Verdict.WRONG
        if age > NONCE_LIFETIME or not self._first_use(nonce, given):
            return Verdict.STALE
        return Verdict.GOOD

    def _nonce(self) -> str:
        stamp = struct.pack(">d", self._now()) + secrets.token_bytes(8)
        return base64.urlsafe_b64encode(stamp + self._sign(stamp)).decode()

    def _sign(self, stamp: bytes) -> bytes:
        return hmac.digest(self._key, stamp, "sha256")[:16]

    def _age(self, nonce: str) -> float | None:
        try:
            raw = base64.urlsafe_b64decode(nonce.encode())
        except (binascii.Error, ValueError):
            return None
        if len(raw) != 32 or not hmac.compare_digest(raw[16:], self._sign(raw[:16])):
            return None
        return self._now() - struct.unpack(">d", raw[:8])[0]

    def _first_use(self, nonce: str, given: dict[str, str]) -> bool:
        """Whether this count was not seen with this nonce; without qop a nonce is good for one request."""
        try:
            count = int(given.get("nc", "1"), 16) if given.get("qop") else 1
        except ValueError:
            return False
        if count <= self._uses.get(nonce, 0):
            return False
        self._uses[nonce] = count
        self._uses.move_to_end(nonce)
        while len(self._uses) > MAX_NONCES:
            self._uses.popitem(last=False)
        return True


def answer(
    challenges: Iterable[str], method: str, uri: str, credentials: Credentials, body: bytes = b""
) -> str | None:
    """The Authorization value for the strongest challenge that we can answer; None when there is none."""
    best = max((parameters(text) for text in challenges), key=_strength, default=None)
    if best is None or _strength(best) < 0 or "nonce" not in best:
        return None
    offered = [option.strip().lower() for option in best.get("qop", "").split(",") if option.strip()]
    given = {
        "username": credentials.username,
        "realm": best.get("realm", ""),
        "nonce": best["nonce"],
        "uri": uri,
        "algorithm": best.get("algorithm", "MD5"),
    }
    if offered:
        given |= {
            "qop": "auth" if "auth" in offered else offered[0],
            "nc": "00000001",
            "cnonce": secrets.token_hex(8),
        }
    response = _response(given, method, credentials, body)
    if response is None:
        return None
    given["response"] = response
    if "opaque" in best:
        given["opaque"] = best["opaque"]
    bare = ("algorithm", "qop", "nc")
    return "Digest " + ", ".join(
        f"{name}={value}" if name in bare else f'{name}="{_escape(value)}"' for name, value in given.items()
    )


def parameters(header: str) -> dict[str, str]:
    """The parameters of a Digest challenge or answer, names in lower case; empty for another scheme."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {
        found.group(1).lower(): _unquote(found.group(2))
        for item in split_list(rest)
        if (found := _PARAMETER.match(item))
    }


def _strength(challenge: dict[str, str]) -> int:
    name = challenge.get("algorithm", "MD5").lower().removesuffix("-sess")
    return list(_HASHES).index(name) if challenge and name in _HASHES else -1


def _response(given: dict[str, str], method: str, credentials: Credentials, body: bytes) -> str | None:
    """RFC 7616 3.4.1; None for an algorithm or a quality of protection that we do not know."""
    algorithm = given.get("algorithm", "MD5").lower()
    function = _HASHES.get(algorithm.removesuffix("-sess"))
    if function is None:
        return None

    def digest(text: str) -> str:
        return function(text.encode()).hexdigest()

    nonce, cnonce, qop = given["nonce"], given.get("cnonce", ""), given.get("qop", "").lower()
    first = digest(f"{credentials.username}:{given.get('realm', '')}:{credentials.password}")
    if algorithm.endswith("-sess"):
        first = digest(f"{first}:{nonce}:{cnonce}")
    second = f"{method}:{given.get('uri', '')}"
    if qop == "auth-int":
        second += f":{function(body).hexdigest()}"
    if not qop:
        return digest(f"{first}:{nonce}:{digest(second)}")
    if qop not in ("auth", "auth-int"):
        return None
    return digest(f"{first}:{nonce}:{given.get('nc', '')}:{cnonce}:{qop}:{digest(second)}")


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
