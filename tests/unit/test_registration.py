"""Extensions of a PBX: what is sent to a scripted registrar, when, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip import registered
from sip.errors import ConfigurationError
from sip.model import Registration
from sip.service.registrations.registration import SELDOM, Extension
from sip.service.registrations.registrations import Registrations, wanted
from sip.service.signalling.digest import Challenger, Credentials, Verdict
from sip.service.signalling.messages import Request, Response, respond
from sip.service.signalling.peer import Peer

DESK = Registration("desk", "pbx.example", "1001", "auth-1001", "right-password", expires=300)
SERVICE = "127.0.0.1:5060"
Answer = Callable[[Request], Response]


class Registrar:
    """A registrar that follows a script, then keeps every extension; its clock jumps instead of waiting."""

    def __init__(self, *script: Answer, password: str = "") -> None:
        self.script, self.password = list(script), password
        self.time = 1_000_000.0
        self.challenger = Challenger(lambda: self.time)
        self.requests: list[tuple[float, Request]] = []
        self.pings = 0
        self.connected, self.silent = True, False
        self.end = self.time
        self._resting, self._more = asyncio.Event(), asyncio.Event()

    async def find(self, peer: Peer) -> Peer:
        """Names have addresses, but for one."""
        if peer.host == "nowhere.example":
            raise OSError(-2, "Name or service not known")
        return replace(peer, host="192.0.2.1")

    def contact(self, peer: Peer, user: str) -> str:
        """Ours."""
        return f"<sip:{user}@198.51.100.7:5060>"

    async def ask(self, request: Request, peer: Peer) -> Response:
        """What the script says next."""
        request.headers.add("Via", "SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKx;rport=5060")
        self.requests.append((self.time, request))
        if self.silent:
            await asyncio.Event().wait()
        response = self.script.pop(0)(request) if self.script else self.accept(request)
        if response.code == 408:
            response.received = False
            self.time += 32
        return response

    def keep_alive(self, peer: Peer) -> bool:
        """Whether the connection stands."""
        self.pings += 1
        return self.connected

    async def sleep(self, seconds: float) -> None:
        """Time passes at once, up to the end of what the test looks at."""
        until = self.time + seconds
        while until > self.end:
            self._resting.set()
            await self._more.wait()
        self.time = until

    async def rest(self) -> None:
        """Nothing more happens until time passes."""
        await self._resting.wait()

    async def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens in this time."""
        self.end += seconds
        self._resting, more, self._more = asyncio.Event(), self._more, asyncio.Event()
        more.set()
        await self.rest()

    def accept(self, request: Request, expires: str = "") -> Response:
        """200 for the right password (if one is asked for)."""
        if self.password:
            header = request.headers.get("Authorization")
            known = Credentials("auth-1001", self.password, "pbx")
            verdict = self.challenger.check(header, "REGISTER", known) if header else Verdict.WRONG
            if verdict is not Verdict.GOOD:
                return self.challenge(request, stale=verdict is Verdict.STALE)
        granted = expires or request.headers["Expires"]
        contact = f"{request.headers['Contact']};expires={granted}"
        return respond(request, 200, headers=[("Contact", contact)] if granted != "0" else [])

    def challenge(self, request: Request, *, stale: bool = False) -> Response:
        """401 with a nonce."""
        value = self.challenger.challenge("pbx", stale=stale)
        return respond(request, 401, headers=[("WWW-Authenticate", value)])


def says(code: int, *headers: tuple[str, str]) -> Answer:
    """An answer, whatever is asked."""
    return lambda request: respond(request, code, headers=headers)


@pytest.fixture(autouse=True)
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State files of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@asynccontextmanager
async def registering(registrar: Registrar, *registrations: Registration) -> AsyncGenerator[Registrations]:
    """The service's registrations over this registrar, after the first attempt."""
    made = Registrations(
        registrations or [DESK], registrar, SERVICE, sleep=registrar.sleep, now=lambda: registrar.time
    )
    made.start()
    try:
        await registrar.rest()
        yield made
    finally:
        await made.stop()


def sent(registrar: Registrar) -> list[Request]:
    """All requests so far."""
    return [request for _, request in registrar.requests]


