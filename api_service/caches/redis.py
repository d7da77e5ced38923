"""Django's Redis cache with JSON values, short time-outs, and outages that show."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.core.exceptions import ImproperlyConfigured
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from api_service.caches.errors import NodeUnavailable
from api_service.caches.fail_open import FailOpenCache
from api_service.caches.node_state import node_state
from api_service.caches.protocol import Replacement, Version
from api_service.caches.serializer import NOT_PLAIN, JSONSerializer, Unreadable, count_unreadable, dumps, loads

P = ParamSpec("P")
T = TypeVar("T")

_MISSING = object()
_RETRY_INTERVAL = 5.0
_DEFAULTS: dict[str, Any] = {
    "serializer": JSONSerializer,
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    # redis-py's own retries would multiply the time-out of a dead node
    "retry": Retry(NoBackoff(), 0),
}
_NOT_FOR_THE_DRIVER = {"MAX_ENTRIES", "CULL_FREQUENCY", "retry_interval"}
# what Redis answers about one key, on a node that is in good health
_ABOUT_THE_KEY = re.compile("WRONGTYPE|not an integer|would overflow")
# INCRBY alone would create a missing key that never expires
_COUNT_IF_THERE = (
    "if redis.call('EXISTS', KEYS[1]) == 0 then return false end return redis.call('INCRBY', KEYS[1], ARGV[1])"
)
# A value carries its birth or its owner's token: the same bytes are the same state
_REPLACE_IF_SAME = (
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
    "if tonumber(ARGV[3]) <= 0 then redis.call('DEL', KEYS[1]) "
    "else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end "
    "return 1"
)

_pools: dict[tuple[str, str], ConnectionPool] = {}
_pools_lock = Lock()


class _SharedPoolClient(RedisCacheClient):
    """One pool per process: Django's own client is one per thread and cache, each with a pool."""

    _servers: list[str]
    _pool_class: type[ConnectionPool]
    _pool_options: dict[str, Any]

    def _get_connection_pool(self, write: bool) -> ConnectionPool:  # noqa: ARG002
        url: str = self._servers[0]
        with _pools_lock:
            key = (url, repr(sorted(self._pool_options.items(), key=str)))
            if key not in _pools:
                _pools[key] = self._pool_class.from_url(url, **self._pool_options)
            return _pools[key]


