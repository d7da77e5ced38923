"""The deployment files, read once."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
# Read by the Compose file or the server's own configuration, not by the settings
NOT_SETTINGS = {"POSTGRES_PASSWORD", "WEB_BIND", "WEB_PROCESSES"}
COMPOSE_ONLY = {"IMAGE_TAG"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def command(service: str) -> list[str]:
    return [str(part) for part in services()[service].get("command", [])]


def ours() -> list[str]:
    """The services that run this project's code."""
    return [name for name, service in services().items() if "build" in service]


def settings_variables() -> set[str]:
    return set(re.findall(r"""\benv\.\w+\(\s*["']([A-Z][A-Z0-9_]+)["']""", text("myproject/settings.py")))


def documented_variables() -> set[str]:
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text(".env.example"), re.MULTILINE))


def queues_of(arguments: list[str]) -> set[str]:
    return set(arguments[arguments.index("-Q") + 1].split(",")) if "-Q" in arguments else set()