async def test_an_extension_registers_with_a_digest_and_refreshes() -> None:
    """401, then 200; again at 90 % of the time at the latest, in the same Call-ID with a growing CSeq."""
    registrar = Registrar(password="right-password")
    async with registering(registrar) as made:
        first, second = sent(registrar)
        assert (first.uri, first.headers["To"]) == ("sip:pbx.example", "<sip:1001@pbx.example>")
        assert first.headers["From"].startswith("<sip:1001@pbx.example>;tag=")
        assert first.headers["Contact"] == "<sip:1001@198.51.100.7:5060>"
        assert first.headers.get("Authorization") is None
        assert 'username="auth-1001"' in second.headers["Authorization"]
        assert made.states["desk"].status == "registered"
        await registrar.pass_time(3000)
        times = [time for time, _ in registrar.requests[::2]]
        waits = [late - early for early, late in pairwise(times)]
        assert len(waits) >= 10 and all(200 < wait <= 270 for wait in waits)
        assert len({request.call_id for request in sent(registrar)}) == 1
        assert [request.sequence for request in sent(registrar)] == list(range(1, len(times) * 2 + 1))


async def test_the_port_and_the_domain_stand_where_they_belong() -> None:
    """The request URI has the registrar's port, the address of record none; a domain stands in both."""
    registrar = Registrar()
    proxied = replace(
        DESK, name="proxied", registrar="192.0.2.5:5090", domain="carrier.example", username="1#2"
    )
    async with registering(registrar, replace(DESK, registrar="192.0.2.5:5070"), proxied):
        first, second = sent(registrar)
    assert (first.uri, first.headers["To"]) == ("sip:192.0.2.5:5070", "<sip:1001@192.0.2.5>")
    assert (second.uri, second.headers["To"]) == ("sip:carrier.example", "<sip:1%232@carrier.example>")
    assert Extension(proxied).peer == Peer("udp", "192.0.2.5", 5090)


async def test_an_interval_too_brief_is_lengthened() -> None:
    """After 423 the registrar's own minimum is asked for, now and later; the password is proved anew."""
    registrar = Registrar(password="right-password")
    registrar.script = [registrar.challenge, says(423, ("Min-Expires", "900"))]
    async with registering(registrar) as made:
        assert [request.headers["Expires"] for request in sent(registrar)] == ["300", "300", "900", "900"]
        assert made.states["desk"].status == "registered"
        await registrar.pass_time(900)
        assert registrar.requests[4][1].headers["Expires"] == "900"
        assert 700 < registrar.requests[4][0] - registrar.requests[3][0] <= 810


@pytest.mark.parametrize("least", ["", "soon", "10", "99999999"])
async def test_a_senseless_minimum_is_a_failure(least: str) -> None:
    """423 without a usable Min-Expires is not followed, and not hammered."""
    registrar = Registrar(says(423, ("Min-Expires", least)))
    async with registering(registrar) as made:
        assert (len(registrar.requests), made.states["desk"].status) == (1, "refused")


async def test_a_stale_nonce_is_answered_again() -> None:
    """`stale=true` is no refusal of the password."""
    registrar = Registrar(password="right-password")
    registrar.script = [registrar.challenge, lambda request: registrar.challenge(request, stale=True)]
    async with registering(registrar) as made:
        assert (len(registrar.requests), made.states["desk"].status) == (3, "registered")


async def test_a_registrar_that_never_likes_a_nonce_is_given_up() -> None:
    """Endless `stale=true` ends the attempt."""
    registrar = Registrar()
    registrar.script = [lambda request: registrar.challenge(request, stale=True)] * 50
    async with registering(registrar) as made:
        assert (len(registrar.requests), made.states["desk"].status) == (5, "lost")


async def test_a_wrong_password_is_told_once_and_not_hammered(caplog: pytest.LogCaptureFixture) -> None:
    """One error that names the mend; then two requests every ten minutes. No secret and no number is told."""
    registrar = Registrar(password="another")
    with caplog.at_level(logging.INFO, "sip.service.registrations.registrations"):
        async with registering(registrar) as made:
            assert len(registrar.requests) == 2
            assert made.states["desk"].status == "refused"
            await registrar.pass_time(SELDOM - 1)
            assert len(registrar.requests) == 2
            await registrar.pass_time(3 * SELDOM)
            assert len(registrar.requests) == 8
            states = registered.path_of(SERVICE).read_text()
    [record] = caplog.records
    told = str(vars(record)) + states
    assert record.levelno == logging.ERROR and "auth_password" in vars(record)["mend"]
    assert "right-password" not in told and "1001" not in told


