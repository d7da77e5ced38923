"""Adapters: one file a cache server kind, one row here, found by the Django cache backend in use."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from api_service.caches.urls import cache_config
from api_service.services.backends.base import Adapter, Deadline, Entry, Formed, Found, InventoryError, Item, Written

# Django cache backend -> adapter
TABLE: dict[str, str] = {
    "api_service.caches.memcached.MemcachedCache": "api_service.services.backends.memcached.MemcachedAdapter",
    "api_service.caches.redis.RedisJSONCache": "api_service.services.backends.redis.RedisAdapter",
    "api_service.caches.local.LocalMemoryCache": "api_service.services.backends.local_memory.LocalMemoryAdapter",
}
OF_ONE_PROCESS = "api_service.caches.local.LocalMemoryCache"


def adapter_for(alias: str = "default") -> Adapter:
    """The adapter of a CACHES alias; ImproperlyConfigured for a backend that has none."""
    return cast(Adapter, import_string(adapter_path(alias))(alias))


def adapter_path(alias: str) -> str:
    """Of the class that `adapter_for` builds; the same ImproperlyConfigured, and next to nothing to pay."""
    backend = settings.CACHES[alias]["BACKEND"]
    path = TABLE.get(backend)
    if path is None:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] uses {backend}, which cannot be watched. Use one of: {', '.join(TABLE)}."
        )
    return path


def adapter_for_url(url: str, name: str) -> Adapter:
    """The adapter of another cache than those in CACHES; `name` is what errors call the URL, never showing it.

    ImproperlyConfigured for one that cannot be read, or that lives in one process only.
    """
    config: dict[str, Any] = cache_config(
        url, name, timeout=settings.CACHE_TIMEOUT, connect_timeout=settings.CACHE_CONNECT_TIMEOUT
    )
    if config["BACKEND"] == OF_ONE_PROCESS:
        raise ImproperlyConfigured(
            f"{name}: locmem:// is the memory of one process and ends with it. "
            "Use memcached://host:port,host:port or redis://host:port/db."
        )
    return cast(Adapter, import_string(TABLE[config["BACKEND"]])("", config))


__all__ = [
    "TABLE",
    "Adapter",
    "Deadline",
    "Entry",
    "Formed",
    "Found",
    "InventoryError",
    "Item",
    "Written",
    "adapter_for",
    "adapter_for_url",
    "adapter_path",
]
