"""Secrets that lie open: files that others can read, that are in the repository, or that hold passwords."""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sip.doctor.context import Context
from sip.finding import Finding

_SECRETS = ("auth_password", "pin", "password", "api_secret")
_TRUNKS = ("trunks.yaml", "trunks.yml")
_REFERENCE = re.compile(r"\$\{[^}]+\}")
_FAMILIAR = {("devkey", "secret")}
"""Keys of livekit-server's `--dev`, which everybody knows."""


async def secrets(context: Context) -> Sequence[Finding]:
    """`.env`, `trunks.yaml`, and the key itself."""
    return [
        *_permissions(context.directory / ".env"),
        *await _in_git(context.directory),
        *(finding for name in _TRUNKS for finding in plain(context.directory / name)),
        *_key(context),
    ]


def plain(path: Path) -> Iterator[Finding]:
    """Passwords and PINs that stand in a file of wanted trunks, instead of `${NAME}`."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return  # `sip plan` says what is wrong with the file
    for where, name in _walk(data):
        yield Finding(
            "plain-secret",
            "warning",
            f"{path.name} holds {where} in plain text: whoever reads the file or its history has it.",
            f"Write {name}: ${{VARIABLE}} there, and the value into .env",
            path.name,
        )


def _walk(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            path = f"{where}.{name}" if where else str(name)
            if name in _SECRETS and isinstance(each, (str, int)) and str(each):
                if not _REFERENCE.fullmatch(str(each)):
                    yield path, str(name)
            else:
                yield from _walk(each, path)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _walk(each, f"{where}[{number}]")


def _permissions(path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_IMODE(mode) & 0o077:
        yield Finding(
            "env-readable",
            "warning",
            f"{path.name} holds keys, and other users of this machine can read it ({stat.filemode(mode)}).",
            f"chmod 600 {path.name}",
            path.name,
        )


async def _in_git(directory: Path) -> list[Finding]:
    if not (directory / ".env").exists() or shutil.which("git") is None:
        return []
    git = await asyncio.create_subprocess_exec(
        "git", "ls-files", "--error-unmatch", ".env", cwd=directory,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await git.wait() != 0:
        return []
    return [
        Finding(
            "env-in-git", "warning", ".env is in the git repository, and its keys are in every copy of it.",
            "git rm --cached .env && echo .env >> .gitignore; then make new keys", ".env",
        )
    ]  # fmt: skip


def _key(context: Context) -> Iterator[Finding]:
    if (context.target.key, context.target.secret) in _FAMILIAR:
        yield Finding(
            "familiar-key",
            "warning",
            "The API key is the one of `livekit-server --dev`, which everybody knows.",
            "livekit-server generate-keys, into its configuration and .env",
            "LIVEKIT_API_KEY",
        )
