"""Each way to start the worker says everything that is wrong with its settings, once, and exits with 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAYS = {
    "dev": ["agent.py", "dev"],
    "start": ["agent.py", "start"],
    "console": ["agent.py", "console", "--text"],
    "module": ["-m", "livekit.agents", "start", "agent.py"],
}


def run(arguments: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Start Python in the project with an environment that holds no setting but these."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("way", WAYS)
def test_missing_settings_end_with_2(way: str):
    """All missing names are in the one message; the console alone does not ask for LiveKit's."""
    if (ROOT / ".env").exists():
        pytest.skip("a .env of the user's own is in the way")
    done = run(WAYS[way])
    assert done.returncode == 2
    for name in ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY"):
        assert done.stderr.count(f"{name} is not set") == 1
    assert ("LIVEKIT_URL is not set" in done.stderr) == (way != "console")
    assert "Traceback" not in done.stderr


def test_flags_count_as_settings():
    """What is given on the command line is not asked of the environment."""
    done = run([*WAYS["start"], "--url", "ws://127.0.0.1:9", "--api-key", "k", "--api-secret", "s"])
    assert done.returncode == 2
    assert "LIVEKIT" not in done.stderr
    assert "DEEPGRAM_API_KEY" in done.stderr


def test_help_needs_no_settings():
    """Somebody who only asks what there is gets told."""
    done = run(["agent.py", "--help"])
    assert done.returncode == 0
    assert "console" in done.stdout
