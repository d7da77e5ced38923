"""Django's cache on Memcached without lost answers.

Subclass of `BaseMemcachedCache`, for its key rules and time-out conversion, and not of
`PyMemcacheCache`: that one is tied to pymemcache's HashClient, which hides a dead node and hands
its keys to the survivors.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pymemcache
from django.core.cache.backends.base import DEFAULT_TIMEOUT, InvalidCacheKey
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.exceptions import ImproperlyConfigured
from pymemcache.exceptions import MemcacheClientError

from api_service.caches.connections import ConnectionOptions, Node
from api_service.caches.errors import NodeUnavailable
from api_service.caches.fail_open import FailOpenCache
from api_service.caches.placement import Placement, parse_servers
from api_service.caches.protocol import Replacement, Version
from api_service.caches.serializer import JSON_FLAG, UNKNOWN_FLAG, Unreadable, count_unreadable, dumps, loads
from api_service.caches.wire import NodeClient, Stored, Write

_FLAG = b"%d" % JSON_FLAG
_MISSING = object()
_MAX_KEY_BYTES = 250
# read by Django's BaseCache for every backend, without effect on this one
_BASE_OPTIONS = {"MAX_ENTRIES", "CULL_FREQUENCY"}


class MemcachedCache(FailOpenCache, BaseMemcachedCache):
    """JSON values on one or more memcached nodes.

    A connection per node and thread outlives the request: Django closes them at the end of each,
    which makes a request's first read several times dearer. `disconnect()` closes this thread's.

    A node that dies keeps its keys: they are outages until it returns. Moving them to the other
    nodes would refill those with answers that stay behind, and would turn stale unseen, when the
    dead node comes back with what it still has.
    """

    def __init__(self, server: str | Sequence[str], params: dict[str, Any]) -> None:
        super().__init__(server, params, library=pymemcache, value_not_found_exception=KeyError)
        options = connection_options(params.get("OPTIONS") or {})
        servers = parse_servers(server)
        self.placement = Placement(list(servers))
        self._nodes = {name: Node(name, address, options) for name, address in servers.items()}
        self._only = next(iter(self._nodes.values())) if len(servers) == 1 else None

    # -- keys

    def validate_key(self, key: str) -> None:
        """Django's rules, and the protocol's: bytes are counted, and an empty key is none."""
        if key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= 250:
            return
        super().validate_key(key)
        if not 0 < len(key.encode()) <= _MAX_KEY_BYTES:
            raise InvalidCacheKey(f"Cache key is empty or longer than 250 bytes: {key!r}")

    def _locate(self, key: Any, version: int | None) -> tuple[Node, bytes]:
        wire_key = self.make_and_validate_key(key, version)
        node = self._only or self._nodes[self.placement.node_for(wire_key)]
        return node, wire_key.encode()

    def _expire(self, timeout: float | None) -> int:
        """Memcached's own form: 0 for never, below 0 for gone at once, a Unix time beyond 30 days."""
        return int(self.get_backend_timeout(timeout) or 0)

    def _by_node(self, keys: Iterable[Any], version: int | None) -> dict[Node, dict[bytes, Any]]:
        """Node -> wire key -> the caller's key."""
        keys = list(keys)
        wire_keys = self._make_and_validate_keys(keys, version)
        if self._only:
            return {self._only: dict(zip(map(str.encode, wire_keys), keys, strict=True))} if keys else {}
        located: defaultdict[Node, dict[bytes, Any]] = defaultdict(dict)
        for key, wire_key in zip(keys, wire_keys, strict=True):
            located[self._nodes[self.placement.node_for(wire_key)]][wire_key.encode()] = key
        return located

    def _make_and_validate_keys(self, keys: Sequence[Any], version: int | None) -> list[str]:
        """As one by one, but plain keys are looked at together."""
        made = [self.make_key(key, version) for key in keys]
        text = "".join(made)
        if not (text.isascii() and text.isprintable() and " " not in text and _have_room(made)):
            for wire_key in made:
                self.validate_key(wire_key)
        return made

    # -- strict methods

    def fetch(self, key: str, default: Any = None, version: int | None = None) -> Any:
        node, wire_key = self._locate(key, version)
        stored = node.call(NodeClient.fetch_one, wire_key)
        return default if stored is None else _decode(stored, default)

    def store(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        node, wire_key = self._locate(key, version)
        items = [(wire_key, dumps(value, key))]
        return node.call(NodeClient.set_items, items, JSON_FLAG, self._expire(timeout))[0]

    def add_strict(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        node, wire_key = self._locate(key, version)
        items = [(wire_key, dumps(value, key))]
        expire = self._expire(timeout)
        return node.call(NodeClient.store_items, b"add", items, JSON_FLAG, expire)[0]

    def remove(self, key: str, version: int | None = None) -> bool:
        node, wire_key = self._locate(key, version)
        return bool(node.call(NodeClient.delete, wire_key))

    def touch_strict(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        node, wire_key = self._locate(key, version)
        return bool(node.call(NodeClient.touch, wire_key, self._expire(timeout)))

    def incr_strict(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Memcached counts from 0 to 2**64: below it stays at 0, above it starts again."""
        node, wire_key = self._locate(key, version)
        count = NodeClient.incr if delta >= 0 else NodeClient.decr
        try:
            value = node.call(count, wire_key, abs(delta))
        except MemcacheClientError as error:
            raise TypeError(f"Key {key!r} does not hold a whole number from 0") from error
        if value is None:
            raise ValueError(f"Key {key!r} not found")
        return int(value)

    def fetch_many(self, keys: Iterable[str], version: int | None = None) -> tuple[dict[str, Any], list[str]]:
        found: dict[str, Any] = {}
        unreachable: list[str] = []
        for node, names in self._by_node(keys, version).items():
            try:
                stored = node.call(NodeClient.fetch_many, list(names))
            except NodeUnavailable:
                unreachable += names.values()
                continue
            for wire_key, item in stored.items():
                value = _decode(item, _MISSING)
                if value is not _MISSING:
                    found[names[wire_key]] = value
        return found, unreachable

    def store_many(
        self,
        mapping: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        data = {key: dumps(value, key) for key, value in mapping.items()}
        expire = self._expire(timeout)
        lost: list[str] = []
        for node, names in self._by_node(data, version).items():
            items = [(wire_key, data[key]) for wire_key, key in names.items()]
            try:
                stored = node.call(NodeClient.set_items, items, JSON_FLAG, expire)
            except NodeUnavailable:
                stored = [False] * len(items)
            lost += [key for key, done in zip(names.values(), stored, strict=True) if not done]
        return lost

    def claim_many(
        self, keys: Iterable[str], value: Any, timeout: float, version: int | None = None
    ) -> tuple[dict[str, Version], list[str]]:
        claimed: dict[str, Version] = {}
        unreachable: list[str] = []
        data, expire = dumps(value, "(claim)"), self._expire(timeout)
        for node, names in self._by_node(keys, version).items():
            writes = [Write(wire_key, data, expire) for wire_key in names]
            try:
                versions = node.call(NodeClient.write_versions, writes)
            except NodeUnavailable:
                unreachable += names.values()
                continue
            claimed |= {names[wire_key]: number for wire_key, number in versions.items()}
        return claimed, unreachable

    def fetch_versions(
        self, keys: Iterable[str], version: int | None = None
    ) -> tuple[dict[str, tuple[Any, Version]], list[str]]:
        found: dict[str, tuple[Any, Version]] = {}
        unreachable: list[str] = []
        for node, names in self._by_node(keys, version).items():
            try:
                stored = node.call(NodeClient.fetch_versions, list(names))
            except NodeUnavailable:
                unreachable += names.values()
                continue
            found |= {names[wire_key]: (_decode(item, None), number) for wire_key, (item, number) in stored.items()}
        return found, unreachable

    def replace_many(self, items: Mapping[str, Replacement], version: int | None = None) -> dict[str, Version]:
        replaced: dict[str, Version] = {}
        for node, names in self._by_node(items, version).items():
            writes = [self._write(wire_key, key, items[key]) for wire_key, key in names.items()]
            try:
                versions = node.call(NodeClient.write_versions, writes)
            except NodeUnavailable:
                continue
            replaced |= {names[wire_key]: number for wire_key, number in versions.items()}
        return replaced

    def _write(self, wire_key: bytes, key: str, item: Replacement) -> Write:
        return Write(wire_key, dumps(item.value, key), self._expire(item.timeout), int(item.version))

    def remove_many(self, keys: Iterable[str], version: int | None = None) -> list[str]:
        unreachable: list[str] = []
        for node, names in self._by_node(keys, version).items():
            try:
                node.call(NodeClient.delete_many, list(names))
            except NodeUnavailable:
                unreachable += names.values()
        return unreachable

    def clear_nodes(self) -> list[str]:
        unreachable: list[str] = []
        for node in self._nodes.values():
            try:
                node.call(NodeClient.flush_all)
            except NodeUnavailable:
                unreachable.append(node.name)
        return unreachable

    # -- nodes and connections

    def retry_now(self) -> None:
        for node in self._nodes.values():
            node.state.retry_now()

    def close(self, **_kwargs: Any) -> None:
        """Django calls this after every request: the connections stay."""

    def disconnect(self) -> None:
        """Close this thread's connections; the next call opens them again."""
        for node in self._nodes.values():
            node.disconnect()


def _have_room(keys: Sequence[str]) -> bool:
    return all(keys) and max(map(len, keys), default=0) <= _MAX_KEY_BYTES


def _decode(stored: Stored, default: Any) -> Any:
    """Never unpickles: what is not our JSON is a miss, counted and logged."""
    flags, data = stored
    if flags != _FLAG:
        count_unreadable(UNKNOWN_FLAG)
        return default
    try:
        return loads(data)
    except Unreadable as error:
        count_unreadable(str(error))
        return default


def connection_options(options: Mapping[str, Any]) -> ConnectionOptions:
    """Fails loudly on options that have no effect here, such as pymemcache's `ignore_exc`."""
    known = {field.name for field in fields(ConnectionOptions)}
    unknown = sorted(set(options) - known - _BASE_OPTIONS)
    if unknown:
        raise ImproperlyConfigured(f"MemcachedCache does not know the OPTIONS {unknown}; it has {sorted(known)}")
    return ConnectionOptions(**{name: options[name] for name in known & set(options)})
