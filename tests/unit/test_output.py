"""What commands print: for eyes on a terminal, for programs elsewhere."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sip.cli import output
from sip.errors import ConfigurationError
from sip.model import Media


class Terminal(io.StringIO):
    """A terminal to print on and to answer at."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, answer: str = "") -> Terminal:
    """Standard input, output and error on one terminal, with colour allowed; what is printed there."""
    made = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stdout", made)
    monkeypatch.setattr("sys.stderr", made)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_a_table_is_aligned_and_plain_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns stand under each other, nothing is cut, wide letters count twice, empty cells show a dash."""
    output.table(("name", "numbers", "on"), [("日本", ("+1", "+2"), True), ("a" * 100, (), False)])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "NUMBERS", "ON"]
    assert first == "日本" + " " * 96 + "  +1, +2   yes"
    assert second == "a" * 100 + "  -        no"


def test_no_rows_are_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that reads the table gets nothing."""
    output.table(("name",), [], empty="There are none.")
    assert capsys.readouterr() == ("", "There are none.\n")


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is colour, unless NO_COLOR or a dumb terminal forbids it."""
    on_terminal(monkeypatch)
    assert output.paint("x", "red") == "\x1b[31mx\x1b[0m"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert output.paint("x", "red") == "x"
    assert output.paint("x", "red", io.StringIO()) == "x"


def test_json_knows_our_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Dataclasses, paths and sets have a JSON form; letters stay letters."""
    output.as_json({"media": Media(codecs=("PCMU",)), "path": Path("a"), "names": {"b", "ä"}})
    text = capsys.readouterr().out
    assert "ä" in text
    read = json.loads(text)
    assert read["media"]["codecs"] == ["PCMU"] and read["path"] == "a" and read["names"] == ["b", "ä"]


def test_fields_show_long_values_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A value of several lines stays in its column."""
    output.fields([("name", "a"), ("metadata", "one\ntwo"), ("pin", "")])
    assert capsys.readouterr().out == "name      a\nmetadata  one\n          two\npin       -\n"


@pytest.mark.parametrize(
    ("answer", "wanted"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_questions(answer: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a yes is a yes."""
    terminal = on_terminal(monkeypatch, answer)
    assert output.confirm("Delete it?") is wanted
    assert "Delete it? [y/N]" in terminal.getvalue()


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets an error that names --yes, and --yes goes on."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(ConfigurationError, match="--yes"):
        output.confirm("Delete it?")
    assert output.confirm("Delete it?", yes=True)


def test_progress() -> None:
    """One line that changes and goes away on a terminal; at most ten lines elsewhere."""
    terminal, plain = Terminal(), io.StringIO()
    for stream in (terminal, plain):
        with output.Progress("applying", 100, stream=stream) as progress:
            for index in range(100):
                progress.step(f"trunk {index}")
    assert "\n" not in terminal.getvalue() and terminal.getvalue().endswith("\r\x1b[K")
    lines = plain.getvalue().splitlines()
    assert len(lines) == 11 and lines[-1] == "applying 100/100 trunk 99"
