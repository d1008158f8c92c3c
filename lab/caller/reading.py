"""YAML → `Script`. Every problem of a script in one error, each with file, line and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import yaml

from sip.errors import ConfigurationError

from .script import (
    STEPS,
    Echo,
    Expect,
    ExpectHangUp,
    HangUp,
    Interrupt,
    Noise,
    Pause,
    Play,
    Press,
    Say,
    Script,
    Step,
    Utterance,
    WaitForSilence,
    WaitForSpeech,
)

KEYS = "0123456789*#ABCD"
NOISES = ("white", "pink")
_MEND = f"Steps are: {', '.join(STEPS)}; lab/scripts/demo.yaml shows them."


def load_script(path: Path) -> Script:
    """The script in a file; WAV files are found beside it. Raises `ConfigurationError`."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"cannot read the script {path}", error.strerror or str(error)) from None
    return parse_script(text, str(path), path.parent)


def parse_script(text: str, source: str, folder: Path) -> Script:
    """The script in a text; `source` names it in errors, `folder` holds its WAV files."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigurationError(f"{source}, line {line}", f"no YAML: {error.problem}") from None
    reader = _Reader(source, folder)
    script = reader.script(root)
    if reader.problems:
        raise ConfigurationError("the caller's script cannot be used", "; ".join(reader.problems), _MEND)
    return script


class _Reader:
    """Walks the nodes, so that every value knows its line. Problems are collected, not raised."""

    def __init__(self, source: str, folder: Path) -> None:
        self._source, self._folder = source, folder
        self.problems: list[str] = []

    def script(self, root: yaml.Node | None) -> Script:
        if isinstance(root, yaml.SequenceNode):
            return Script(self._source, self._steps(root))
        if not isinstance(root, yaml.MappingNode):
            self.problems.append(f"{self._source}: a list of steps is wanted")
            return Script(self._source, ())
        fields = self._fields(root, ("about", "steps"), "the script")
        about = self._text(fields["about"], "about") if "about" in fields else ""
        steps = fields.get("steps")
        if not isinstance(steps, yaml.SequenceNode):
            self._problem(steps or root, "steps", "a list of steps is wanted")
            return Script(self._source, (), about)
        return Script(self._source, self._steps(steps), about)

    def _steps(self, node: yaml.SequenceNode) -> tuple[Step, ...]:
        if not node.value:
            self._problem(node, "steps", "no step at all")
        found = [self._step(cast(yaml.Node, item)) for item in node.value]
        return tuple(step for step in found if step is not None)

    def _step(self, node: yaml.Node) -> Step | None:
        """`- hang_up`, `- say: text` or `- expect: {any: […], within: 5}`."""
        value: yaml.Node | None
        if isinstance(node, yaml.ScalarNode):
            word, value = str(node.value), None
        elif isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            key, value = node.value[0]
            word = str(key.value)
        else:
            self._problem(node, "steps", "a step is one word, with its values")
            return None
        if word not in STEPS:
            self._problem(node, word, "there is no such step")
            return None
        if isinstance(value, yaml.ScalarNode) and value.tag.endswith(":null"):
            value = None
        before = len(self.problems)
        make = cast("Callable[[int, yaml.Node | None, yaml.Node], Step]", getattr(self, f"_{word}"))
        step = make(node.start_mark.line + 1, value, node)
        return step if len(self.problems) == before else None

    # One method a step. `value` is what stands after the colon, `node` the whole step.

    def _say(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        if not isinstance(value, yaml.MappingNode):
            return Say(line, self._utterance(value, node, "say"))
        fields = self._fields(value, ("text", "backchannel"), "say")
        return Say(
            line,
            self._utterance(fields.get("text"), node, "say.text"),
            self._flag(fields, "backchannel", "say"),
        )

    def _play(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "file", ("file", "aside"), "play")
        name = self._text(fields["file"], "play.file") if "file" in fields else ""
        file = self._folder / name
        if not name:
            self._problem(node, "play.file", "a WAV file is wanted")
        elif not file.is_file():
            self._problem(node, "play.file", f"there is no file {file}")
        return Play(line, file, self._flag(fields, "aside", "play"))

    def _wait_for_speech(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "within", ("within",), "wait_for_speech")
        return WaitForSpeech(line, self._seconds(fields, "within", "wait_for_speech", WaitForSpeech.within))

    def _wait_for_silence(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        name = "wait_for_silence"
        fields = self._short(value, "ms", ("ms", "within"), name)
        silence = self._whole(fields, "ms", name, WaitForSilence.silence_ms, 20, 60_000)
        return WaitForSilence(line, silence, self._seconds(fields, "within", name, WaitForSilence.within))

    def _interrupt(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        name = "interrupt"
        fields = self._short(value, "say", ("say", "after", "within", "backchannel"), name)
        return Interrupt(
            line,
            self._utterance(fields.get("say"), node, "interrupt.say"),
            self._whole(fields, "after", name, Interrupt.after_ms, 0, 60_000),
            self._seconds(fields, "within", name, Interrupt.within),
            self._flag(fields, "backchannel", name),
        )

    def _press(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "digits", ("digits",), "press")
        digits = self._text(fields["digits"], "press.digits").upper() if "digits" in fields else ""
        if not digits or any(digit not in KEYS for digit in digits):
            self._problem(node, "press", f"keys among {KEYS} are wanted")
        return Press(line, digits)

    def _expect(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        if isinstance(value, yaml.MappingNode):
            fields = self._fields(value, ("any", "all", "within"), "expect")
        else:
            fields = {} if value is None else {"all": value}
        any_of, all_of = (self._words(fields.get(name), f"expect.{name}") for name in ("any", "all"))
        if not any_of and not all_of:
            self._problem(node, "expect", "words are wanted, under `any` or `all`")
        return Expect(line, any_of, all_of, self._seconds(fields, "within", "expect", Expect.within))

    def _echo(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "seconds", ("down", "late", "seconds"), "echo")
        return Echo(
            line,
            self._number(fields, "down", "echo", Echo.down_db, 0, 60),
            self._whole(fields, "late", "echo", Echo.late_ms, 100, 2_000),
            self._seconds(fields, "seconds", "echo", 0) or None,
        )

    def _noise(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "seconds", ("level", "kind", "seconds"), "noise")
        kind = self._text(fields["kind"], "noise.kind") if "kind" in fields else Noise.kind
        if kind not in NOISES:
            self._problem(fields["kind"], "noise.kind", f"one of {', '.join(NOISES)} is wanted")
        return Noise(
            line,
            self._number(fields, "level", "noise", Noise.level_db, -90, 0),
            kind,
            self._seconds(fields, "seconds", "noise", 0) or None,
        )

    def _pause(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        fields = self._short(value, "ms", ("ms",), "pause")
        if "ms" not in fields:
            self._problem(node, "pause", "milliseconds are wanted")
        return Pause(line, self._whole(fields, "ms", "pause", 0, 1, 600_000))

    def _hang_up(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        if value is not None:
            self._problem(node, "hang_up", "it takes no value")
        return HangUp(line)

    def _expect_hang_up(self, line: int, value: yaml.Node | None, node: yaml.Node) -> Step:
        name = "expect_hang_up"
        fields = self._short(value, "within", ("within", "by", "code"), name)
        by = self._text(fields["by"], f"{name}.by") if "by" in fields else ""
        if by not in ("", "agent", "caller"):
            self._problem(fields["by"], f"{name}.by", "agent or caller is wanted")
        return ExpectHangUp(
            line,
            self._seconds(fields, "within", name, ExpectHangUp.within),
            by,
            self._whole(fields, "code", name, 0, 200, 699),
        )

    # Values.

    def _fields(self, node: yaml.MappingNode, known: tuple[str, ...], name: str) -> dict[str, yaml.Node]:
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                self._problem(key, str(key.value), f"{name} knows {', '.join(known)}")
            else:
                fields[str(key.value)] = value
        return fields

    def _short(
        self, value: yaml.Node | None, short: str, known: tuple[str, ...], name: str
    ) -> dict[str, yaml.Node]:
        """The fields of a step, where a bare value stands for the field `short`."""
        if value is None:
            return {}
        if isinstance(value, yaml.MappingNode):
            return self._fields(value, known, name)
        return {short: value}

    def _text(self, node: yaml.Node, field: str) -> str:
        if isinstance(node, yaml.ScalarNode) and str(node.value).strip():
            return str(node.value).strip()
        self._problem(node, field, "a text is wanted")
        return ""

    def _words(self, node: yaml.Node | None, field: str) -> tuple[str, ...]:
        if node is None:
            return ()
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self._text(item, field) for item in items)

    def _utterance(self, value: yaml.Node | None, node: yaml.Node, field: str) -> Utterance:
        """A text, or a list of texts and pauses."""
        if value is None:
            self._problem(node, field, "a text is wanted")
            return ()
        if not isinstance(value, yaml.SequenceNode):
            return (self._text(value, field),)
        parts: list[str | int] = []
        for item in cast(list[yaml.Node], value.value):
            if isinstance(item, yaml.ScalarNode) and item.tag.endswith(":int"):
                parts.append(self._whole({field: item}, field, "", 0, 1, 10_000))
            else:
                parts.append(self._text(item, field))
        if not any(isinstance(part, str) for part in parts):
            self._problem(node, field, "a text is wanted, not only pauses")
        return tuple(parts)

    def _number(
        self, fields: dict[str, yaml.Node], field: str, name: str, default: float, low: float, high: float
    ) -> float:
        node = fields.get(field)
        if node is None:
            return default
        full = f"{name}.{field}" if name else field
        try:
            number = float(node.value)
        except (TypeError, ValueError):
            self._problem(node, full, "a number is wanted")
            return default
        if not low <= number <= high:
            self._problem(node, full, f"{low:g} to {high:g} is possible, not {number:g}")
        return number

    def _whole(
        self, fields: dict[str, yaml.Node], field: str, name: str, default: int, low: int, high: int
    ) -> int:
        return round(self._number(fields, field, name, default, low, high))

    def _seconds(self, fields: dict[str, yaml.Node], field: str, name: str, default: float) -> float:
        return self._number(fields, field, name, default, 0.1, 600)

    def _flag(self, fields: dict[str, yaml.Node], field: str, name: str) -> bool:
        node = fields.get(field)
        if node is None:
            return False
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":bool"):
            return str(node.value).lower() in ("true", "yes", "on")
        self._problem(node, f"{name}.{field}", "true or false is wanted")
        return False

    def _problem(self, node: yaml.Node, field: str, what: str) -> None:
        self.problems.append(f"{self._source}, line {node.start_mark.line + 1}, {field}: {what}")
