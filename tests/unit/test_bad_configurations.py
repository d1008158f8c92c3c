"""Files that `sip plan` must not take: each gets the message that it must get, through the real command.

The first lines of a file are comments `# LINE: MESSAGE`, all that the command says of it; line 0 is the file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.bad_kit import run

FILES = sorted((Path(__file__).parents[1] / "bad_configurations").glob("*.yaml"))


def expected(file: Path) -> list[tuple[int, str]]:
    """What the head of a file demands."""
    found: list[tuple[int, str]] = []
    for line in file.read_text().splitlines():
        match = re.fullmatch(r"# (\d+): (.*)", line)
        if not match:
            break
        found.append((int(match[1]), match[2]))
    return found


def test_there_are_enough() -> None:
    """At least forty kinds of mistakes are kept here."""
    assert len(FILES) >= 40


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_gets_its_message(file: Path) -> None:
    """Line, field, reason and mend of all that is wrong, and nothing else; never a success."""
    wanted = expected(file)
    code, found, text = run(file)
    assert code in (1, 2), text
    assert wanted, "the file says what it must get"
    assert sorted(found) == sorted(wanted)
    for line, message in found:
        field, reason = message.split(": ", 1)
        assert line or field == "file"
        assert re.fullmatch(r"[\w .+\[\]-]+", field), "the message begins with a field"
        assert re.search(r"[.?;]? ?[A-Z`][^.]+", reason), "and ends with a mend"
    as_json = run(file, "--json")
    assert as_json[0] == code
    assert "Traceback" not in as_json[2]


def test_json_holds_the_faults() -> None:
    """Machines get the place and the parts of each message."""
    file = next(file for file in FILES if file.stem == "misspelt-field")
    text = run(file, "--json")[2]
    body = json.JSONDecoder().raw_decode(text)[0]
    [fault] = body["faults"]
    assert (fault["line"], fault["field"]) == (5, "inbound.carrier.alowed_addresses")
    assert fault["mend"] == "Did you mean allowed_addresses?"


UNREADABLE: dict[str, tuple[bytes | None, int, str]] = {
    "missing": (None, 0, "file: there is no such file"),
    "empty": (b"", 0, "file: it holds nothing"),
    "blank": (b"\n\n", 0, "file: it holds nothing"),
    "null": (b"null\n", 1, "file: it holds nothing"),
    "binary": (b"\x7fELF\x00\x01", 1, "file: it is no text (it holds NUL bytes)"),
    "latin-1": (b"inbound:\n  caf\xe9: {}\n", 2, "file: byte 0xe9 is not UTF-8"),
    "utf-16": ("inbound: {}".encode("utf-16"), 1, "file: it is no text (it holds NUL bytes)"),
    "deep": (b"inbound: " + b"[" * 100_000, 1, "file: values are nested more than 100 levels deep"),
    "bomb": (
        b"x-a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + b"".join(
            f"x-{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n".encode()
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        1,
        "x-",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_configuration_at_all_is_told(case: str, tmp_path: Path) -> None:
    """Whatever stands in the place of the file: one message with the line, the reason and a mend."""
    content, line, message = UNREADABLE[case]
    file = tmp_path / "trunks.yaml"
    if content is not None:
        file.write_bytes(content)
    code, found, text = run(file)
    assert code == 2, text
    assert len(found) == 1, text
    assert found[0][1].startswith(message)
    assert re.search(r"\. [A-Z]", found[0][1])
    if case != "bomb":
        assert found[0][0] == line


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """The directory's name instead of the file's."""
    code, [(_, message)], _ = run(tmp_path)
    assert code == 2
    assert message == "file: it is a directory. Name the file in it"


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission; the system's refusal is acted, since root may read everything."""
    file = tmp_path / "trunks.yaml"

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    code, [(_, message)], _ = run(file)
    assert code == 2
    assert message.startswith("file: you may not read it. Run chmod u+r")
