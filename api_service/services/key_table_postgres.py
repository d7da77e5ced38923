"""The key table's staging on PostgreSQL: COPY in, one full join, changed rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from api_service.services.key_table import LIVES, MORE, NEVER, Comparison, Row

# For the join and the sort of a million rows; with its own 4 MB the server would write them out and read them again
MORE_MEMORY = "SET LOCAL work_mem = '64MB'"

CLOSE = "DROP TABLE IF EXISTS pg_temp.key_listing, pg_temp.key_difference"
OPEN = f"""
{CLOSE};
CREATE TEMPORARY TABLE key_listing (
    key text COLLATE "C", service_end smallint, kind_end smallint, size bigint, ends double precision, fetched boolean
)
"""

# A key has a colon: it cannot read like the None of a missing value
COPY = "COPY pg_temp.key_listing FROM STDIN (NULL 'None')"
LINE = "%s\t%d\t%d\t%d\t%s\t%s\n"

DROP_DOUBLED = """
DELETE FROM pg_temp.key_listing AS listed
USING (SELECT key, max(ctid) AS kept FROM pg_temp.key_listing GROUP BY key HAVING count(*) > 1) AS doubled
WHERE listed.key = doubled.key AND listed.ctid <> doubled.kept
"""

# What the table cannot hold: Redis takes ends beyond the year 9999, the last that Python knows
CUT_TO_LIMITS = """
UPDATE pg_temp.key_listing SET size = least(size, 2147483647), ends = least(ends, 253402300799)
WHERE size > 2147483647 OR ends > 253402300799
"""

LISTED = """
SELECT left(key, service_end), CASE WHEN ends IS NULL THEN %s {lives} ELSE %s END, count(*), sum(size)::bigint
FROM pg_temp.key_listing GROUP BY 1, 2
"""

# Rows that exist come first, then those to be made
COMPARE = """
CREATE TEMPORARY TABLE key_difference AS
SELECT row_number() OVER (ORDER BY id IS NULL, key) AS position, difference.* FROM (
    SELECT
        known.id, coalesce(known.key, listed.key) AS key, listed.service_end, listed.kind_end,
        coalesce(known.service, left(listed.key, listed.service_end)) AS service,
        known.state AS state_before,
        CASE
            WHEN listed.key IS NOT NULL THEN 'active'
            WHEN NOT %(complete)s THEN 'unknown'
            WHEN known.expires_at <= %(ended)s THEN 'expired'
            ELSE 'removed'
        END AS state,
        CASE WHEN listed.key IS NULL THEN known.size ELSE listed.size END AS size,
        CASE WHEN listed.key IS NULL THEN known.expires_at ELSE to_timestamp(listed.ends) END
            AS expires_at,
        CASE WHEN listed.key IS NULL THEN known.fetched ELSE listed.fetched END AS fetched,
        known.fetched IS NOT TRUE AND (known.last_read_at IS NULL OR known.last_read_at < known.created_at) AS unread
    FROM pg_temp.key_listing AS listed
    FULL JOIN (SELECT * FROM api_service_trackedkey WHERE node = %(node)s) AS known ON known.key = listed.key
    WHERE known.id IS NULL
        OR listed.key IS NULL AND (known.state = 'active' OR known.state = 'unknown' AND %(complete)s)
        OR listed.key IS NOT NULL AND (
            known.state <> 'active' OR known.size <> listed.size
            OR known.fetched IS DISTINCT FROM listed.fetched
            OR (known.expires_at IS NULL) <> (listed.ends IS NULL)
            OR known.expires_at NOT BETWEEN to_timestamp(listed.ends - 0.5) AND to_timestamp(listed.ends + 0.5)
        )
) AS difference
"""
INDEX = "CREATE INDEX ON pg_temp.key_difference (position)"
ANALYZE = "ANALYZE pg_temp.key_difference"
FOUND = "SELECT count(id), count(*) - count(id) FROM pg_temp.key_difference"

DIFFERING = """
SELECT
    service,
    count(*) FILTER (WHERE state = 'active' AND (state_before IS NULL OR state_before IN ('expired', 'removed'))),
    count(*) FILTER (WHERE state = 'removed'),
    count(*) FILTER (WHERE state = 'expired'),
    count(*) FILTER (WHERE state = 'expired' AND unread)
