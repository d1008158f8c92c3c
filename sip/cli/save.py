"""Writing files that people keep: never over one that is there, never half, secrets for their owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sip.errors import ConfigurationError, SipError
from sip.wanted.written import dotenv


def check(file: Path, *, force: bool) -> None:
    """Raise `ConfigurationError` when the file must not be written."""
    if file.is_dir():
        raise ConfigurationError(f"{file} cannot be written", "it is a directory", "Name a file in it")
    if file.exists() and not force:
        mend = "Choose another name, or give --force to overwrite it"
        raise ConfigurationError(f"{file} is not written", "it is there already", mend)
    if not file.parent.is_dir():
        raise ConfigurationError(f"{file} cannot be written", "its directory does not exist", "Make it first")


def write(file: Path, text: str, *, force: bool) -> None:
    """Write all of it or nothing. Raises `ConfigurationError` as `check` does, `SipError` when it fails."""
    check(file, force=force)
    draft = file.with_name(f".{file.name}.{os.getpid()}") if force else file
    try:
        with draft.open("x", encoding="utf-8") as out:
            out.write(text)
        draft.replace(file)
    except FileExistsError:
        raise ConfigurationError(f"{file} is not written", "it is there already", "Give --force") from None
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SipError(f"{file} cannot be written", error.strerror or str(error)) from None


def add_secrets(file: Path, secrets: Mapping[str, str]) -> None:
    """Add variables to a `.env`. Raises `ConfigurationError` for one that it holds with another value."""
    from dotenv import dotenv_values

    present = dotenv_values(file, interpolate=False) if file.exists() else {}
    for name, secret in secrets.items():
        if present.get(name) and present[name] != secret:
            mend = "Remove it there, or name another file"
            raise ConfigurationError(f"{file}: {name} is not written", "it is set to another value", mend)
    new = {name: secret for name, secret in secrets.items() if not present.get(name)}
    if not new:
        return
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a+", encoding="utf-8") as out:
            out.seek(0)
            text = out.read()
            out.write("" if not text or text.endswith("\n") else "\n")
            out.writelines(f"{line}\n" for line in dotenv(new))
    except OSError as error:
        raise SipError(f"{file} cannot be written", error.strerror or str(error)) from None
