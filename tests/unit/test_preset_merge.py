"""Adding a preset's entry to a `trunks.yaml` that somebody wrote by hand."""

from __future__ import annotations

import pytest
import yaml

from sip.errors import ConfigurationError
from sip.presets.merge import merge

ENTRY = {"inbound": {"new": {"numbers": ["+1"]}}, "rules": {"new": {"trunks": ["new"], "agent": "a"}}}
ITEMS = {
    "inbound": "# made\nnew:\n  numbers: ['+1']\n",
    "rules": "new:\n  trunks: [new]\n  agent: a\n",
}
HAND = """\
# our lines
inbound:   # who may call
    old:
        numbers: ["+2"]   # the desk
        headers:
            X-A: b
    # last words on inbound

outbound: {}
rules:
    old: {trunks: [old], agent: a}
x-mine:
  - kept
"""


def test_comments_order_and_indentation_stay() -> None:
    """Every line that was there is there still, in its order; the new ones take the file's indentation."""
    merged = merge(HAND, ENTRY, ITEMS)
    assert [line for line in merged.splitlines() if line in HAND.splitlines()] == HAND.splitlines()
    assert "            X-A: b\n    # made\n    new:\n      numbers: ['+1']\n    # last words" in merged
    assert yaml.safe_load(merged) == {
        "inbound": {"old": {"numbers": ["+2"], "headers": {"X-A": "b"}}, **ENTRY["inbound"]},
        "outbound": {},
        "rules": {"old": {"trunks": ["old"], "agent": "a"}, **ENTRY["rules"]},
        "x-mine": ["kept"],
    }


def test_a_second_time_changes_nothing() -> None:
    """What is there already is left alone, byte by byte."""
    merged = merge(HAND, ENTRY, ITEMS)
    assert merge(merged, ENTRY, ITEMS) == merged


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "inbound:\n",
        "inbound: ~\nrules: {}  # none\n",
        "inbound:\n  old: {numbers: ['+2']}",
        "inbound:\n  old:\n    metadata: |\n      one\n      two\n\nrules:\n  r: {trunks: [old]}\n",
        "inbound:\n  old:\n    numbers:\n    - '+2'\n    - '+3'\n",
        "inbound:\n  old:\n",
        "\ninbound:\n\n  old:\n    metadata: >-\n      folded\n      text\n\n\n# the end\n",
        "rules:\n  old: {trunks: [a,\n     b]}\n",
    ],
)
def test_all_shapes_of_files(text: str) -> None:
    """Empty files, empty sections, block texts, lists, no newline at the end: the rest says what it said."""
    merged = merge(text, ENTRY, ITEMS)
    before, after = yaml.safe_load(text) or {}, yaml.safe_load(merged)
    for section in ("inbound", "rules"):
        assert after[section] == {**(before.get(section) or {}), **ENTRY[section]}


def test_windows_lines_stay_windows_lines() -> None:
    """A file with CRLF gets CRLF."""
    merged = merge("inbound:\r\n  old: {numbers: ['+2']}\r\n", ENTRY, ITEMS)
    assert "\n" not in merged.replace("\r\n", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("inbound:\n  new: {numbers: ['+9']}\n", "another inbound.new already"),
        ("rules:\n  new: {trunks: [x]}\ninbound:\n  new: {}\n", "another inbound.new and rules.new already"),
        ("inbound: {old: {numbers: ['+2']}}\n", "written in braces"),
        ("inbound: [\n", "cannot be read"),
        ("- a list\n", "no mapping of inbound"),
        ("inbound: [old]\n", "inbound is no mapping of names"),
        ("inbound: &all\n  old: {numbers: ['+2']}\nx-same: *all\n", "cannot be added to"),
    ],
)
def test_what_would_do_harm_is_refused(text: str, reason: str) -> None:
    """Names that are taken, braces, what is no `trunks.yaml`, and what would change something else."""
    with pytest.raises(ConfigurationError) as raised:
        merge(text, ENTRY, ITEMS)
    assert reason in str(raised.value)
