"""Adapters: one file a cache server kind, one row here, found by the Django cache backend in use."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from api_service.services.backends.base import Adapter, Deadline, Entry, Found, InventoryError, Item, Written

# Django cache backend -> adapter
TABLE: dict[str, str] = {
    "api_service.caches.memcached.MemcachedCache": "api_service.services.backends.memcached.MemcachedAdapter",
    "api_service.caches.redis.RedisJSONCache": "api_service.services.backends.redis.RedisAdapter",
    "api_service.caches.local.LocalMemoryCache": "api_service.services.backends.local_memory.LocalMemoryAdapter",
}


def adapter_for(alias: str = "default") -> Adapter:
    """The adapter of a CACHES alias; ImproperlyConfigured for a backend that has none."""
    backend = settings.CACHES[alias]["BACKEND"]
    path = TABLE.get(backend)
    if path is None:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] uses {backend}, which cannot be watched. Use one of: {', '.join(TABLE)}."
        )
    return cast(Adapter, import_string(path)(alias))


__all__ = ["TABLE", "Adapter", "Deadline", "Entry", "Found", "InventoryError", "Item", "Written", "adapter_for"]