@pytest.mark.parametrize(
    ("answer", "password", "mend"),
    [
        (says(403), "x", "lets in"),
        (says(404), "x", "username"),
        (says(407, ("Proxy-Authenticate", 'Digest realm="p", nonce="n"')), "", "auth_password"),
        (says(401, ("WWW-Authenticate", 'Digest realm="p", nonce="n", algorithm=X')), "x", "MD5"),
        (says(401), "x", "MD5"),
        (says(302), "x", "sip code 302"),
        (says(603), "x", "sip code 603"),
    ],
)
async def test_refusals_name_their_mend(answer: Answer, password: str, mend: str) -> None:
    """What needs a change is refused after one request, asked again seldom, and said how to mend."""
    registrar = Registrar(answer)
    async with registering(registrar, replace(DESK, auth_password=password)) as made:
        state = made.states["desk"]
        assert (len(registrar.requests), state.status) == (1, "refused") and mend in state.mend


async def test_a_registrar_that_is_gone_is_asked_ever_less_often(caplog: pytest.LogCaptureFixture) -> None:
    """The back-off grows from half a minute to five, and the registrar is found when it is back."""
    registrar = Registrar(Registrar().accept, *[says(408)] * 8)
    with caplog.at_level(logging.INFO, "sip.service.registrations.registrations"):
        async with registering(registrar) as made:
            await registrar.pass_time(5000)
            assert made.states["desk"].status == "registered"
    times = [time for time, _ in registrar.requests]
    waits = [late - early - 32 for early, late in pairwise(times[1:10])]
    assert 30 <= waits[0] <= 60 and 60 <= waits[1] <= 120 and max(waits) <= 300 and min(waits[4:]) >= 150
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


async def test_a_pbx_that_starts_up_is_not_given_up_for_ten_minutes() -> None:
    """Who knew the extension and refuses it is asked again soon, but only twice."""
    registrar = Registrar(Registrar().accept, says(404), says(404), Registrar().accept, *[says(404)] * 9)
    async with registering(registrar):
        await registrar.pass_time(5000)
    times = [time for time, _ in registrar.requests]
    waits = [late - early for early, late in pairwise(times)]
    assert max(waits[:6]) <= 270 and min(waits[6:8]) >= SELDOM


async def test_a_fault_of_ours_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """When registering breaks down, the log and `sip doctor` hear of it."""

    def breaks(request: Request) -> Response:
        raise ZeroDivisionError

    async with registering(Registrar(breaks), replace(DESK, name="door"), DESK) as made:
        assert made.states["desk"].status == "registered"
        assert (made.states["door"].status, made.states["door"].reason) == ("lost", "an internal error")
    assert "ZeroDivisionError" in caplog.text


async def test_retry_after_is_kept() -> None:
    """A registrar that says when, is asked then."""
    registrar = Registrar(says(503, ("Retry-After", "7 (upgrade)")))
    async with registering(registrar):
        await registrar.pass_time(8)
        assert [time - registrar.requests[0][0] for time, _ in registrar.requests] == [0, 7]


async def test_a_name_without_an_address_is_lost_and_tried_again() -> None:
    """The look-up is part of every attempt."""
    registrar = Registrar()
    async with registering(registrar, replace(DESK, registrar="nowhere.example")) as made:
        state = made.states["desk"]
        assert state.status == "lost" and "has no address" in state.reason and not registrar.requests


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([("Contact", "<sip:1001@198.51.100.7:5060>;expires=60")], 60),
        ([("Contact", "<sip:1001@198.51.100.7:5060>"), ("Expires", "90")], 90),
        ([("Expires", "90"), ("Contact", "<sip:1001@198.51.100.7:5060>;q=1;expires=40")], 40),
        ([("Contact", "<sip:9@192.0.2.9>;expires=5, <sip:1001@198.51.100.7:5060;x=y>;expires=80")], 80),
        ([("Contact", "<sip:1001@203.0.113.1:40000>;expires=45"), ("Contact", "<sip:a@b>;expires=2")], 45),
        ([], 300),
        ([("Contact", "<sip:1001@198.51.100.7:5060>;expires=7200")], 300),
        ([("Contact", '"a;expires=1" <sip:1001@198.51.100.7:5060>;expires=70')], 70),
    ],
)
async def test_the_refresh_goes_by_what_was_granted(headers: list[tuple[str, str]], granted: int) -> None:
    """Our own Contact's `expires` wins over the header, and both over what was asked for."""
    registrar = Registrar(says(200, *headers))
    async with registering(registrar) as made:
        assert made.states["desk"].until == registrar.time + granted
        await registrar.pass_time(granted)
        wait = registrar.requests[1][0] - registrar.requests[0][0]
        assert granted * 0.4 < wait <= granted * 0.9


