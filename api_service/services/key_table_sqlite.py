"""The key table's staging on SQLite: the listing in the order of its keys, probed against the rows' index.

Staging takes no lock on the database itself; each chunk of changed rows takes the write lock for a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from api_service.services.key_table import LIVES, MORE, NEVER, Comparison, Row

# KiB of pages kept in memory, of the database and of the temporary tables. All goes in the order of the keys: more
# would be no faster
DATABASE_CACHE = 8_000
STAGING_CACHE = 8_000

OPEN = (
    "CREATE TEMPORARY TABLE key_received (key TEXT, service_end, kind_end, size, ends, fetched)",
    # In the order of the keys, and each only once
    """
    CREATE TEMPORARY TABLE key_listing
        (key TEXT PRIMARY KEY, service_end INTEGER, kind_end INTEGER, size INTEGER, ends REAL, fetched INTEGER)
    WITHOUT ROWID
    """,
)
CLOSE = (
    "DROP TABLE IF EXISTS temp.key_received",
    "DROP TABLE IF EXISTS temp.key_listing",
    "DROP TABLE IF EXISTS temp.key_difference",
)

ADD = "INSERT INTO temp.key_received VALUES (%s, %s, %s, %s, %s, %s)"
# Sorted at once: a million keys put one by one into their places cost three times as much
SORT = "INSERT OR IGNORE INTO temp.key_listing SELECT * FROM temp.key_received ORDER BY key"

# What the table cannot hold: Redis takes ends beyond the year 9999, the last that Python knows
CUT_TO_LIMITS = """
UPDATE temp.key_listing SET size = min(size, 2147483647), ends = min(ends, 253402300799)
WHERE size > 2147483647 OR ends > 253402300799
"""

LISTED = """
SELECT substr(key, 1, service_end) AS service, CASE WHEN ends IS NULL THEN %s {lives} ELSE %s END AS life,
    count(*), sum(size)
FROM temp.key_listing GROUP BY service, life
"""

MISSING = """
CREATE TEMPORARY TABLE key_difference AS
SELECT
    known.id, known.key, NULL AS service_end, NULL AS kind_end, known.service, known.state AS state_before,
    CASE
        WHEN NOT %(complete)s THEN 'unknown'
        WHEN known.expires_at <= %(ended)s THEN 'expired'
        ELSE 'removed'
    END AS state,
    known.size, known.expires_at, known.fetched,
    known.fetched IS NOT 1 AND (known.last_read_at IS NULL OR known.last_read_at < known.created_at) AS unread
FROM api_service_trackedkey AS known
WHERE known.node = %(node)s AND (known.state = 'active' OR known.state = 'unknown' AND %(complete)s)
    AND NOT EXISTS (SELECT 1 FROM temp.key_listing AS listed WHERE listed.key = known.key)
"""
# Rows that exist come first, then those to be made: in the order of their keys, which is that of the index.
# The end in Django's form, without a fraction where it is 0; 2440587.5 is the Julian day of the Unix epoch
CHANGED_AND_NEW = """
INSERT INTO temp.key_difference
SELECT
    known.id, listed.key, listed.service_end, listed.kind_end,
    coalesce(known.service, substr(listed.key, 1, listed.service_end)), known.state,
    'active', listed.size,
    CASE WHEN listed.ends = CAST(listed.ends AS INTEGER) THEN datetime(listed.ends, 'unixepoch')
        ELSE strftime('%%Y-%%m-%%d %%H:%%M:%%f', listed.ends, 'unixepoch') END, listed.fetched, 0
FROM temp.key_listing AS listed
LEFT JOIN api_service_trackedkey AS known ON known.node = %(node)s AND known.key = listed.key
WHERE known.id IS NULL
    OR known.state <> 'active' OR known.size <> listed.size OR known.fetched IS NOT listed.fetched
    OR (known.expires_at IS NULL) <> (listed.ends IS NULL)
    OR abs((julianday(known.expires_at) - 2440587.5) * 86400.0 - listed.ends) > 0.5
