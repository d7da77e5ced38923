"""The first page over 90 days: the database sums up, whatever there is; what is large is not read at all."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests import history
from tests.history import Size
from tests.integration.admin import many

URLS = ("/admin/", "/admin/dashboard/now/", "/admin/dashboard/runs/", "/admin/dashboard/charts/")
# Tables with a row for each key, answer or read, of which there may be millions
LARGE = re.compile(r'FROM "api_service_(trackedkey|dailyreads|storedanswer|readhabit|warmedanswer|billingrow)"')
# 90 steps by what is told apart; of incidents 250 steps by kind
MOST_ROWS = 1500
# Of SQLite's machine. All look-ups of 90 days with what they are grouped by are half of that
MOST_INSTRUCTIONS = 4_000_000


@pytest.fixture
def caught(admin_user: User, client: Client) -> list[str]:
    """The statements of every part of the page for 90 days."""
    history.fill(Size(keys=2000, days=90, incidents=2000), timezone.now())
    client.force_login(admin_user)
    with CaptureQueriesContext(connection) as queries:
        for url in URLS:
            assert client.get(url, {"period": "90d"}).status_code == 200
    return [query["sql"] for query in queries if query["sql"].startswith("SELECT")]


def test_the_database_sums_up_and_nothing_walks_the_keys(caught: list[str]) -> None:
    assert [sql for sql in caught if LARGE.search(sql)] == []
    with connection.cursor() as cursor:
        counts = {sql: len(cursor.execute(sql).fetchall()) for sql in caught if "api_service" in sql}
    assert len(counts) > 15
    assert {sql: rows for sql, rows in counts.items() if rows > MOST_ROWS} == {}
    if connection.vendor == "sqlite":
        assert {sql: done for sql in counts if (done := many.instructions(sql)) > MOST_INSTRUCTIONS} == {}