@given(
    code=st.sampled_from([200, 302, 401, 407, 423, 503]),
    names=st.lists(
        st.sampled_from(["Contact", "Expires", "Min-Expires", "Retry-After", "WWW-Authenticate"]), max_size=4
    ),
    value=st.one_of(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",))),
        st.text('<>",;=expires 0123456789Digestnonce*'),
    ),
)
def test_no_answer_breaks_it(code: int, names: list[str], value: str) -> None:
    """Whatever a registrar writes into its headers, the next attempt has its time."""
    extension = Extension(DESK)
    request = extension.request("<sip:1001@198.51.100.7:5060>")
    request.headers.add("Via", "SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKx;rport=5060")
    outcome = extension.answered(respond(request, code, headers=[(name, value) for name in names]))
    assert outcome is None or 1 <= outcome.wait <= 3600
    extension.request("<sip:1001@198.51.100.7:5060>").encode()


async def test_nothing_granted_is_no_registration() -> None:
    """A 200 that keeps nothing is told as lost."""
    registrar = Registrar(says(200, ("Expires", "0")))
    async with registering(registrar) as made:
        assert made.states["desk"].status == "lost"


async def test_the_stop_takes_everything_back() -> None:
    """Expires 0 with a fresh proof of the password; the state file is gone. Stopping twice is safe."""
    registrar = Registrar(password="right-password")
    async with registering(registrar) as made:
        states = registered.load(SERVICE)
        assert states and (states[0].name, states[0].status) == ("desk", "registered")
        await made.stop()
        assert [request.headers["Expires"] for request in sent(registrar)] == ["300", "300", "0", "0"]
        assert registered.load(SERVICE) is None


async def test_a_silent_registrar_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The farewell is bounded."""
    monkeypatch.setattr("sip.service.registrations.registrations.FAREWELL", 0.05)
    registrar = Registrar()
    async with registering(registrar) as made:
        registrar.silent = True
        async with asyncio.timeout(1):
            await made.stop()
    assert sent(registrar)[-1].headers["Expires"] == "0"


async def test_a_broken_connection_is_registered_anew() -> None:
    """Over TCP calls come along the connection: when it breaks, the extension soon registers again."""
    registrar = Registrar()
    async with registering(registrar, replace(DESK, transport="tcp")):
        await registrar.pass_time(130)
        assert (registrar.pings, len(registrar.requests)) == (2, 1)
        registrar.connected = False
        await registrar.pass_time(60)
        assert len(registrar.requests) == 2


async def test_a_nat_is_seen_and_kept_open(caplog: pytest.LogCaptureFixture) -> None:
    """A registrar that saw another address than the Contact's: the mapping is kept, the mend is told."""

    def seen(request: Request) -> Response:
        request.headers.set("Via", "SIP/2.0/UDP 198.51.100.7:5060;branch=z;rport=40000;received=203.0.113.1")
        return registrar.accept(request)

    registrar = Registrar(seen)
    async with registering(registrar) as made:
        assert made.states["desk"].behind_nat
        await registrar.pass_time(100)
        assert registrar.pings == 4
    assert "SIP_ADVERTISE" in caplog.text


def test_the_file_is_checked_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is not set, and TLS, are errors with their places."""
    file = tmp_path / "trunks.yaml"
    file.write_text(
        "registrations:\n"
        '  desk: {registrar: pbx.example, username: "1001", auth_password: "${NOT_SET_HERE}"}\n'
        '  door: {registrar: pbx.example, username: "1002", transport: tls}\n'
    )
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(ConfigurationError) as raised:
        wanted(file)
    assert "NOT_SET_HERE is not set" in str(raised.value) and "TLS is not served" in str(raised.value)
    file.write_text('registrations:\n  desk: {registrar: pbx.example, username: "1001"}\n')
    assert wanted(file) == [Registration("desk", "pbx.example", "1001")]