class RedisJSONCache(FailOpenCache, RedisCache):
    """One Redis server. Same values, strict methods and node reports as `MemcachedCache`."""

    _servers: list[str]

    def __init__(self, server: str | list[str], params: dict[str, Any]) -> None:
        options = dict(params.get("OPTIONS") or {})
        interval = float(options.get("retry_interval", _RETRY_INTERVAL))
        kept = {name: value for name, value in options.items() if name not in _NOT_FOR_THE_DRIVER}
        super().__init__(server, {**params, "OPTIONS": {**_DEFAULTS, **kept}})
        self._class = _SharedPoolClient
        if len(self._servers) != 1:
            raise ImproperlyConfigured("RedisJSONCache works with exactly one server in LOCATION")
        self._state = node_state(_safe_name(self._servers[0]), interval)

    def get_backend_timeout(self, timeout: float | None = DEFAULT_TIMEOUT) -> int | None:
        expire = super().get_backend_timeout(timeout)
        return None if expire is None else int(expire)

    @cached_property
    def _redis(self) -> Redis:
        return self._cache.get_client(write=True)

    def _call(self, operation: Callable[Concatenate[Redis, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        state = self._state
        if state.troubled:
            state.admit(monotonic())
        try:
            result = operation(self._redis, *args, **kwargs)
        except (RedisError, OSError) as error:
            if _is_outage(error):
                raise state.failed(error, monotonic()) from error
            raise
        if state.troubled:
            state.succeeded(monotonic())
        return result

    # -- strict methods

    def fetch(self, key: str, default: Any = None, version: int | None = None) -> Any:
        wire_key = self.make_and_validate_key(key, version)
        try:
            data = self._call(Redis.get, wire_key)
        except ResponseError:
            count_unreadable(NOT_PLAIN)
            return default
        return default if data is None else _decode(data, default)

    def store(self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return not self._store({key: value}, timeout, version)

    def add_strict(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        wire_key = self.make_and_validate_key(key, version)
        expire = self.get_backend_timeout(timeout)
        try:
            added = self._call(Redis.set, wire_key, dumps(value, key), ex=expire or None, nx=True)
        except OutOfMemoryError:
            return False
        if added and expire == 0:
            # "gone at once" to Django, an error as a lifetime to Redis
            self._call(Redis.delete, wire_key)
        return bool(added)

    def remove(self, key: str, version: int | None = None) -> bool:
        return bool(self._call(Redis.delete, self.make_and_validate_key(key, version)))

    def touch_strict(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        wire_key = self.make_and_validate_key(key, version)
        expire = self.get_backend_timeout(timeout)
        if expire is None:
            return bool(self._call(Redis.persist, wire_key) or self._call(Redis.exists, wire_key))
        return bool(self._call(Redis.expire, wire_key, expire))

    def incr_strict(self, key: str, delta: int = 1, version: int | None = None) -> int:
        wire_key = self.make_and_validate_key(key, version)
        try:
            value = self._call(Redis.eval, _COUNT_IF_THERE, 1, wire_key, str(delta))
        except ResponseError as error:
            raise TypeError(f"Key {key!r} does not hold a whole number") from error
        if value is None:
            raise ValueError(f"Key {key!r} not found")
        return int(value)

    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        if not names:
            return {}, []
        try:
            answers = self._call(Redis.mget, list(names))
        except NodeUnavailable:
            return {}, list(names.values())
        pairs = zip(names.values(), answers, strict=True)
        found = {key: _decode(data, _MISSING) for key, data in pairs if data is not None}
        return {key: value for key, value in found.items() if value is not _MISSING}, []

    def store_many(
        self, mapping: Mapping[str, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        try:
            return self._store(mapping, timeout, version)
        except NodeUnavailable:
            return list(mapping)

    def _store(self, mapping: Mapping[str, Any], timeout: float | None, version: int | None) -> list[str]:
        """The keys that Redis refused for want of memory; their old values are removed."""
        data = {self.make_and_validate_key(key, version): dumps(value, key) for key, value in mapping.items()}
        stored = self._call(_set_all, data, self.get_backend_timeout(timeout))
        refused = [name for name, done in zip(data, stored, strict=True) if not done]
        if refused:
            self._call(Redis.delete, *refused)
        return [key for key, done in zip(mapping, stored, strict=True) if not done]

    def claim_many(
        self, keys: Iterable[str], value: Any, timeout: float, version: int | None = None
    ) -> tuple[dict[str, Version], list[str]]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        data = dumps(value, "(claim)")
        try:
            added = self._call(_add_all, names, data, max(1, int(timeout)))
        except NodeUnavailable:
            return {}, list(names.values())
        return {key: data for key, done in zip(names.values(), added, strict=True) if done}, []

    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        try:
            answers = self._call(Redis.mget, list(names)) if names else []
        except NodeUnavailable:
            return {}, list(names.values())
        pairs = zip(names.values(), answers, strict=True)
        return {key: (_decode(data, None), _bytes(data)) for key, data in pairs if data is not None}, []

    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]:
        data = {key: dumps(item.value, key) for key, item in items.items()}
        writes = [
            (self.make_and_validate_key(key, version), item.version, data[key], int(item.timeout))
            for key, item in items.items()
        ]
        try:
            replaced = self._call(_replace_all, writes)
        except NodeUnavailable:
            return {}
        return {key: data[key] for key, done in zip(items, replaced, strict=True) if done}

    def remove_many(self, keys: Iterable[str], version: int | None = None) -> list[str]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        try:
            if names:
                self._call(Redis.delete, *names)
        except NodeUnavailable:
            return list(names.values())
        return []

    def clear_nodes(self) -> list[str]:
        try:
            self._call(Redis.flushdb)
        except NodeUnavailable as error:
            return [error.node]
        return []

    def retry_now(self) -> None:
        self._state.retry_now()


def _add_all(client: Redis, names: Iterable[str], data: bytes, expire: int) -> list[bool]:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.set(name, data, ex=expire, nx=True)
    return _taken(pipeline.execute(raise_on_error=False))


def _replace_all(client: Redis, writes: Iterable[tuple[str, Version, bytes, int]]) -> list[bool]:
    pipeline = client.pipeline(transaction=False)
    for name, version, data, expire in writes:
        pipeline.eval(_REPLACE_IF_SAME, 1, name, version, data, expire)
    return _taken(pipeline.execute(raise_on_error=False))


def _taken(answers: Iterable[Any]) -> list[bool]:
    return [not isinstance(answer, Exception) and bool(answer) for answer in _checked(answers)]


def _set_all(client: Redis, data: Mapping[str, bytes], expire: int | None) -> list[bool]:
    if not data:
        return []
    pipeline = client.pipeline(transaction=False)
    for name, value in data.items():
        if expire == 0:
            pipeline.delete(name)
        else:
            pipeline.set(name, value, ex=expire)
    answers = _checked(pipeline.execute(raise_on_error=False))
    return [not isinstance(answer, Exception) for answer in answers]


def _checked(answers: Iterable[Any]) -> Iterable[Any]:
    """The answers of a pipeline; only want of memory is one write's own failure, anything else is raised."""
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, OutOfMemoryError):
            raise answer
        yield answer


def _decode(data: bytes | str, default: Any) -> Any:
    try:
        return loads(data)
    except Unreadable as error:
        count_unreadable(str(error))
        return default


def _bytes(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


def _is_outage(error: Exception) -> bool:
    if isinstance(error, OutOfMemoryError):
        return False
    return not (isinstance(error, ResponseError) and _ABOUT_THE_KEY.search(str(error)))


def _safe_name(url: str) -> str:
    """`host:port/db`: the URL without its user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix:{parts.path}"
    return f"{parts.hostname}:{parts.port or 6379}/{parts.path.strip('/') or 0}"