FROM pg_temp.key_difference GROUP BY service
"""

# Temporary tables have few statistics: a plan for each chunk must not read the whole table
BY_INDEX = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
# An UPDATE locks in the order of its plan: the rows are locked before, in the order in which the read counter does
LOCK = """
SELECT count(*) FROM (
    SELECT FROM api_service_trackedkey AS known JOIN pg_temp.key_difference AS difference USING (id)
    WHERE position BETWEEN %(first)s AND %(last)s ORDER BY position FOR NO KEY UPDATE OF known
) AS locked
"""
UPDATE = """
UPDATE api_service_trackedkey AS known SET
    state = difference.state, size = difference.size, expires_at = difference.expires_at,
    fetched = difference.fetched,
    seen_at = CASE WHEN difference.state = 'unknown' THEN known.seen_at ELSE %(now)s END
FROM pg_temp.key_difference AS difference
WHERE known.id = difference.id AND position BETWEEN %(first)s AND %(last)s
"""
INSERT = """
INSERT INTO api_service_trackedkey
    (key, service, kind, identifier, node, size, state, expires_at, created_at, seen_at, reads, fetched)
SELECT
    key, service,
    CASE WHEN kind_end < 0 THEN 'other' ELSE substr(key, service_end + 2, least(kind_end - service_end - 1, 50)) END,
    substr(key, CASE WHEN kind_end < 0 THEN service_end ELSE kind_end END + 2),
    %(node)s, size, state, expires_at, %(now)s, %(now)s, 0, fetched
FROM pg_temp.key_difference WHERE position BETWEEN %(first)s AND %(last)s ORDER BY position
"""
# Costs twice the time of a plain one, and there is nothing in the way unless two runs write the same node
INSERT_THE_REST = f"{INSERT} ON CONFLICT (node, key) DO NOTHING"


class PostgresStaging:
    def open(self) -> None:
        _execute(OPEN)

    def add(self, rows: Sequence[Row]) -> None:
        lines = "".join([LINE % row for row in rows]).replace("\\", "\\\\")
        with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(COPY) as copy:
            copy.write(lines)

    def listed(self, now: datetime) -> list[tuple[str, str, int, int]]:
        lives = [value for name, seconds in LIVES.items() for value in (now.timestamp() + seconds, name)]
        sql = LISTED.format(lives="WHEN ends <= %s THEN %s " * len(LIVES))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(MORE_MEMORY)
            cursor.execute(DROP_DOUBLED)
            cursor.execute(CUT_TO_LIMITS)
            cursor.execute(sql, [NEVER, *lives, MORE])
            return list(cursor.fetchall())

    def compare(self, comparison: Comparison) -> tuple[int, int]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(MORE_MEMORY)
            cursor.execute(COMPARE, asdict(comparison))
            cursor.execute(INDEX)
            cursor.execute(ANALYZE)
            cursor.execute(FOUND)
            changed, new = cursor.fetchone()
        return changed, new

    def differing(self) -> list[tuple[str, int, int, int, int]]:
        with connection.cursor() as cursor:
            cursor.execute(DIFFERING)
            return list(cursor.fetchall())

    def update(self, comparison: Comparison, first: int, last: int) -> None:
        chunk = {**asdict(comparison), "first": first, "last": last}
        for sql in (BY_INDEX, LOCK, UPDATE):
            _execute(sql, chunk)

    def insert(self, comparison: Comparison, first: int, last: int) -> None:
        chunk = {**asdict(comparison), "first": first, "last": last}
        try:
            with transaction.atomic():
                _execute(INSERT, chunk)
        except IntegrityError:
            _execute(INSERT_THE_REST, chunk)

    def close(self) -> None:
        _execute(CLOSE)


def _execute(sql: str, parameters: dict[str, Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
