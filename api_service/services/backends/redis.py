"""Redis: probe and INFO, inventory by SCAN with pipelined life time and size, values, removal."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from time import time
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from api_service.caches.serializer import Unreadable, loads
from api_service.sentences import sentence
from api_service.services.backends.base import (
    LISTING_TOO_LONG,
    LOCK_PREFIX,
    PROBE_TIMEOUT,
    STALL_SECONDS,
    Deadline,
    Entry,
    Found,
    InventoryError,
    Item,
    Latency,
    RoundTripFailed,
    Written,
    error_text,
    timed,
)
from api_service.services.node_facts import NodeFacts

SCAN_COUNT = 1000
REMEMBERED = 50_000
WRITE_BYTES = 1_000_000
GONE = -2
NEVER = -1

_ERRORS = (OSError, RedisError)


class _Pipe:
    def __init__(self, client: Redis) -> None:
        self._client = client

    def set(self, key: str, value: bytes) -> object:
        return self._client.set(key, value, ex=30)

    def get(self, key: str) -> object:
        return self._client.get(key)

    def delete(self, key: str) -> object:
        return self._client.delete(key)


class RedisAdapter:
    name = "redis"
    # PEXPIRETIME or PTTL of each key
    scan_counts = True
    # It has no compare and set: a script reads before it writes
    replace_counts = True

    def __init__(self, alias: str, config: Mapping[str, Any] | None = None) -> None:
        config = settings.CACHES[alias] if config is None else config
        location = config["LOCATION"]
        urls = [location] if isinstance(location, str) else list(location)
        options = config.get("OPTIONS", {})
        # The first is the primary: Django reads from the others, which hold the same keys
        self._urls = {_name(url): url for url in urls[:1]}
        self._timeouts = {
            "socket_timeout": float(options.get("socket_timeout", 0.5)),
            "socket_connect_timeout": float(options.get("socket_connect_timeout", 0.5)),
        }

    def nodes(self) -> Sequence[str]:
        return tuple(self._urls)

    def node_for(self, _wire_key: str) -> str:
        return next(iter(self._urls))

    def probe(self, node: str, round_trips: int = 1) -> NodeFacts:
        quick = {name: min(seconds, PROBE_TIMEOUT) for name, seconds in self._timeouts.items()}
        with closing(self._client(node, **quick)) as client:
            try:
                latency = timed(_Pipe(client), round_trips)
                return _with_statistics(client, node, latency)
            except (*_ERRORS, RoundTripFailed) as error:
                return NodeFacts(node, reachable=False, error=error_text(error))

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        with closing(self._client(node)) as client:
            keys = _unique(chain.from_iterable(_steps(client, node, prefix, deadline)))
            try:
                tells_end = _tells_end(client)
                while batch := list(islice(keys, SCAN_COUNT)):
                    yield from _entries(client, batch, tells_end=tells_end)
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def keys(self, node: str, prefix: str, deadline: Deadline) -> Generator[str]:
        with closing(self._client(node)) as client:
            try:
                for key in _unique(chain.from_iterable(_steps(client, node, prefix, deadline))):
                    if LOCK_PREFIX not in (name := key.decode("utf-8", "replace")):
                        yield name
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def remove(self, node: str, keys: Iterable[str]) -> int:
        removed, rest = 0, iter(keys)
        with self._bulk(node) as client:
            while batch := list(islice(rest, SCAN_COUNT)):
                removed += int(client.unlink(*batch))
        return removed

    def read(self, node: str, keys: Iterable[str]) -> Found:
        found, rest = Found(), iter(keys)
        with self._bulk(node) as client:
            while batch := list(islice(rest, SCAN_COUNT)):
                _read(client, batch, found)
        return found

    def write(self, node: str, items: Iterable[Item], *, replace: bool) -> Written:
        written = Written()
        with self._bulk(node) as client:
            for batch in _sized(items):
                _write(client, batch, written, replace=replace)
        return written

    def drop_expired(self) -> Sequence[str]:
        return ()

    def flush(self, node: str) -> None:
        with self._bulk(node) as client:
            client.flushdb()

    @contextmanager
    def _bulk(self, node: str) -> Iterator[Redis]:
        """A client for a thousand keys at a time, whose errors are InventoryError."""
        patience = max(self._timeouts["socket_timeout"], STALL_SECONDS)
        with closing(self._client(node, socket_timeout=patience)) as client:
            try:
                yield client
            except _ERRORS as error:
                raise InventoryError(node, error_text(error)) from error

    def _client(self, node: str, **timeouts: float) -> Redis:
        # The driver's own retries would make a frozen node cost several time-outs and the pauses between them
        return Redis.from_url(self._urls[node], retry=Retry(NoBackoff(), 0), **{**self._timeouts, **timeouts})


def _name(url: str) -> str:
    """`host:port/db`: what operators see never carries the password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}/{parts.path.lstrip('/') or 0}"


def _escape(prefix: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in prefix)


def _steps(client: Redis, node: str, prefix: str, deadline: Deadline) -> Iterator[list[bytes]]:
    """What each SCAN names, often nothing: the server filters by prefix only after it has walked a thousand keys."""
    cursor, pattern = -1, _escape(prefix) + "*"
    while cursor:
        if not deadline.left():
            raise InventoryError(node, LISTING_TOO_LONG)
        reply = client.scan(max(cursor, 0), match=pattern, count=SCAN_COUNT)
        cursor, keys = cast("tuple[int, list[bytes]]", reply)
        yield keys


