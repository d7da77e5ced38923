"""The URL of a cache and what Django needs of it. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

DEFAULT_PORT = 11211


def cache_config(
    url: str,
    name: str = "CACHE_URL",
    /,
    *,
    timeout: float = 0.5,
    connect_timeout: float = 0.5,
    retry_interval: float = 5.0,
) -> dict[str, Any]:
    """Django's CACHES entry for `locmem://`, `memcached://host:port,host:port` or `redis://host:port/db`.

    ImproperlyConfigured, speaking of `name`, for anything else; passwords are in no text.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "locmem":
        return {"BACKEND": "api_service.caches.local.LocalMemoryCache", "LOCATION": rest or "default"}
    if separator and scheme == "memcached":
        return {
            "BACKEND": "api_service.caches.memcached.MemcachedCache",
            "LOCATION": _memcached_nodes(rest, name),
            "OPTIONS": {"timeout": timeout, "connect_timeout": connect_timeout, "retry_interval": retry_interval},
        }
    if separator and scheme in {"redis", "rediss"} and rest:
        _check_redis(url, name)
        return {
            "BACKEND": "api_service.caches.redis.RedisJSONCache",
            "LOCATION": url,
            "OPTIONS": {
                "socket_timeout": timeout,
                "socket_connect_timeout": connect_timeout,
                "retry_interval": retry_interval,
            },
        }
    shown = scheme if separator else ""  # without one, all of it may be a password
    raise ImproperlyConfigured(
        f"{name}: scheme {shown!r} is not usable. "
        "Use locmem://, memcached://host:port,host:port or redis://host:port/db."
    )


def passwords(url: str) -> list[str]:
    """The secret of a URL as written and as sent; all of a URL that cannot be read."""
    try:
        written = urlsplit(url).password
    except ValueError:
        return [url]
    return list(dict.fromkeys([written, unquote(written)])) if written else []


def _memcached_nodes(text: str, name: str) -> list[str]:
    nodes = [_memcached_node(part.strip(), name) for part in text.rstrip("/").split(",") if part.strip()]
    if not nodes:
        raise ImproperlyConfigured(f"{name} names no memcached node. Use memcached://host:port,host:port.")
    if len(set(nodes)) != len(nodes):
        raise ImproperlyConfigured(f"{name} names a memcached node twice.")
    return nodes


def _memcached_node(text: str, name: str) -> str:
    shown = text.rpartition("@")[2]  # what stands before it may be a password
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {shown!r} is not a host:port.") from error
    if not host or parts.path or parts.query or "@" in text:
        raise ImproperlyConfigured(f"{name}: {shown!r} is not a host:port, and nothing else may stand there.")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_redis(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and (parts.path.strip("/") or "0").isdigit()
    except ValueError:
        usable = False
    if not usable:
        # The URL may hold a password: it is not shown, not even by the error it comes from
        raise ImproperlyConfigured(f"{name} cannot be read. Use redis://:password@host:port/db.") from None
