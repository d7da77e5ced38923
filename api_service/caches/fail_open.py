"""Django's cache API in terms of the strict methods: an outage reads as a miss.

Never raises because a node is down. `incr` and `decr` keep Django's contract for a key that
cannot be found, `ValueError`, as Django's own DummyCache does: there is no number to return.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from api_service.caches.errors import CacheOutage
from api_service.caches.protocol import Replacement, Version

_MISSING = object()


class FailOpenCache(BaseCache, ABC):
    """Errors were counted and logged per node before they are turned into misses here."""

    @abstractmethod
    def fetch(self, key: str, default: Any = None, version: int | None = None) -> Any: ...

    @abstractmethod
    def store(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool: ...

    @abstractmethod
    def remove(self, key: str, version: int | None = None) -> bool: ...

    @abstractmethod
    def add_strict(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool: ...

    @abstractmethod
    def touch_strict(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool: ...

    @abstractmethod
    def incr_strict(self, key: str, delta: int = 1, version: int | None = None) -> int: ...

    @abstractmethod
    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]: ...

    @abstractmethod
    def store_many(
        self,
        mapping: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]: ...

    @abstractmethod
    def remove_many(self, keys: Iterable[str], version: int | None = None) -> list[str]:
        """The keys whose node could not be asked."""

    @abstractmethod
    def claim_many(
        self, keys: Iterable[str], value: Any, timeout: float, version: int | None = None
    ) -> tuple[dict[str, Version], list[str]]: ...

    @abstractmethod
    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]: ...

    @abstractmethod
    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]: ...

    @abstractmethod
    def clear_nodes(self) -> list[str]:
        """Empty every node; names those that could not be asked."""

    def get(self, key: Any, default: Any | None = None, version: int | None = None) -> Any:
        try:
            return self.fetch(key, default, version)
        except CacheOutage:
            return default

    def set(
        self,
        key: Any,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> None:
        try:
            self.store(key, value, timeout, version)
        except CacheOutage:
            return

    def add(
        self,
        key: Any,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        try:
            return self.add_strict(key, value, timeout, version)
        except CacheOutage:
            return False

    def delete(self, key: Any, version: int | None = None) -> bool:
        try:
            return self.remove(key, version)
        except CacheOutage:
            return False

    def touch(self, key: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        try:
            return self.touch_strict(key, timeout, version)
        except CacheOutage:
            return False

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self.get(key, _MISSING, version) is not _MISSING

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        try:
            return self.incr_strict(key, delta, version)
        except CacheOutage as error:
            raise ValueError(f"Key {key!r} not found") from error

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return self.fetch_many(keys, version)[0]

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        return self.store_many(data, timeout, version)

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        self.remove_many(keys, version)

    def clear(self) -> None:
        self.clear_nodes()