def _unique(keys: Iterable[bytes]) -> Iterator[bytes]:
    """SCAN names a key twice when the server shrinks its table meanwhile, soon after the first time.

    Hence only the last REMEMBERED keys and up to as many before them are compared, whatever the server holds. One
    that comes again after more of them is listed twice: a clearing then counts it as found twice, and removed once.
    """
    recent: set[int] = set()
    older: set[int] = set()
    for key in keys:
        if (mark := hash(key)) in recent or mark in older:
            continue
        if len(recent) == REMEMBERED:
            recent, older = set(), recent
        recent.add(mark)
        yield key


def _tells_end(client: Redis) -> bool:
    """PEXPIRETIME came with Redis 7: the end itself, the same at each listing. PTTL tells what is left."""
    version = str(client.info("server").get("redis_version", ""))
    major = version.partition(".")[0]
    return major.isdigit() and int(major) >= 7


def _entries(client: Redis, keys: list[bytes], *, tells_end: bool) -> Iterator[Entry]:
    """A key that went away in the meantime is left out."""
    pipe = client.pipeline(transaction=False)
    for key in keys:
        name = cast(str, key)  # as the driver's types want it; bytes go over the wire as they are
        if tells_end:
            pipe.pexpiretime(name)
        else:
            pipe.pttl(name)
        pipe.memory_usage(key)
    # A refused command (ACL) is an error: an inventory without its keys would look like a cache without them
    replies, now = pipe.execute(), time()
    for key, end, size in zip(keys, replies[::2], replies[1::2], strict=True):
        name = key.decode("utf-8", "replace")
        if end != GONE and size is not None and LOCK_PREFIX not in name:
            yield Entry(name, size, _expires_at(end, None if tells_end else now))


def _expires_at(reply: int, now: float | None) -> float | None:
    """Unix seconds from milliseconds: of the end itself, or of what is left of it `now`, then in whole seconds."""
    if reply == NEVER:
        return None
    return reply / 1000 if now is None else float(round(now + reply / 1000))


def _read(client: Redis, keys: list[str], found: Found) -> None:
    absent = []
    answers = cast("list[bytes | None]", client.mget(keys))
    for key, data in zip(keys, answers, strict=True):
        if data is None:
            absent.append(key)
        elif _is_json(data):
            found.values[key] = data
        else:
            found.foreign.append(key)
    found.hits += len(keys) - len(absent)
    if absent:
        # MGET says the same of a hash or a list as of nothing
        pipe = client.pipeline(transaction=False)
        for key in absent:
            pipe.type(key)
        kinds = zip(absent, pipe.execute(), strict=True)
        others = [key for key, kind in kinds if kind not in {b"none", b"string"}]
        found.foreign += others
        # Both questions are counted
        found.hits += 2 * len(others)
        found.misses += 2 * (len(absent) - len(others))


def _is_json(data: bytes) -> bool:
    """Redis keeps no flag beside a value; Django's own backend leaves pickles."""
    try:
        loads(data)
    except Unreadable:
        return False
    return True


def _sized(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == SCAN_COUNT or size + len(item.data) > WRITE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.data)
    if batch:
        yield batch


def _write(client: Redis, items: list[Item], written: Written, *, replace: bool) -> None:
    now, pipe, sent = time(), client.pipeline(transaction=False), []
    for key, data, expires_at in items:
        # Relative: the clock of the node may be another
        left = None if expires_at is None else int((expires_at - now) * 1000)
        if left is None or left > 0:
            pipe.set(key, data, px=left, nx=not replace)
            sent.append(key)
    for key, reply in zip(sent, pipe.execute(raise_on_error=False), strict=True):
        if reply is True:
            written.stored += 1
        elif reply is None:
            written.existed += 1
        elif isinstance(reply, OutOfMemoryError):
            written.refused[key] = str(reply)[:200]
        else:
            raise reply if isinstance(reply, Exception) else ResponseError(sentence("an unexpected answer"))


def _with_statistics(client: Redis, node: str, latency: Latency) -> NodeFacts:
    """A user that may read and write and not ask INFO (ACL) is served all the same: the node is not down."""
    try:
        return facts_of(node, latency, client.info(), client.dbsize())
    except ResponseError as error:
        return latency.alone(node, error)


def facts_of(node: str, latency: Latency, info: dict[str, Any], items: int) -> NodeFacts:
    clock, uptime = info.get("server_time_usec"), info.get("uptime_in_seconds")
    return NodeFacts(
        node=node,
        reachable=True,
        latency_ms=latency.median,
        latency_worst_ms=latency.worst,
        version=str(info.get("redis_version", "")),
        pid=info.get("process_id"),
        booted_at=clock // 1_000_000 - uptime if clock is not None and uptime is not None else None,
        items=items,
        bytes_used=info.get("used_memory"),
        bytes_limit=info.get("maxmemory") or None,
        evictions=info.get("evicted_keys"),
        hits=info.get("keyspace_hits"),
        misses=info.get("keyspace_misses"),
        connections=info.get("connected_clients"),
        max_connections=info.get("maxclients"),
        rejected_connections=info.get("rejected_connections"),
        # Read or unread: it does not say
        expired_keys=info.get("expired_keys"),
        maxmemory_policy=str(info.get("maxmemory_policy", "")),
        fragmentation=info.get("mem_fragmentation_ratio"),
        role=str(info.get("role", "")),
        link=str(info.get("master_link_status", "")),
    )
