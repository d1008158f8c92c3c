"""The deployment files, as far as they can be checked without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# Keys that livekit-sip reads (pkg/config/config.go, 2026-08); it ignores others without a word.
LIVEKIT_SIP_KEYS = {
    *("redis", "api_key", "api_secret", "ws_url", "health_port", "prometheus_port", "pprof_port", "sip_port"),
    *("sip_port_listen", "sip_hostname", "sip_ringing_interval", "tcp", "tls", "rtp_port", "logging"),
    *(
        "cluster_id",
        "max_cpu_utilization",
        "max_active_calls",
        "sip_trunk_ids",
        "use_external_ip",
        "local_net",
    ),
    *("nat_1_to_1_ip", "listen_ip", "media_use_external_ip", "media_nat_1_to_1_ip", "media_timeout"),
    *("media_timeout_initial", "symmetric_rtp", "codecs", "hide_inbound_port", "enable_jitter_buffer"),
}


def compose() -> dict[str, Any]:
    """The compose file, parsed."""
    return cast("dict[str, Any]", yaml.safe_load((ROOT / "deploy/compose.yaml").read_text()))


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions, split into words."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_compose_services_depend_on_services_that_exist() -> None:
    """Every `depends_on` names a service, and every named volume is declared."""
    document = compose()
    services = document["services"]
    assert set(services) == {"redis", "livekit", "sip", "agent"}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in document["volumes"] or (ROOT / "deploy" / source).exists(), source


def test_compose_demands_the_secret_instead_of_starting_without_it() -> None:
    """An unset key fails with a word about `.env`, in place of a server with an empty secret."""
    keys = compose()["services"]["livekit"]["environment"]["LIVEKIT_KEYS"]
    assert "${LIVEKIT_API_KEY:?" in keys
    assert "${LIVEKIT_API_SECRET:?" in keys


def test_livekit_sip_is_configured_with_keys_that_it_reads() -> None:
    """No key in livekit-sip's block is one that it would ignore silently."""
    body = yaml.safe_load(compose()["services"]["sip"]["environment"]["SIP_CONFIG_BODY"])
    assert set(body) <= LIVEKIT_SIP_KEYS
    assert {"api_key", "api_secret", "ws_url", "redis"} <= set(body)


def test_images_are_pinned() -> None:
    """No service follows a moving tag."""
    for name, service in compose()["services"].items():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_dockerfile_copies_what_exists_and_is_let_through() -> None:
    """Every path that the image copies is in the tree and not held back by `.dockerignore`."""
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for words in instructions():
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                assert (ROOT / source).exists(), source
                assert source.removeprefix("./") in let_through, source


def test_dockerfile_runs_the_worker_as_a_user() -> None:
    """The last USER is not root, stands before CMD, and CMD is the documented start command."""
    words = instructions()
    user = max(index for index, line in enumerate(words) if line[0] == "USER")
    command = max(index for index, line in enumerate(words) if line[0] == "CMD")
    assert words[user][1] not in ("root", "0")
    assert user < command
    assert " ".join(words[command][1:]) == '["python", "agent.py", "start"]'


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    """`docker-compose config` resolves the file with a filled `.env`."""
    (tmp_path / "deploy").mkdir()
    text = (ROOT / "deploy/compose.yaml").read_text()
    # Version 1 of the program, which distributions still ship, does not know the project name.
    (tmp_path / "deploy/compose.yaml").write_text(re.sub(r"^name: .*\n", "", text, flags=re.M))
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    done = subprocess.run(
        ["docker-compose", "-f", "deploy/compose.yaml", "config", "-q"],
        cwd=tmp_path,
        env={**os.environ, "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
