"""The user's values: what is asked, what is taken when nothing is said, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal, cast

from sip.errors import ConfigurationError
from sip.presets import template
from sip.presets.preset import Form, Mode, Preset, Question

Target = Literal["cloud", "self-hosted", "local"]
"""Where the LiveKit side stands: LiveKit Cloud, a livekit-sip of one's own, or the local stack."""

CLOUD_NETWORKS = ("143.223.88.0/21", "161.115.160.0/19", "153.57.128.0/18")
"""LiveKit Cloud's static addresses (Canada, EU, India, Japan, US; other regions have none).

https://docs.livekit.io/deploy/admin/regions/endpoints, read on 2026-11-21
"""

FIRST = (
    Question("name", "Name of the trunks and the rule", "<<preset>>", default="<<preset>>"),
    Question(
        "direction",
        "Calls in, out, or both",
        "both",
        "choice",
        "both",
        choices=("both", "inbound", "outbound"),
    ),
    Question("agent", "Name of the agent that answers", "phone-agent", default="<<default_agent>>"),
)
LAST = (
    Question(
        "project",
        "SIP host of the LiveKit Cloud project: the part before .sip.livekit.cloud",
        "my-project-1a2b3c4d",
        "project",
        when="target == 'cloud'",
    ),
    Question(
        "region",
        "LiveKit Cloud region that calls are pinned to",
        "eu",
        when="target == 'cloud'",
        optional=True,
    ),
    Question(
        "livekit_host",
        "Public host name or address of your SIP service",
        "198.51.100.10",
        "host",
        when="target == 'self-hosted'",
    ),
    Question(
        "livekit_port",
        "Its port",
        "5060",
        "port",
        default="<<5061 if transport == 'tls' else 5060>>",
        when="target == 'self-hosted'",
    ),
    Question(
        "livekit_networks",
        "Addresses that your SIP service calls from",
        "198.51.100.10",
        "networks",
        default="<<livekit_host>>",
        when="target == 'self-hosted'",
        optional=True,
    ),
    Question(
        "password_env",
        "Environment variable that holds the password",
        "TRUNK_PASSWORD",
        "env",
        default="<<name|env>>_PASSWORD",
        when="mode == 'extension' or auth == 'digest'",
    ),
)

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_FORMS: Mapping[Form, tuple[re.Pattern[str], str]] = {
    "word": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}"), "letters, digits and . _ @ + - only"),
    "text": (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,127}"),
        "letters, digits, blanks and . _ @ + - only",
    ),
    "number": (re.compile(r"\+?[0-9A-Za-z*._-]{1,32}"), "a number or an extension, without blanks"),
    "numbers": (re.compile(r"\+?[0-9A-Za-z*._-]{1,32}"), "numbers or extensions, without blanks"),
    "e164": (re.compile(r"\+[1-9][0-9]{6,14}"), "+ and the number with its country code, as +15105550100"),
    "path": (re.compile(r"/[A-Za-z0-9._/-]*"), "an absolute path of letters, digits and . _ -"),
    "env": (re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "the name of an environment variable"),
}
_LISTS = ("numbers", "e164", "networks")
_SECRET = re.compile(r"(^|_)(password|secret|token|pass)$")


@dataclass(frozen=True)
class Answers:
    """Checked values of all questions, and those that are still missing."""

    values: Mapping[str, object]
    missing: tuple[Question, ...]


def questions(preset: Preset, mode: Mode) -> tuple[Question, ...]:
    """All questions of a preset in the order in which they are answered."""
    own = {question.key for question in preset.questions}
    common = [question for question in (*FIRST, *LAST) if question.key not in own]
    first = [question for question in common if question in FIRST]
    last = [question for question in common if question in LAST]
    return tuple(question for question in (*first, *preset.questions, *last) if mode in question.modes)


def answer(
    preset: Preset,
    given: Mapping[str, Sequence[str]],
    *,
    mode: Mode,
    target: Target,
    agent: str = "phone-agent",
    local_address: str = "",
) -> Answers:
    """Put together what was given and the defaults. Raises `ConfigurationError` with all that is wrong.

    `given`: key → its values. `local_address`: `host:port` of the local stack's SIP service.
    """
    asked = questions(preset, mode)
    values: dict[str, object] = {
        **{question.key: _nothing(question) for question in preset.questions},
        "preset": preset.name,
        "mode": mode,
        "target": target,
        "default_agent": agent,
        "auth": "",
        "transport": "udp",
        "source_ranges": list(preset.source_ranges),
    }
    problems = _unknown(given, asked, preset)
    missing: list[Question] = []
    for question in asked:
        values[question.key] = _nothing(question)
        if question.when and not template.evaluate(question.when, values):
            if question.key in given:
                problems.append(f"{question.key} has no meaning here: it is for {question.when}")
            continue
        try:
            if question.key in given:
                values[question.key] = parse(question, given[question.key])
            elif found := _default(question, values):
                values[question.key] = found
            elif not question.optional and (question.default is None or not (missing or problems)):
                missing.append(question)  # a default may be empty for want of another value, which is named
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError(
            f"the preset {preset.name} cannot be used with these values", "; ".join(problems)
        )
    return Answers(values | _far(values, target, local_address), tuple(missing))


