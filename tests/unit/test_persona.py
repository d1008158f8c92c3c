"""A persona is a Markdown file; what is wrong with one is said with its line."""

from pathlib import Path

import pytest

from agent.errors import PersonaError
from agent.persona import briefed, parse_persona, read_persona

ROOT = Path(__file__).resolve().parents[2]
GOOD = """---
greeting: Good day.
language: de
voice: a-voice
transfer:
  front desk: sip:desk@pbx.example
  Kitchen:
    to: tel:+15550123
    when: food allergies
fallback: Front Desk
---
You are a receptionist.

- Be short.
"""


def test_everything_is_read():
    """Greeting, language, voice, targets, fallback and the instructions arrive as they were written."""
    persona = parse_persona(GOOD)
    assert persona.greeting == "Good day."
    assert (persona.language, persona.voice) == ("de", "a-voice")
    assert [(t.name, t.uri, t.when) for t in persona.targets] == [
        ("front desk", "sip:desk@pbx.example", ""),
        ("Kitchen", "tel:+15550123", "food allergies"),
    ]
    assert persona.fallback is persona.targets[0]
    assert persona.instructions == "You are a receptionist.\n\n- Be short."
    assert persona.target(" KITCHEN ") is persona.targets[1]
    assert persona.target("bar") is None


def test_what_is_known_of_a_call_stands_below_the_instructions():
    """Metadata of a job reaches the language model; without any the instructions stay as they are."""
    assert briefed("You are kind.", "") == "You are kind."
    assert briefed("You are kind.", '{"account": 7}\n').endswith('About this call:\n{"account": 7}')


def test_the_default_persona_is_good():
    """The receptionist that ships with the worker can be read, and can put a caller through."""
    persona = read_persona(ROOT / "agent" / "personas" / "receptionist.md")
    assert persona.greeting.endswith("?")
    assert persona.targets
    assert len(persona.instructions) > 500


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("You are …", 1, "head"),
        ("---\nlanguage: en\n---\nYou are.", 2, "greeting"),
        ("---\ngreeting: Hi.\nvioce: x\n---\nYou are.", 3, "vioce"),
        ("---\ngreeting: Hi.\n---\n\n", 3, "instructions"),
        ("---\ngreeting: [a\n---\nYou are.", 2, ""),
        ("---\ngreeting: Hi.\ntransfer:\n  desk: +15550123\n---\nYou are.", 4, "address"),
        ("---\ngreeting: Hi.\ntransfer:\n  desk: 'sip:a@b c@d'\n---\nYou are.", 4, "address"),
        ("---\ngreeting: Hi.\ntransfer: desk\n---\nYou are.", 3, "name"),
        ("---\ngreeting: Hi.\nfallback: desk\n---\nYou are.", 3, "desk"),
        ("---\ngreeting: Hi.\ngreeting: Ho.\n---\nYou are.", 3, "twice"),
        ("---\ngreeting: Hi.\ntransfer:\n  1!: tel:+1\n---\nYou are.", 4, "1!"),
    ],
)
def test_a_problem_is_named_with_its_line(text: str, line: int, word: str):
    """Each kind of mistake names the line that holds it and what is wrong there."""
    with pytest.raises(PersonaError) as caught:
        parse_persona(text, "p.md")
    assert f"line {line}" in str(caught.value)
    assert word in str(caught.value)
    assert "p.md" in str(caught.value)


def test_all_problems_come_at_once():
    """Two mistakes give one error that names both lines."""
    with pytest.raises(PersonaError) as caught:
        parse_persona("---\nvioce: x\ntransfer:\n  desk: 12\n---\n")
    assert all(f"line {line}" in str(caught.value) for line in (2, 4, 5))


def test_a_missing_file_is_named(tmp_path: Path):
    """A path that leads nowhere is in the error."""
    with pytest.raises(PersonaError, match=r"missing\.md"):
        read_persona(tmp_path / "missing.md")
