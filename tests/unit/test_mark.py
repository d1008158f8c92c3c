"""The mark of what `sip apply` made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.api import mark

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
METADATA = st.text() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value, indent=2) + "\n")


@given(METADATA)
def test_metadata_comes_back_letter_for_letter(metadata: str) -> None:
    """Whatever the text, the mark is there once set, and gone without a trace once removed."""
    assert not mark.in_metadata(metadata)
    marked = mark.add(metadata)
    assert mark.in_metadata(marked) and mark.add(marked) == marked
    assert mark.remove(marked) == metadata
    assert mark.remove(metadata) == metadata


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_metadata_stays_json(value: dict[str, object]) -> None:
    """A program that reads the metadata as JSON finds its own members and one more."""
    assert json.loads(mark.add(json.dumps(value))) == value | {mark.KEY: mark.VALUE}


@pytest.mark.parametrize("indent", [None, 4])
def test_json_that_was_written_anew(indent: int | None) -> None:
    """The mark is found after another program has read and written the JSON, at any place in it."""
    value = {mark.KEY: mark.VALUE, "owner": "me"}
    text = json.dumps(value, indent=indent)
    assert mark.in_metadata(text)
    assert json.loads(mark.remove(text)) == {"owner": "me"}


@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_attributes(attributes: dict[str, str]) -> None:
    """A rule's own attributes are never touched."""
    marked = mark.with_attribute(attributes, managed=True)
    assert mark.in_attributes(marked) and not mark.in_attributes(attributes)
    assert mark.with_attribute(marked, managed=False) == attributes
