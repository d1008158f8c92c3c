"""A preset with the user's values: the entry of `trunks.yaml` and the steps on the other side. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from sip.errors import ConfigurationError
from sip.presets import template
from sip.presets.preset import Mode, Preset, Proof, Step
from sip.presets.questions import Answers, Target, answer

RULE = {"kind": "individual", "room": "call-", "trunks": ["<<name>>"], "agent": "<<agent>>"}
"""Every call gets a room of its own, and the agent is called into it by its name."""
_WAYS = {"inbound": "outbound", "rules": "outbound", "outbound": "inbound"}
"""Section → the direction that does without it."""

_REGISTERS: dict[Target, str] = {
    "local": "the SIP service registers the extension: sip stack up --registrations trunks.yaml",
    "self-hosted": "livekit-sip registers nowhere: put `sip serve --registrations trunks.yaml` in its place,"
    " or let a PBX in between register, and use its trunk",
    "cloud": "LiveKit Cloud registers nowhere: use `sip serve --registrations trunks.yaml` with a"
    " livekit-server of your own, or let a PBX in between register, and use its trunk",
}
"""Who registers an extension; LiveKit's API knows no registrations."""


@dataclass(frozen=True)
class FilledStep:
    """A step with the user's values in it."""

    title: str
    text: str
    file: str
    path: str
    syntax: str
    verified: bool


@dataclass(frozen=True)
class Use:
    """What `sip preset use` writes and prints."""

    preset: Preset
    mode: Mode
    target: Target
    values: Mapping[str, object]
    entry: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """Section of `trunks.yaml` → name → fields."""
    steps: tuple[FilledStep, ...]
    notes: tuple[str, ...]
    """What the user should know before he relies on it."""

    @property
    def proof(self) -> Proof:
        """What was shown of the far side in this mode."""
        return self.preset.proofs[self.mode]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Environment variables that the entry refers to."""
        name = self.values.get("password_env")
        return (str(name),) if name else ()

    def text(self, section: str) -> str:
        """The item of one section as YAML, without indentation, with comments that say where it is from."""
        (name, fields), *_ = self.entry[section].items()
        body = yaml.dump({name: dict(fields)}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        facts = f"# {self.preset.title}: `sip preset show {self.preset.name}` has the facts and their sources"
        lines = [] if section == "rules" else [facts]
        for line in body.splitlines():
            if line.startswith("  allowed_addresses:") and (comment := self._ranges(fields)):
                lines.append(f"  # {comment}")
            lines.append(line)
        return "\n".join(lines) + "\n"

    def document(self) -> str:
        """The whole entry as a `trunks.yaml` of its own."""
        sections: list[str] = []
        for section in self.entry:
            body = "".join(f"  {line}\n" for line in self.text(section).splitlines())
            sections.append(f"{section}:\n{body}")
        return "\n".join(sections)

    def _ranges(self, fields: Mapping[str, Any]) -> str:
        fact = self.preset.facts["source_ranges"]
        if not self.preset.source_ranges or tuple(fields["allowed_addresses"]) != self.preset.source_ranges:
            return ""
        pages = ", ".join(source.url for source in fact.sources if source.url)
        mark = "" if fact.verified else "unverified: "
        return f"{mark}addresses that it calls from, read on {fact.read_on}: {pages}"


def check_mode(preset: Preset, mode: str) -> Mode:
    """The mode that was named, or the preset's first one. Raises `ConfigurationError` for one it has not."""
    known: dict[str, Mode] = {each: each for each in preset.modes}
    if mode and mode not in known:
        raise ConfigurationError(
            f"{preset.title} cannot be used in the mode {mode!r}", "", f"It knows {', '.join(known)}"
        )
    return known[mode] if mode else preset.modes[0]


