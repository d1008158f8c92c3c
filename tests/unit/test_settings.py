"""Settings are read once, checked as a whole, and never print a secret."""

from pathlib import Path

import pytest

from agent.errors import SettingsError
from agent.settings import Environment, read_settings

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "LIVEKIT_URL": "ws://127.0.0.1:7880",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "a-secret",
    "DEEPGRAM_API_KEY": "dg-secret",
    "OPENAI_API_KEY": "oa-secret",
    "CARTESIA_API_KEY": "ca-secret",
}


def problems(environ: dict[str, str], *, need_livekit: bool = True) -> tuple[str, ...]:
    """What these settings are refused for."""
    with pytest.raises(SettingsError) as caught:
        read_settings(environ, need_livekit=need_livekit)
    return caught.value.problems


def test_defaults_are_those_of_the_example_file():
    """With nothing but keys the values are the ones that .env.example shows."""
    settings = read_settings(GOOD)
    assert settings.agent_name == "phone-agent"
    assert settings.http_host == "127.0.0.1"
    assert settings.http_port is None
    assert [p.base_url for p in settings.stt] == ["https://api.deepgram.com/v1/listen"]
    assert settings.llm[0].model == "gpt-4.1-mini"
    assert settings.records_dir is None
    assert settings.persona.greeting


def test_every_problem_is_in_one_error():
    """Missing LiveKit values, missing keys, a bad port and a missing persona are all named at once."""
    found = "\n".join(problems({"AGENT_HTTP_PORT": "99999", "AGENT_PERSONA": "nowhere.md"}))
    for name in (
        "LIVEKIT_URL",
        "LIVEKIT_API_KEY",
        "LIVEKIT_API_SECRET",
        "DEEPGRAM_API_KEY",
        "OPENAI_API_KEY",
    ):
        assert name in found
    assert "CARTESIA_API_KEY" in found
    assert "AGENT_HTTP_PORT" in found
    assert "nowhere.md" in found


def test_the_console_needs_no_livekit():
    """Without a LiveKit server the rest is enough."""
    environ = {name: value for name, value in GOOD.items() if not name.startswith("LIVEKIT")}
    assert read_settings(environ, need_livekit=False).livekit_url == ""


def test_a_server_of_ones_own_needs_no_key():
    """A key is demanded only where the provider's own address is used."""
    environ = dict(GOOD)
    for name in ("DEEPGRAM", "OPENAI", "CARTESIA"):
        del environ[f"{name}_API_KEY"]
        environ[f"{name}_BASE_URL"] = "http://127.0.0.1:9/v1/"
    settings = read_settings(environ)
    assert settings.llm[0].base_url == "http://127.0.0.1:9/v1"
    assert settings.stt[0].key.get_secret_value() != ""


def test_a_second_provider_inherits_key_and_model():
    """An address alone makes a second provider of the same kind."""
    settings = read_settings(GOOD | {"FALLBACK_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    first, second = settings.llm
    assert (second.model, second.key) == (first.model, first.key)
    assert second.base_url == "http://127.0.0.1:9/v1"
    assert len(settings.stt) == len(settings.tts) == 1


@pytest.mark.parametrize("value", ["localhost:7880", "ftp://host", "ws://"])
def test_an_address_without_scheme_or_host_is_refused(value: str):
    """A LiveKit address that cannot work is named with its value."""
    assert any("LIVEKIT_URL" in p and value.rstrip("/") in p for p in problems(GOOD | {"LIVEKIT_URL": value}))


def test_empty_values_count_as_not_set():
    """An empty line of .env leaves the default in place."""
    assert read_settings(GOOD | {"OPENAI_MODEL": "", "AGENT_HTTP_PORT": " "}).llm[0].model == "gpt-4.1-mini"


def test_no_secret_is_printed():
    """Neither the value's repr nor an error shows a key."""
    text = repr(read_settings(GOOD)) + "\n".join(problems(GOOD | {"AGENT_HTTP_PORT": "x"}))
    assert "secret" not in text.replace("SecretStr", "").replace("api_secret", "")


def test_the_example_file_names_every_setting():
    """Each setting that the worker reads stands in .env.example."""
    names = {
        line.split("=", 1)[0]
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    }
    assert set(Environment.model_fields) <= names