def parse(question: Question, texts: Sequence[str]) -> object:
    """One answer; lists are given with commas or several times. Raises `ValueError` with the mend."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    parts = [part for part in parts if part]
    if question.form not in _LISTS:
        if len(parts) > 1:
            raise ValueError(f"{question.key} is one value, not {len(parts)}")
        if not parts:
            if question.optional:
                return ""
            raise ValueError(f"{question.key} is empty, it should be like {question.example}")
        return _one(question, parts[0])
    if not parts and not question.optional:
        raise ValueError(f"{question.key} is empty, it should be like {question.example}")
    return [_one(question, part) for part in dict.fromkeys(parts)]


def _one(question: Question, text: str) -> str:
    checks: Mapping[str, Callable[[str], str]] = {
        "host": _host,
        "address": _address,
        "port": _port,
        "networks": _network,
        "project": _project,
    }
    try:
        if question.form == "choice":
            if text not in question.choices:
                raise ValueError(f"one of {', '.join(question.choices)}")
            return text
        if question.form in checks:
            return checks[question.form](text)
        pattern, words = _FORMS[question.form]
        if not pattern.fullmatch(text):
            raise ValueError(words)
    except ValueError as error:
        raise ValueError(f"{question.key} is {text!r}, it should be {error}") from None
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("a host name or an IPv4 address, without sip: and port")
    return text


def _address(text: str) -> str:
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host) or (colon and not _is_port(port)):
        raise ValueError("host or host:port, without sip: and parameters")
    return text


def _project(text: str) -> str:
    """The first label of the project's SIP host, also of the whole SIP URI and of an id `p_…`."""
    label = text.removeprefix("sip:").partition(".sip.livekit.cloud")[0].removeprefix("p_")
    if not re.fullmatch(_LABEL, label):
        raise ValueError("the part before .sip.livekit.cloud of the SIP URI in the project's settings")
    return label


def _port(text: str) -> str:
    if not _is_port(text):
        raise ValueError("a port from 1 to 65535")
    return text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65_536


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an IP address or a network such as 198.51.100.0/24, not a name") from None
    raise ValueError(f"a network: did you mean {meant}?")


def _default(question: Question, values: Mapping[str, object]) -> object:
    """The value that is taken when nothing was said; empty when there is none."""
    if question.default is None:
        return ""
    found = template.fill(question.default, values)
    if isinstance(found, list):
        several = [str(each) for each in cast("list[object]", found)]
        return parse(question, several) if several else []
    if question.form == "networks" and not _is_ip(str(found)):
        return []  # a name: nobody knows its addresses; texts say so
    return parse(question, [str(found)]) if found not in ("", None) else ""


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _nothing(question: Question) -> object:
    return [] if question.form in _LISTS else ""


def _unknown(given: Iterable[str], asked: Sequence[Question], preset: Preset) -> list[str]:
    keys = {question.key for question in asked}
    problems: list[str] = []
    for key in given:
        if key in keys:
            continue
        if _SECRET.search(key):
            problems.append(
                f"{key}: a secret is not taken, for it would be written to a file;"
                " give the name of the environment variable that holds it: --set password_env=NAME"
            )
        else:
            problems.append(f"{key} is no value of {preset.name}; these are: {', '.join(sorted(keys))}")
    return problems


def _far(values: Mapping[str, object], target: Target, local_address: str) -> dict[str, object]:
    """The LiveKit side as the far end dials it."""
    tls = values["transport"] == "tls"
    host, port, networks = str(values.get("livekit_host", "")), 5061 if tls else 5060, list[str]()
    if target == "cloud":
        region = f".{values['region']}" if values.get("region") else ""
        host, networks = f"{values.get('project')}{region}.sip.livekit.cloud", list(CLOUD_NETWORKS)
    elif target == "local":
        host, _, text = (local_address or "127.0.0.1:5060").rpartition(":")
        port, networks = int(text), [f"{host}/32"]
    else:
        port = int(str(values.get("livekit_port") or port))
        found = values.get("livekit_networks")
        networks = [str(each) for each in found] if isinstance(found, list) else []
    address = host if port == (5061 if tls else 5060) else f"{host}:{port}"
    suffix = "" if values["transport"] == "udp" else f";transport={values['transport']}"
    secret = values.get("password_env")
    pbx_host, pbx_port = values.get("pbx_host", ""), str(values.get("pbx_port") or "")
    return {
        "pbx_address": values.get("pbx_address")
        or (f"{pbx_host}:{pbx_port}" if pbx_port not in ("", "5061" if tls else "5060") else pbx_host),
        "livekit_host": host,
        "livekit_port": port,
        "livekit_address": address,
        "livekit_uri": f"sip:{address}{suffix}",
        "livekit_networks": networks,
        "password": f"${{{secret}}}" if secret else "",
    }