def use(
    preset: Preset,
    given: Mapping[str, Sequence[str]],
    *,
    mode: Mode | None = None,
    target: Target = "cloud",
    agent: str = "phone-agent",
    local_address: str = "",
) -> Use:
    """Fill in a preset. Raises `ConfigurationError` naming all values that are missing, with an example."""
    mode = check_mode(preset, mode or "")
    answers = answer(preset, given, mode=mode, target=target, agent=agent, local_address=local_address)
    if answers.missing:
        raise _missing(preset, answers, mode, target)
    values = answers.values
    refused = [each.why for each in preset.refusals if template.evaluate(each.when, values)]
    if refused:
        raise ConfigurationError(f"{preset.title} cannot work with these values", "; ".join(refused))
    if target == "local" and values["transport"] == "tls":
        raise ConfigurationError(
            "the local stack speaks no TLS", "", "Use --set transport=tcp, or another --target"
        )
    return Use(preset, mode, target, values, _entry(preset, mode, values), _steps(preset, mode, values),
               tuple(_notes(preset, mode, target, values)))  # fmt: skip


def _entry(preset: Preset, mode: Mode, values: Mapping[str, object]) -> dict[str, dict[str, dict[str, Any]]]:
    wanted: dict[str, Mapping[str, Any]] = dict(preset.entries[mode])
    if "inbound" in wanted:
        wanted["rules"] = RULE
    ordered = [key for key in ("inbound", "outbound", "rules", "registrations") if key in wanted]
    return {
        section: {str(values["name"]): cast("dict[str, Any]", template.fill(wanted[section], values))}
        for section in ordered
        if values["direction"] != _WAYS.get(section)
    }


def _steps(preset: Preset, mode: Mode, values: Mapping[str, object]) -> tuple[FilledStep, ...]:
    return tuple(
        FilledStep(
            step.title,
            template.render(step.text, values, xml=step.syntax == "xml").rstrip() + "\n",
            step.file,
            template.render(step.path, values),
            step.syntax,
            step.verified,
        )
        for step in preset.steps
        if mode in step.modes and (not step.when or template.evaluate(step.when, values))
    )


def _notes(preset: Preset, mode: Mode, target: Target, values: Mapping[str, object]) -> list[str]:
    notes: list[str] = []
    proof = preset.proofs[mode]
    if proof.state == "not run":
        notes.append(f"not run: no real {preset.title} has carried a call with these settings here")
    elif proof.state == "checked":
        notes.append(f"checked with {proof.peer}, not run: {proof.what}")
    unverified = [step.title for step in _wanted(preset, mode, values) if not step.verified]
    if unverified:
        notes.append(f"unverified, from general knowledge: {'; '.join(unverified)}")
    ranges = preset.facts["source_ranges"]
    if values["direction"] != "outbound" and preset.source_ranges and not ranges.verified:
        notes.append(f"unverified: the addresses that {preset.title} calls from")
    if mode == "extension":
        notes.append(_REGISTERS[target])
        if values["transport"] == "tls":
            notes.append("`sip serve` has no TLS: use --set transport=tcp, or let a PBX in between register")
    if target == "local" and preset.kind == "carrier":
        notes.append("the local stack answers on this machine only: no carrier reaches it")
    if target == "self-hosted" and not values["livekit_networks"]:
        notes.append("give --set livekit_networks=ADDRESS, for the far end must know where calls come from")
    return notes


def _wanted(preset: Preset, mode: Mode, values: Mapping[str, object]) -> list[Step]:
    return [
        step
        for step in preset.steps
        if mode in step.modes and (not step.when or template.evaluate(step.when, values))
    ]


def _missing(preset: Preset, answers: Answers, mode: Mode, target: Target) -> ConfigurationError:
    sets = " ".join(f"--set {question.key}={question.example}" for question in answers.missing)
    extra = f" --mode {mode}" if mode != preset.modes[0] else ""
    listed = ", ".join(f"{question.key} ({question.ask})" for question in answers.missing)
    return ConfigurationError(
        f"{preset.title} needs more values",
        f"missing: {listed}",
        f"For example: sip preset use {preset.name}{extra} --target {target} {sets}",
    )


class _Dumper(yaml.SafeDumper):
    """Lists in one line, all else one below the other."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _one_line(dumper: yaml.SafeDumper, value: list[object]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


_Dumper.add_representer(list, _one_line)
