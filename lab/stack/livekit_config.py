"""livekit-server's configuration for one machine: `livekit.yaml`, with loopback's differences."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from sip.errors import ConfigurationError

TEMPLATE = Path(__file__).resolve().parents[2] / "livekit.yaml"


def load(path: Path = TEMPLATE) -> dict[str, Any]:
    """The configuration as self-hosters write it. Raises `ConfigurationError` when it cannot be read."""
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path.name} cannot be read", str(error)) from error
    if not isinstance(config, dict):
        raise ConfigurationError(f"{path.name} is no livekit-server configuration", "it holds no mapping")
    return config


def local(
    template: dict[str, Any], *, port: int, udp_port: int, redis_url: str, api_key: str, api_secret: str
) -> dict[str, Any]:
    """`template`, changed for loopback only.

    Nothing listens on another interface, and nothing is sent beyond this machine.
    """
    config = copy.deepcopy(template)
    config |= {"port": port, "bind_addresses": ["127.0.0.1"], "keys": {api_key: api_secret}}
    config["redis"] = redis(redis_url)
    rtc = config.setdefault("rtc", {})
    for key in ("port_range_start", "port_range_end", "stun_servers", "turn_servers", "ips"):
        rtc.pop(key, None)
    rtc |= {
        "udp_port": udp_port,
        "tcp_port": 0,  # with any other it listens on every interface
        "use_external_ip": False,
        "node_ip": "127.0.0.1",
        "enable_loopback_candidate": True,
        "interfaces": {"includes": ["lo", "lo0"]},
    }
    # Listeners and calls to other machines that a self-hoster's file may hold.
    for key in ("prometheus", "prometheus_port", "debug_handler", "turn", "webhook", "key_file", "region"):
        config.pop(key, None)
    return config


def write(config: dict[str, Any], path: Path) -> None:
    """Write it for its owner only: it holds the API secret."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(config, file, sort_keys=False)


def redis(url: str) -> dict[str, Any]:
    """REDIS_URL as livekit-server's `redis` section. Raises `ConfigurationError`, which never quotes it."""
    problem = ""
    parts = urlsplit(url)
    port = database = 0
    try:
        port, database = parts.port or 6379, int(parts.path.strip("/") or 0)
    except ValueError:
        problem = "its port or database is no number in range"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        problem = "it has no host, or does not begin with redis:// or rediss://"
    if problem:
        raise ConfigurationError(
            "the store's address cannot be used",
            problem,
            "REDIS_URL must read redis://[user:password@]host:port[/db] (rediss:// for TLS)",
        )
    section: dict[str, Any] = {"address": f"{parts.hostname}:{port}"}
    if parts.username:
        section["username"] = unquote(parts.username)
    if parts.password:
        section["password"] = unquote(parts.password)
    if database:
        section["db"] = database
    if parts.scheme == "rediss":
        section["tls"] = {"enabled": True}
    return section
