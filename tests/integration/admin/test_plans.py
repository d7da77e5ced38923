"""What a list of many rows asks of the database: every query walks an index, none reads or sorts a whole table.

The queries are those of the pages themselves, caught and explained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from api_service.admin.base import BoundedPaginator
from tests.integration.admin import many

ROWS = 20_000
LIMIT = 800
# Of one query, on PostgreSQL: the rows of all pages, with those of the other two nodes between them
MOST_TOUCHED = 4 * LIMIT
# On SQLite: a row that is skipped takes about 10, one that is read 40
MOST_INSTRUCTIONS = 20 * LIMIT
LAST = LIMIT // 50
BIG = re.compile(r"api_service_(trackedkey|dailyreads|storedanswer)\b")
# With equal keys of several nodes only those are put in order
SORT = "USE TEMP B-TREE FOR ORDER BY"


@pytest.fixture(autouse=True)
def _few_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relation of table and pages is that of a million keys, with fewer of both."""
    monkeypatch.setattr(BoundedPaginator, "LIMIT", LIMIT)


def queries_of(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as caught:
        assert client.get(url).status_code == 200
    found = [query["sql"] for query in caught if BIG.search(query["sql"])]
    assert found, f"{url} asks nothing of a large table"
    return found


def wrong_with(sql: str) -> list[str]:
    """What the plan of this query has that a list must not have; empty when all is well."""
    return _postgres(sql) if connection.vendor == "postgresql" else _sqlite(sql)


def _postgres(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        plan = cursor.fetchone()[0]
    steps = list(_steps((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))
    return [text for step in steps for text in _too_much(step)]


def _steps(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _steps(below)


def _too_much(step: Mapping[str, Any]) -> Iterator[str]:
    touched = sum(
        step.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    )
    touched *= step["Actual Loops"]
    if touched > MOST_TOUCHED:
        yield f"{step['Node Type']} of {touched} rows: {step}"


def _sqlite(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        steps = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
        work = many.instructions(sql)
    filtered = " WHERE " in sql
    # Those of one identifier may be sorted: they are few
    few = any(" (key=?" in step or "identifier=?)" in step for step in steps)
    found = [step for step in steps if (SORT in step and not few) or _is_scan(step, filtered=filtered)]
    return found + ([f"{work} instructions: {steps}"] if work > MOST_INSTRUCTIONS else [])


def _is_scan(step: str, *, filtered: bool) -> bool:
    """Without a filter the index is walked from its end until the page is full; with one it must be searched."""
    return bool(BIG.search(step)) and step.startswith("SCAN") and (filtered or "USING" not in step)


def wrong_in(client: Client, urls: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {found}\n{sql}"
        for name, url in urls.items()
        for sql in queries_of(client, url)
        if (found := wrong_with(sql))
    ]


@pytest.mark.parametrize(("common", "rare"), [("active", "unknown"), ("expired", "active")])
def test_no_page_of_the_keys_reads_or_sorts_the_table(common: str, rare: str, admin_client: Client) -> None:
    many.fill_keys(ROWS, common, rare)
    many.fill_history(1)
    many.analyze()
    wrong = wrong_in(admin_client, many.key_pages(common, rare, LAST))
    assert not wrong, "\n".join(wrong)


def test_a_node_that_is_down_makes_no_page_read_the_table(admin_client: Client) -> None:
    """A third of the keys is unknown and a third on each node: a page of both conditions may find nothing."""
    many.fill_keys(ROWS)
    many.fill_history(1)
    many.lose_a_node()
    many.analyze()
    wrong = wrong_in(admin_client, many.lost_node_pages())
    assert not wrong, "\n".join(wrong)


def test_no_page_of_the_other_large_tables_does(admin_client: Client) -> None:
    many.fill_others(ROWS)
    many.fill_history(100)
    many.analyze()
    urls = {name: url for name, url in many.other_pages(LAST).items() if re.search("dailyreads|storedanswer", url)}
    wrong = wrong_in(admin_client, urls)
    assert not wrong, "\n".join(wrong)
