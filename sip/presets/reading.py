"""Data files → presets. Everything that is wrong with a file stands in one error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, cast, get_args

import yaml
from jinja2 import TemplateSyntaxError

from sip.errors import ConfigurationError
from sip.presets import template
from sip.presets.preset import (
    FACTS,
    Fact,
    Form,
    Mode,
    Preset,
    PresetKind,
    Proof,
    ProofState,
    Question,
    Refusal,
    Source,
    Step,
)

SECTIONS = ("inbound", "outbound", "rules", "registrations")
_PACKAGE = "sip.presets"
_SOURCES = "sources"
_NOTHING: Mapping[type[Any], Any] = {
    Question: Question("", "", ""),
    Step: Step("", ""),
    Refusal: Refusal("", ""),
    Proof: Proof("not run"),
}
"""What stands for a part that could not be made, until the error with all problems is raised."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def names() -> tuple[str, ...]:
    """All presets: carriers first, then PBXs, each in the order of the alphabet."""
    found = [load(name) for name in _stems() if name != _SOURCES]
    return tuple(preset.name for preset in sorted(found, key=lambda each: (each.kind, each.name)))


@cache
def load(name: str) -> Preset:
    """A preset by its name or a part of it: `VoIP.ms`, `cucm` and `Avaya` will do.

    Raises `ConfigurationError` when there is none, or its file is not right.
    """
    stem = _found(name)
    return parse(stem, (files(_PACKAGE) / f"{stem}.yaml").read_text(encoding="utf-8"))


def _found(name: str) -> str:
    stems = _stems() - {_SOURCES}
    if name in stems:
        return name
    wanted = re.sub(r"[^a-z0-9]", "", name.lower())
    plain = {stem.replace("-", ""): stem for stem in stems}
    near = [stem for text, stem in plain.items() if wanted and wanted in text]
    if wanted in plain or len(near) == 1:
        return plain.get(wanted, near[0])
    raise ConfigurationError(
        f"there is no preset {name!r}", "", f"These are there: {', '.join(sorted(stems))}"
    )


def parse(name: str, text: str) -> Preset:
    """A preset from its file."""
    data = cast("dict[str, Any]", yaml.load(text, _LOADER))
    problems: list[str] = []
    preset = _preset(name, data, problems)
    if not problems:
        problems += _templates(preset)
    if problems:
        raise ConfigurationError(f"the preset {name} is not right", "; ".join(problems))
    return preset


@cache
def sources() -> Mapping[str, Source]:
    """All sources, by their tags."""
    text = (files(_PACKAGE) / f"{_SOURCES}.yaml").read_text(encoding="utf-8")
    return {tag: Source(tag=tag, **values) for tag, values in yaml.load(text, _LOADER).items()}


@cache
def _stems() -> frozenset[str]:
    return frozenset(
        item.name.removesuffix(".yaml") for item in files(_PACKAGE).iterdir() if item.name.endswith(".yaml")
    )


def _preset(name: str, data: dict[str, Any], problems: list[str]) -> Preset:
    known = {"title", "kind", "about", "modes", "facts", "quirks", "ask", "entry", "steps", "proof", "refuse"}
    problems += [f"{key} means nothing" for key in sorted(set(data) - known)]
    problems += [f"{key} is missing" for key in sorted(known - {"quirks", "ask", "refuse"} - set(data))]
    if problems:
        return Preset(name, "", "carrier", "", (), {})
    modes = tuple(data["modes"])
    problems += [f"{mode} is no mode" for mode in modes if mode not in get_args(Mode)]
    if data["kind"] not in get_args(PresetKind):
        problems.append(f"{data['kind']} is no kind")
    facts = {key: _fact(f"facts.{key}", value, problems) for key, value in data["facts"].items()}
    problems += [f"facts.{key} is missing" for key in FACTS if key not in facts]
    problems += [f"facts.{key} means nothing" for key in facts if key not in FACTS]
    for what in ("entry", "proof"):
        problems += [f"{what}.{mode} is missing" for mode in modes if mode not in data[what]]
    for mode, sections in data["entry"].items():
        problems += [f"entry.{mode}.{key} is no section" for key in sections if key not in SECTIONS]
    return Preset(
        name=name,
        title=data["title"],
        kind=data["kind"],
        about=data["about"],
        modes=modes,
        facts={key: facts[key] for key in FACTS if key in facts},
        quirks=tuple(
            _fact(f"quirks[{index}]", each, problems) for index, each in enumerate(data.get("quirks", []))
        ),
        questions=tuple(_made(Question, "ask", each, problems) for each in data.get("ask", [])),
        entries=data["entry"],
        steps=tuple(_made(Step, "steps", each, problems) for each in data["steps"]),
        refusals=tuple(_made(Refusal, "refuse", each, problems) for each in data.get("refuse", [])),
        proofs={mode: _made(Proof, f"proof.{mode}", each, problems) for mode, each in data["proof"].items()},
    )


def _fact(where: str, data: dict[str, Any], problems: list[str]) -> Fact:
    known = {"value", "verified", "source", "read_on", "note"}
    problems += [f"{where}.{key} means nothing" for key in sorted(set(data) - known)]
    tags = data.get("source", [])
    tags = [tags] if isinstance(tags, str) else tags
    problems += [f"{where}: there is no source {tag}" for tag in tags if tag not in sources()]
    found = tuple(sources()[tag] for tag in tags if tag in sources())
    verified = data.get("verified")
    read_on = data.get("read_on")
    if "value" not in data:
        problems.append(f"{where} has no value")
    if not isinstance(verified, bool):
        problems.append(f"{where} does not say whether it is verified")
    if verified and not any(not source.third_party and source.url for source in found):
        problems.append(f"{where} is verified by nothing but third parties or general knowledge")
    if found and not isinstance(read_on, date):
        problems.append(f"{where} does not say when it was read")
    if data.get("value") is None and verified:
        problems.append(f"{where} has no value that could be verified")
    value = data.get("value")
    if isinstance(value, list):
        value = tuple(str(each) for each in cast("list[object]", value))
    return Fact(value, bool(verified), found, read_on, data.get("note", ""))


def _made(kind: type[Any], where: str, data: dict[str, Any], problems: list[str]) -> Any:
    known = {each.name for each in fields(kind)}
    problems += [f"{where}: {key} means nothing" for key in sorted(set(data) - known)]
    values: dict[str, Any] = {
        key: tuple(cast("list[object]", value)) if isinstance(value, list) else value
        for key, value in data.items()
        if key in known
    }
    if kind is Question and values.get("form", "word") not in get_args(Form):
        problems.append(f"{where}: {values['form']} is no form")
    if kind is Proof and values.get("state") not in get_args(ProofState):
        problems.append(f"{where}: {values.get('state')} is no state of a proof")
    try:
        return kind(**values)
    except TypeError as error:
        problems.append(f"{where}: {error}")
        return _NOTHING[kind]


def _templates(preset: Preset) -> list[str]:
    """What would go wrong only when the preset is used."""
    problems: list[str] = []
    for what, text in [
        *((f"steps: {step.title}", step.text) for step in preset.steps),
        *((f"ask: {question.key}", question.default or "") for question in preset.questions),
    ]:
        try:
            template.names(text)
        except TemplateSyntaxError as error:
            problems.append(f"{what}: line {error.lineno}: {error.message}")
    return problems
