"""Help of every command: it is there, it has an example that works, and it costs nothing heavy."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from sip.cli import build

ROOT: Any = get_command(build())
HEAVY = ("livekit", "yaml", "rich", "numpy", "aiohttp", "google.protobuf", "lab.stack")


def leaves(command: Any = ROOT, path: tuple[str, ...] = ("sip",)) -> Iterator[tuple[str, Any]]:
    """Every command that does something and is shown, with its full name."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield " ".join(path), command
    for name, each in inner.items():
        if not each.hidden:  # another name of a command that is shown
            yield from leaves(each, (*path, name))


LEAVES = dict(leaves())


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` and `-h` begin with a sentence, describe every option, and show an example."""
    texts: list[str] = []
    for option in ("--help", "-h"):
        ROOT.main([*name.split()[1:], option], prog_name="sip", standalone_mode=False)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].startswith(f"Usage: {name} ")
    assert LEAVES[name].help.strip()[0].isupper()
    for option in LEAVES[name].params:
        assert getattr(option, "help", ""), f"{name}: {option.name} is not described"
    assert re.search(r"^  Example", texts[0], re.MULTILINE), f"{name} has no example"


@pytest.mark.parametrize("name", LEAVES)
def test_examples_are_commands_that_exist(name: str) -> None:
    """Each example in a help text begins with that command, and its options are options of it."""
    text = f"{LEAVES[name].help}\n{LEAVES[name].epilog or ''}".partition("Example:")[2]
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    assert lines
    known = {
        spelling for option in LEAVES[name].params for spelling in (*option.opts, *option.secondary_opts)
    }
    for line in lines:
        assert re.search(rf"\b{re.escape(name)}\b", line), f"{line!r} is not an example of {name}"
        for word in shlex.split(re.split(r"\s[|>]+\s", line)[0]):
            option = word.partition("=")[0]
            assert not re.match(r"--?[a-z]", option) or option in known | {"-h", "--help"}, (
                f"{line!r}: {option}"
            )


def test_help_imports_nothing_heavy() -> None:
    """`sip --help` needs none of the packages that take long to load."""
    code = (
        "import sys\nfrom sip.cli import main\nsys.argv = ['sip', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "Dispatch rules" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["rule", "list", "--url", "nonsense"], 2, "wss://"),
        (["rule", "list", "--stack", "nowhere"], 1, "sip stack up"),
        (
            ["rule", "list", "--url", "ws://127.0.0.1:1", "--api-key", "k", "--api-secret", "s"],
            1,
            "Connection refused",
        ),
        (["rule", "lst"], 2, "list"),
        (["trunk", "inbound", "create", "--include-headers", "most"], 2, "none"),
        (["trunk", "inbound", "update", "x"], 2, "nothing to change"),
    ],
)
def test_exit_codes_and_one_message(words: list[str], code: int, text: str) -> None:
    """A failure ends with 1, wrong use with 2; standard error says why, and there is no traceback."""
    settings = {"LIVEKIT_URL": "ws://127.0.0.1:1", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}
    done = subprocess.run(
        [sys.executable, "-m", "sip.cli", *words], capture_output=True, text=True, env=settings, check=False
    )
    assert done.returncode == code and done.stdout == ""
    assert text in done.stderr and "Traceback" not in done.stderr and "Warning" not in done.stderr
