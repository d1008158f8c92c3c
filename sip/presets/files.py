"""Files that a preset leaves: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sip.errors import ConfigurationError


def replace(path: Path, text: str) -> None:
    """Give a file another text: a reader sees the old or the new one. Mode and links stay."""
    real = path.resolve()
    draft = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        if real.exists():
            draft.chmod(real.stat().st_mode & 0o777)
        draft.replace(real)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} cannot be written", str(error)) from error


def write_new(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files into a folder; those that are there already with the same text are left alone.

    Raises `ConfigurationError`, before anything is written, when one is there with another text.
    """
    wanted = {folder / name: text for name, text in texts.items()}
    try:
        taken = [path for path, text in wanted.items() if path.exists() and path.read_text() != text]
        if taken:
            raise ConfigurationError(
                f"{' and '.join(map(str, taken))} would be overwritten",
                "",
                "Move it away, or name another folder",
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            if not path.exists():
                path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder} cannot be written", str(error)) from error
    return list(wanted)