ORDER BY known.id IS NULL, listed.key
"""
FOUND = "SELECT count(id), count(*) - count(id) FROM temp.key_difference"

DIFFERING = """
SELECT
    service,
    count(CASE WHEN state = 'active' AND (state_before IS NULL OR state_before IN ('expired', 'removed')) THEN 1 END),
    count(CASE WHEN state = 'removed' THEN 1 END),
    count(CASE WHEN state = 'expired' THEN 1 END),
    count(CASE WHEN state = 'expired' AND unread THEN 1 END)
FROM temp.key_difference GROUP BY service
"""

UPDATE = """
UPDATE api_service_trackedkey AS known SET
    state = difference.state, size = difference.size, expires_at = difference.expires_at,
    fetched = difference.fetched,
    seen_at = CASE WHEN difference.state = 'unknown' THEN known.seen_at ELSE %(now)s END
FROM temp.key_difference AS difference
WHERE known.id = difference.id AND difference.rowid BETWEEN %(first)s AND %(last)s
"""
INSERT = """
INSERT INTO api_service_trackedkey
    (key, service, kind, identifier, node, size, state, expires_at, created_at, seen_at, reads, fetched)
SELECT
    key, service,
    CASE WHEN kind_end < 0 THEN 'other' ELSE substr(key, service_end + 2, min(kind_end - service_end - 1, 50)) END,
    substr(key, CASE WHEN kind_end < 0 THEN service_end ELSE kind_end END + 2),
    %(node)s, size, state, expires_at, %(now)s, %(now)s, 0, fetched
FROM temp.key_difference WHERE rowid BETWEEN %(first)s AND %(last)s ORDER BY rowid
ON CONFLICT (node, key) DO NOTHING
"""


class SQLiteStaging:
    def __init__(self) -> None:
        self._cache_before = 0

    def open(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA main.cache_size")
            self._cache_before = cursor.fetchone()[0]
            cursor.execute(f"PRAGMA main.cache_size = -{DATABASE_CACHE}")
            cursor.execute(f"PRAGMA temp.cache_size = -{STAGING_CACHE}")
            for sql in (*CLOSE, *OPEN):
                cursor.execute(sql)

    def add(self, rows: Sequence[Row]) -> None:
        with _unlocked() as cursor:
            cursor.executemany(ADD, rows)

    def listed(self, now: datetime) -> list[tuple[str, str, int, int]]:
        lives = [value for name, seconds in LIVES.items() for value in (now.timestamp() + seconds, name)]
        sql = LISTED.format(lives="WHEN ends <= %s THEN %s " * len(LIVES))
        with _unlocked() as cursor:
            cursor.execute(SORT)
            cursor.execute(CUT_TO_LIMITS)
            cursor.execute(sql, [NEVER, *lives, MORE])
            return list(cursor.fetchall())

    def compare(self, comparison: Comparison) -> tuple[int, int]:
        with _unlocked() as cursor:
            cursor.execute(MISSING, _parameters(comparison))
            cursor.execute(CHANGED_AND_NEW, _parameters(comparison))
            cursor.execute(FOUND)
            changed, new = cursor.fetchone()
        return changed, new

    def differing(self) -> list[tuple[str, int, int, int, int]]:
        with connection.cursor() as cursor:
            cursor.execute(DIFFERING)
            return list(cursor.fetchall())

    def update(self, comparison: Comparison, first: int, last: int) -> None:
        _execute(UPDATE, {**_parameters(comparison), "first": first, "last": last})

    def insert(self, comparison: Comparison, first: int, last: int) -> None:
        _execute(INSERT, {**_parameters(comparison), "first": first, "last": last})

    def close(self) -> None:
        with connection.cursor() as cursor:
            for sql in CLOSE:
                cursor.execute(sql)
            cursor.execute(f"PRAGMA main.cache_size = {self._cache_before}")


@contextmanager
def _unlocked() -> Iterator[CursorWrapper]:
    """A transaction of the temporary tables: unlike `atomic`, it takes no write lock, which others would wait for."""
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            yield cursor
            return
        cursor.execute("BEGIN DEFERRED")
        try:
            yield cursor
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def _parameters(comparison: Comparison) -> dict[str, Any]:
    moment = connection.ops.adapt_datetimefield_value
    return {**asdict(comparison), "now": moment(comparison.now), "ended": moment(comparison.ended)}


def _execute(sql: str, parameters: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
