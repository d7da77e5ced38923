"""APICacheService: the one door to the cache.

Nothing here raises into the caller because the cache is down. A read that the cache could not answer is an
outage, not a miss: `read` keeps the two apart, `get(..., on_outage=…)` does for those who ask.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from threading import Lock
from time import time
from typing import Any, Final, cast

from django.conf import settings
from django.core.cache import caches

from api_service.caches.errors import CacheOutage
from api_service.caches.protocol import StrictCache
from api_service.services import clear_nodes, clear_plan, health, inventory, keys, node_checks
from api_service.services.backends import Adapter, adapter_for, adapter_path
from api_service.services.envelope import unwrap, wrap
from api_service.services.outcomes import MISS, OUTAGE, CacheRead, Outcome
from api_service.services.ruc import is_eleven_digits, is_valid

logger = logging.getLogger(__name__)

MIGO: Final = "migo"
RUC_KEY: Final = "migo:ruc_"
INVALID_KEY: Final = "migo:invalid_"
TIPO_CAMBIO_KEY: Final = "migo:tipo_cambio_"
NEWEST: Final = "latest"

_UNSET: Final = object()
_ABSENT: Final = object()

_verify_lock = Lock()
_verified = False


class APICacheService:
    """Cache of API answers on Memcached, Redis or local memory, as `CACHE_URL` says.

    Thread-safe and cheap to construct: no query, no write; the connection is verified once per process, at the
    first use. Values are JSON and carry their birth time. Life times are settings: `CACHE_TTL_DEFAULT` (900 s),
    `CACHE_TTL_RUC` (3600), `CACHE_TTL_INVALID_RUC` (86400), `CACHE_TTL_RATE_LIMIT` (60).
    """

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        adapter_path(alias)
        backend = caches[alias]
        # Our backends may be shared by threads: asking Django for the thread's own costs a tenth of a read
        self.cache = cast(StrictCache, backend)
        self.wire_prefix = backend.make_key("")

    @cached_property
    def adapter(self) -> Adapter:
        """The way to each node by itself. Look-ups need none, and to build it costs a third of a read."""
        return adapter_for(self.alias)

    @property
    def backend(self) -> str:
        """`"memcached"`, `"redis"` or `"local_memory"`."""
        return self.adapter.name

    # --- Any key --------------------------------------------------------------------------------------

    def read(self, key: str) -> CacheRead:
        """The value with its birth time and end of life, stale when that is over, or MISS, or OUTAGE."""
        return self._read(self._normalize_key(key))

    def get(self, key: str, default: Any = None, *, on_outage: Any = _UNSET) -> Any:
        """The value, else `default`; `on_outage`, when given, is returned instead if the cache could not be asked."""
        read = self._read(self._normalize_key(key))
        if read.outcome is Outcome.HIT:
            return read.value
        return on_outage if read.outcome is Outcome.OUTAGE and on_outage is not _UNSET else default

    def set(
        self, key: str, value: Any, ttl: float | None = None, *, born_at: float | None = None, stale: float = 0.0
    ) -> bool:
        """Store a JSON value for `ttl` seconds (the default life time without one); False, and a log line, if not.

        `stale`: seconds past its end for which `read` still has it, as stale. `get` has what is inside its life only.
        """
        return self._store(self._normalize_key(key), value, self._ttl(ttl), born_at, stale)

    def delete(self, key: str) -> bool:
        """True when there was something to delete."""
        try:
            return self.cache.remove(self._normalize_key(key))
        except CacheOutage as error:
            logger.warning("not deleted, %s", error)
            return False

    def clear(self) -> bool:
        """Empty every node, other applications' keys included. Prefer `clear_service_cache`."""
        logger.warning("clearing the whole cache: every key on every node")
        return inventory.flush(self.adapter)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """What the cache has of these, one round trip per node."""
        return {key: read.value for key, read in self.read_many(keys).items() if read.outcome is Outcome.HIT}

    def read_many(self, keys: Iterable[str]) -> dict[str, CacheRead]:
        """`read` for many keys; every key has an entry."""
        wanted = list(dict.fromkeys(keys))
        names = self._normalize_keys(wanted)
        if not _verified:
            self._verify_once()
        found, unreachable = self.cache.fetch_many(names)
        lost, now = set(unreachable), time()
        return {
            key: unwrap(found[name], now) if name in found else OUTAGE if name in lost else MISS
            for key, name in zip(wanted, names, strict=True)
        }

    def set_many(self, mapping: Mapping[str, Any], ttl: float | None = None) -> list[str]:
        """Store many JSON values, one round trip per node; the keys that were not stored."""
        life, now = self._ttl(ttl), time()
        names = {self._normalize_key(key): key for key in mapping}
        wrapped = {name: wrap(mapping[key], now, life) for name, key in names.items()}
        if not _verified:
            self._verify_once()
        try:
            failed = self.cache.store_many(wrapped, life)
        except TypeError:
            # One value is not JSON: store the others one by one
            failed = [name for name, key in names.items() if not self._store(name, mapping[key], life)]
        if failed:
            logger.warning("%d of %d values were not stored", len(failed), len(names))
        return [names[name] for name in failed]

    def _normalize_key(self, key: str) -> str:
        return keys.normalize(key, len(self.wire_prefix))

    def _normalize_keys(self, names: Sequence[str]) -> Sequence[str]:
        return keys.normalize_all(names, len(self.wire_prefix))

    def _ttl(self, ttl: float | None) -> float:
        return settings.CACHE_TTL_DEFAULT if ttl is None else ttl

    def _read(self, name: str) -> CacheRead:
        if not _verified:
            self._verify_once()
        try:
            stored = self.cache.fetch(name, _ABSENT)
        except CacheOutage:
            return OUTAGE
        return MISS if stored is _ABSENT else unwrap(stored, time())

    def _store(self, name: str, value: Any, ttl: float, born_at: float | None = None, stale: float = 0.0) -> bool:
        if not _verified:
            self._verify_once()
        try:
            if stored := self.cache.store(name, wrap(value, time(), ttl, born_at), ttl + stale):
                return stored
            logger.warning("not stored: the server refused %s", name)
        except CacheOutage as error:
            logger.warning("not stored: %s", error)
        except TypeError as error:
            logger.error("not stored: %s", error)  # noqa: TRY400 - the text names the key; a traceback adds nothing
        return False

    # --- By service ------------------------------------------------------------------------------------

    def get_service_cache_key(self, service_name: str, key: str) -> str:
        """`"migo", "ruc_20100038146"` → `"migo:ruc_20100038146"`; ValueError for a name that cannot be a service's."""
        return keys.service_key(service_name, key)

    def clear_service_cache(self, service_name: str) -> dict[str, int]:
        """Remove exactly that service's keys from every node: `{"found", "removed", "failed", "nodes_failed"}`."""
        return self._clear(service_name)

    def _clear(self, service: str, kind: str = "") -> dict[str, int]:
        wanted = clear_plan.selection(service, kind)
        return clear_nodes.clear(self.adapter, self.wire_prefix, wanted)

    # --- RUCs ------------------------------------------------------------------------------------------

    def set_ruc(
        self, ruc: str, data: Mapping[str, Any], ttl: float | None = None, *, born_at: float | None = None
    ) -> bool:
        """Keep a RUC's record for `ttl` seconds (1 h); False for a RUC that cannot exist."""
        if not is_valid(ruc):
            logger.warning("not stored: not a valid RUC (11 digits with check digit)")
            return False
        return self._store(RUC_KEY + ruc, data, settings.CACHE_TTL_RUC if ttl is None else ttl, born_at)

    def get_ruc(self, ruc: str) -> Any:
        """The record, or None. `read_ruc` tells a miss from an outage."""
        read = self.read_ruc(ruc)
        return read.value if read.outcome is Outcome.HIT else None

    def read_ruc(self, ruc: str) -> CacheRead:
        return self._read(RUC_KEY + ruc) if is_valid(ruc) else MISS

    def delete_ruc(self, ruc: str) -> bool:
        return is_valid(ruc) and self.delete(RUC_KEY + ruc)

    # --- Invalid RUCs: one key each ----------------------------------------------------------------------

    def add_invalid_ruc(self, ruc: str, reason: str = "NO_EXISTE_SUNAT", ttl_hours: float | None = None) -> bool:
        """Remember for `ttl_hours` (24) that this RUC has no record, and drop the record that may still be there.

        Any 11 digits; False for anything else.
        """
        if not is_eleven_digits(ruc):
            logger.warning("not stored: an invalid RUC is listed by its 11 digits")
            return False
        ttl = settings.CACHE_TTL_INVALID_RUC if ttl_hours is None else ttl_hours * 3600
        now = datetime.now(UTC)
        info = {
            "reason": reason,
            "added_at": now.isoformat(),
            "expires_at": (now + timedelta(seconds=ttl)).isoformat(),
        }
        if stored := self._store(INVALID_KEY + ruc, info, ttl):
            self.delete_ruc(ruc)
        return stored

    def is_ruc_invalid(self, ruc: str) -> bool:
        return self.get_invalid_ruc_info(ruc) is not None

    def get_invalid_ruc_info(self, ruc: str) -> dict[str, Any] | None:
        """`{"reason", "added_at", "expires_at"}` (times ISO 8601), or None."""
        read = self._read(INVALID_KEY + ruc) if is_eleven_digits(ruc) else MISS
        return read.value if read.outcome is Outcome.HIT else None

    def get_all_invalid_rucs(self) -> dict[str, dict[str, Any]]:
        """RUC → info, from the live inventory of every node. A node that cannot be listed is logged and left out."""
        names, _failed = inventory.names(self.adapter, self.wire_prefix + INVALID_KEY)
        start = len(self.wire_prefix)
        infos = self.get_many(name[start:] for name in names)
        return {key.removeprefix(INVALID_KEY): info for key, info in infos.items()}

    def remove_invalid_ruc(self, ruc: str) -> bool:
        return is_eleven_digits(ruc) and self.delete(INVALID_KEY + ruc)

    def clear_invalid_rucs(self) -> dict[str, int]:
        """Forget every invalid RUC: `{"found", "removed", "failed", "nodes_failed"}`."""
        return self._clear(MIGO, "invalid")

    @staticmethod
    def _breakdown_invalid_rucs_by_reason(invalid_rucs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
        return health.breakdown_by_reason(invalid_rucs)

    # --- Exchange rates ----------------------------------------------------------------------------------

    def get_tipo_cambio(self, fecha: str | date | None = None) -> Any:
        """The rate of a day, or the newest one: a record with decimal strings, or None."""
        return self.get(_tipo_cambio_key(fecha))

    def set_tipo_cambio(
        self, data: Mapping[str, Any], fecha: str | date | None = None, ttl: float | None = None
    ) -> bool:
        """Keep a rate; decimals are stored as strings, never as floats."""
        exact = {key: str(value) if isinstance(value, Decimal | float) else value for key, value in data.items()}
        return self.set(_tipo_cambio_key(fecha), exact, settings.CACHE_TTL_RUC if ttl is None else ttl)

    # --- Health and statistics ---------------------------------------------------------------------------

    def cleanup_expired(self) -> dict[str, int]:
        """Drop what is past its end and still held: `{"invalid_rucs", "rucs", "other", "nodes_failed"}`.

        Memcached and Redis drop expired values themselves; what is found there outlived its own `expires_at`,
        after a clock was set back.
        """
        return inventory.cleanup(self)

    def get_health(self) -> dict[str, Any]:
        """`timestamp`, `status`, `checks` (short texts), `nodes` (facts of each), `findings`, `unknown`.

        Ends within a few seconds whatever hangs. Rates need the run before and are None here: a stored sample has them.
        """
        return dict(health.check(self).as_json())

    def get_cache_stats(self) -> dict[str, Any]:
        """`timestamp`, `status`, `backend`, `invalid_rucs`, `timeouts`, `services`, `hit_ratio`, `nodes`, `findings`.

        Lists every node's keys: seconds for millions of them. For a page, read what `track_keys` stored.
        """
        return dict(health.stats(self))

    def _verify_cache_connection(self) -> bool:
        """set → get → delete on every node; logged, never raised."""
        facts = node_checks.probe_nodes(self.adapter)
        for node in facts:
            if node.reachable:
                logger.info("cache %s: node %s answers (%s ms)", self.backend, node.node, node.latency_ms)
            else:
                # A warning: the monitor alerts; an error would be a second Sentry event for the same trouble
                logger.warning(
                    "cache %s: node %s does not answer (%s): look-ups go on without it. Is it running?",
                    self.backend,
                    node.node,
                    node.error,
                )
        return all(node.reachable for node in facts)

    def _verify_once(self) -> None:
        global _verified
        with _verify_lock:
            first, _verified = not _verified, True
        if first:
            self._verify_cache_connection()


def _tipo_cambio_key(fecha: str | date | None) -> str:
    return TIPO_CAMBIO_KEY + (fecha.isoformat() if isinstance(fecha, date) else fecha or NEWEST)
