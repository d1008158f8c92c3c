"""What `sip preset use` writes, planned and applied to a real livekit-server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sip.presets.use import Use
from tests.stack.test_state import shell
from tests.unit.preset_cases import SECRET, cases

pytestmark = pytest.mark.stack
SECTIONS = ("inbound", "outbound", "rules", "registrations")


async def test_every_entry_is_accepted(livekit_server: Path, tmp_path: Path) -> None:
    """Each way to use each preset, all in one file: planned, applied, and then there is nothing to do.

    Every case has numbers and names of its own, so that each one is a trunk and a rule of its own.
    """
    used = [case.used() for case in cases()]
    wanted = {section: entries(used, section) for section in SECTIONS}
    async with shell(livekit_server, tmp_path) as sip:
        sip.environment |= {name: SECRET for each in used for name in each.secrets}
        sip.write(document(used))
        planned = await sip("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        count = sum(len(wanted[section]) for section in SECTIONS[:3])
        assert f"{count} to create, 0 to update, 0 to delete" in planned.stdout
        applied = await sip("apply", "--yes")
        assert applied.returncode == 0, applied.stderr
        again = await sip("plan", "--check")
        assert again.returncode == 0, again.stdout
        assert SECRET not in "".join(run.stdout + run.stderr for run in (planned, applied, again))
        state = await sip.state()
    assert {item.name for item in state.inbound} == set(wanted["inbound"])
    assert {item.name for item in state.rules} == set(wanted["rules"])
    assert {item.name for item in state.outbound} == set(wanted["outbound"])
    for trunk in state.outbound:
        fields = wanted["outbound"][trunk.name]
        assert (trunk.address, trunk.transport) == (fields["address"], fields["transport"])
        assert trunk.auth_password == (SECRET if "auth_password" in fields else "")


def entries(used: Iterable[Use], section: str) -> dict[str, dict[str, object]]:
    """Name → fields of all entries of a section."""
    return {name: dict(fields) for each in used for name, fields in each.entry.get(section, {}).items()}


def document(used: Iterable[Use]) -> str:
    """All entries in one file."""
    lines: list[str] = []
    for section in SECTIONS:
        lines.append(f"{section}:")
        for each in used:
            if section in each.entry:
                lines += [f"  {line}" for line in each.text(section).splitlines()]
    return "\n".join(lines) + "\n"
