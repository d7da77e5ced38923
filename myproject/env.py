"""Typed settings from the environment; every secret also from a file named by NAME_FILE."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError, FileAwareEnv
from marshmallow import ValidationError

from api_service.caches.urls import cache_config
from api_service.services.finding_policy import parse_rules
from api_service.services.redaction import SHORTEST_URL_PART
from workers.schedules import TABLE as SCHEDULES

# Nothing waits for ever: not for a host that is gone (10 s), nor for a lock or a statement (the longest are prunes)
POSTGRES_LIMITS = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=120000 -c lock_timeout=20000",
}

# The schedule that an address to ping without a name is for
MONITOR = "monitor-cache-health"


class Environment(FileAwareEnv):
    """Reads variables lazily: `check()` reports all the unusable ones in one line."""

    def __init__(self) -> None:
        super().__init__(eager=False, strip_whitespace=True)

    def _get_value(self, env_key: str, default: Any) -> Any:
        if os.environ.get(env_key) and os.environ.get(f"{env_key}_FILE"):
            raise ImproperlyConfigured(f"environment: {env_key} and {env_key}_FILE are both set: remove one of them.")
        try:
            return super()._get_value(env_key, default)
        except ValueError as error:
            raise ImproperlyConfigured(f"environment: {error}") from error

    def check(self) -> None:
        try:
            self.seal()
        except EnvError as error:
            raise ImproperlyConfigured(f"environment: {_one_line(error)} See .env.example.") from error


def _one_line(error: EnvError) -> str:
    messages = getattr(error, "error_messages", None)
    if isinstance(messages, dict):
        return "; ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in sorted(messages.items()))
    return str(error)


def database_config(url: str) -> dict[str, Any]:
    """Django's DATABASES entry for `sqlite:///path` or `postgres://user:password@host:port/name`.

    SQLite takes the write lock at BEGIN and waits for it, in WAL mode: with Django's defaults half of
    concurrent writes fail with "database is locked".
    """
    scheme = url.partition("://")[0]
    if scheme not in {"sqlite", "postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL: scheme {scheme!r} is not supported. Use sqlite:///path or postgres://user:password@host/name."
        )
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except ValueError as error:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read. Use postgres://user:password@host:port/name."
        ) from error
    if scheme == "sqlite":
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        config["OPTIONS"] = {**POSTGRES_LIMITS, **config.get("OPTIONS", {})}
    return config


def http_url(value: str) -> None:
    """Refuse what is neither empty nor an address that a request can be sent to."""
    parts = urlsplit(value)
    if value and not (parts.scheme in {"http", "https"} and parts.hostname):
        raise ValidationError("Must be a URL that begins with http:// or https://.")


def copy_target(value: str) -> None:
    """Refuse what is neither empty nor a cache of its own that others can reach. The text names no password."""
    if value.startswith("locmem://"):
        raise ValidationError("Must be memcached://host:port,host:port or redis://host:port/db.")
    try:
        if value:
            cache_config(value, "It")
    except ImproperlyConfigured as error:
        raise ValidationError(str(error)) from error


def health_rules(value: str) -> None:
    try:
        parse_rules(value)
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


def sentry_dsn(value: str) -> None:
    if not value:
        return
    from sentry_sdk.utils import BadDsn, Dsn  # only where Sentry is used: it costs memory

    try:
        Dsn(value)
    except BadDsn as error:
        raise ValidationError("Must be a DSN: https://key@host/project.") from error


def ping_urls(value: str) -> dict[str, str]:
    """The addresses to ping, by schedule: `name=https://…, name=https://…`, or one address for the health check.

    No message repeats an address: whoever knows it can ping in our name.
    """
    found: dict[str, str] = {}
    for number, item in enumerate(filter(None, map(str.strip, value.split(","))), 1):
        name, url = _named(item)
        if name not in SCHEDULES:
            raise ValidationError(f"Entry {number} is for {name!r}, which is none of: {', '.join(SCHEDULES)}.")
        if name in found:
            raise ValidationError(f"{name} has two addresses.")
        if not url:
            raise ValidationError(f"{name} has no address.")
        http_url(url)
        found[name] = url
    return found


def _named(item: str) -> tuple[str, str]:
    """An address alone may have an equals sign of its own, behind its scheme."""
    name, equals, url = item.partition("=")
    return (name.strip(), url.strip()) if equals and "://" not in name else (MONITOR, item)


def ping_secrets(urls: Iterable[str]) -> list[str]:
    """What is secret in those addresses: the path as a whole and its long parts, but no schedule's name.

    Such a name ends an address where the service goes by slugs; as a secret it would be blotted out everywhere.
    """
    found: list[str] = []
    for parts in map(urlsplit, urls):
        path = parts.path.strip("/")
        values = (value for _, value in parse_qsl(parts.query))
        found += [part for part in (path, *path.split("/"), *values) if len(part) >= SHORTEST_URL_PART]
        found += [parts.password or ""]
    return [part for part in dict.fromkeys(found) if part and part not in SCHEDULES]


def secret_parts(*urls: str) -> list[str]:
    """The passwords inside URLs, as written and as sent, so that they can be kept out of logs."""
    written = [password for url in urls if (password := urlsplit(url).password)]
    return list(dict.fromkeys(form for password in written for form in (password, unquote(password))))


def local_secret(folder: Path, name: str) -> str:
    """A random secret kept in `folder/name` (0600), made at first use: a single machine needs no set-up.

    Several machines must share theirs through the environment instead.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(value := secrets.token_urlsafe(48))
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATA_DIR {folder} cannot be used ({error.strerror}): choose a writable folder."
        ) from error
    return value
