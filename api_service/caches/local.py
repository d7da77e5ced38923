"""Django's local-memory cache with our JSON rules: development behaves like production."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache

from api_service.caches.protocol import Replacement, Version
from api_service.caches.serializer import Unreadable, count_unreadable, dumps, loads

_MISSING = object()
# Django's default of 300 would evict most of a small shop's RUCs; this is about 100 MB of records
_DEFAULT_MAX_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One unexpired key; `expires_at` is Unix time, None for never."""

    key: str
    expires_at: float | None
    size: int


class LocalMemoryCache(LocMemCache):
    """One process's memory: its strict methods never meet an outage."""

    if TYPE_CHECKING:
        # LocMemCache's, absent from django-stubs
        _cache: OrderedDict[str, bytes]
        _expire_info: dict[str, float | None]
        _lock: Lock

        def _has_expired(self, key: str) -> bool: ...
        def _delete(self, key: str) -> bool: ...
        def _set(self, key: str, value: bytes, timeout: float | None) -> None: ...

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(name, params)
        if "MAX_ENTRIES" not in (params.get("OPTIONS") or {}) and "max_entries" not in params:
            self._max_entries = _DEFAULT_MAX_ENTRIES

    # -- Django's methods that would pickle

    def get(self, key: Any, default: Any | None = None, version: int | None = None) -> Any:
        full_key = self.make_and_validate_key(key, version)
        with self._lock:
            if self._has_expired(full_key):
                self._delete(full_key)
                return default
            data = self._cache[full_key]
            self._cache.move_to_end(full_key, last=False)
        return _decode(data, default)

    def set(
        self,
        key: Any,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        full_key = self.make_and_validate_key(key, version)
        data = dumps(value, key)
        with self._lock:
            self._set(full_key, data, timeout)

    def add(
        self,
        key: Any,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        full_key = self.make_and_validate_key(key, version)
        data = dumps(value, key)
        with self._lock:
            if not self._has_expired(full_key):
                return False
            self._set(full_key, data, timeout)
            return True

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        full_key = self.make_and_validate_key(key, version)
        with self._lock:
            if self._has_expired(full_key):
                self._delete(full_key)
                raise ValueError(f"Key {key!r} not found")
            value = loads(self._cache[full_key])
            if type(value) is not int:
                raise TypeError(f"Key {key!r} does not hold a whole number")
            self._cache[full_key] = dumps(value + delta, key)
            self._cache.move_to_end(full_key, last=False)
        return value + delta

    # -- strict methods

    def fetch(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self.get(key, default, version)

    def store(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        self.set(key, value, timeout, version)
        return True

    def remove(self, key: str, version: int | None = None) -> bool:
        return self.delete(key, version)

    def add_strict(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        return self.add(key, value, timeout, version)

    def touch_strict(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self.touch(key, timeout, version)

    def incr_strict(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.incr(key, delta, version)

    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]:
        found = {key: self.get(key, _MISSING, version) for key in keys}
        return {key: value for key, value in found.items() if value is not _MISSING}, []

    def store_many(
        self,
        mapping: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        data = {key: dumps(value, key) for key, value in mapping.items()}
        for key, encoded in data.items():
            full_key = self.make_and_validate_key(key, version)
            with self._lock:
                self._set(full_key, encoded, timeout)
        return []

    def claim_many(
        self, keys: Iterable[str], value: Any, timeout: float, version: int | None = None
    ) -> tuple[dict[str, Version], list[str]]:
        data = dumps(value, "(claim)")
        return {key: data for key in keys if self.add(key, value, timeout, version)}, []

    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]:
        stored: dict[str, bytes] = {}
        for key in keys:
            full_key = self.make_and_validate_key(key, version)
            with self._lock:
                if not self._has_expired(full_key):
                    stored[key] = self._cache[full_key]
        return {key: (_decode(data, None), data) for key, data in stored.items()}, []

    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]:
        replaced: dict[str, Version] = {}
        for key, item in items.items():
            full_key, data = self.make_and_validate_key(key, version), dumps(item.value, key)
            with self._lock:
                if not self._has_expired(full_key) and self._cache[full_key] == item.version:
                    self._set(full_key, data, item.timeout)
                    replaced[key] = data
        return replaced

    def remove_many(self, keys: Iterable[str], version: int | None = None) -> list[str]:
        self.delete_many(keys, version)
        return []

    def clear_nodes(self) -> list[str]:
        self.clear()
        return []

    def retry_now(self) -> None:
        """There is no node to ask."""

    def drop_expired(self) -> list[str]:
        """Delete what is past its end, which Django does only for keys that are asked for; the full keys."""
        now = time()
        with self._lock:
            expired = [
                key for key, expires_at in self._expire_info.items() if expires_at is not None and expires_at <= now
            ]
            for key in expired:
                self._delete(key)
        return expired

    # -- inventory

    def entries(self) -> Iterator[Entry]:
        """Every unexpired key with prefix and version, as of now."""
        now = time()
        with self._lock:
            sizes = [(key, self._expire_info.get(key), len(data)) for key, data in self._cache.items()]
        for key, expires_at, size in sizes:
            if expires_at is None or expires_at > now:
                yield Entry(key, expires_at, size)


def _decode(data: bytes, default: Any) -> Any:
    try:
        return loads(data)
    except Unreadable as error:
        count_unreadable(str(error))
        return default
