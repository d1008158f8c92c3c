"""The declared messages beside the Go modules that livekit-server is built from."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from sip.service.bus import messages as bus_messages

SOURCES = {
    "internal": "github.com/livekit/psrpc@v0.7.2/internal/internal.proto",
    "rpc": "github.com/livekit/protocol@v1.50.5-0.20260728075222-28e604c046c6/protobufs/rpc/{}.proto",
}


def _module_cache() -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain, so no module cache to compare with")
    return Path(
        subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    )


def _declared_by_livekit() -> dict[str, dict[str, tuple[int, str]]]:
    cache, texts = _module_cache(), list[tuple[str, Path]]()
    texts.append(("internal", cache / SOURCES["internal"]))
    texts.extend(("rpc", cache / SOURCES["rpc"].format(name)) for name in ("sip", "io"))
    messages: dict[str, dict[str, tuple[int, str]]] = {}
    for package, path in texts:
        if not path.exists():
            pytest.skip(f"{path.name} is not in the Go module cache")
        text = re.sub(r"//.*|\[[^\]]*\]", "", path.read_text())
        for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            fields = re.findall(r"((?:optional |repeated )?[\w.]+(?:<[^>]*>)?)\s+(\w+)\s*=\s*(\d+)", body)
            messages[f"{package}.{name}"] = {
                field: (int(number), kind.strip()) for kind, field, number in fields
            }
    return messages


def test_fields_agree_with_livekit() -> None:
    """Every declared field has the name, number and type that LiveKit's own files give it."""
    theirs = _declared_by_livekit()
    for full_name, fields in bus_messages.FIELDS.items():
        for name, (number, kind) in fields.items():
            their_number, their_kind = theirs[full_name][name]
            assert number == their_number, f"{full_name}.{name}"
            assert _normal(kind) == _normal(their_kind), f"{full_name}.{name}"


def _normal(kind: str) -> str:
    kind = re.sub(r"map<\s*string\s*,\s*string\s*>", "map", kind)
    if kind.startswith("repeated "):
        kind = kind.removeprefix("repeated ") + "[]"
    if kind.startswith("optional "):
        kind = kind.removeprefix("optional ") + "?"
    return kind.removeprefix("rpc.")


def test_foreign_enums_are_enums() -> None:
    """What is declared as an enum of `livekit` is one there."""
    for name in bus_messages.FOREIGN_ENUMS:
        assert descriptor_pool.Default().FindEnumTypeByName(name).full_name == name


def test_stub_knows_every_field() -> None:
    """`messages.pyi` types every declared field, and no other."""
    stub = (Path(bus_messages.__file__).with_suffix(".pyi")).read_text()
    for full_name, fields in bus_messages.FIELDS.items():
        body = re.search(
            rf"^class {full_name.split('.')[1]}\(Message\):(.*?)(?=^class |\Z)", stub, re.M | re.S
        )
        assert body is not None, full_name
        typed = set(re.findall(r"^    (\w+):", body.group(1), re.MULTILINE))
        assert typed == set(fields) - {"from"}, full_name
