"""No page takes more queries for many rows than for few: what is slow with a million rows is seen with a hundred."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests import history
from tests.history import Size
from tests.pages import FRONT, every_page

# Two hundred pages
pytestmark = pytest.mark.timeout(400)

MOST_QUERIES = 15
FEW = Size(keys=6, days=1, incidents=6)
MANY = Size(keys=150, days=2, incidents=60)


def queries(client: Client) -> dict[tuple[str, str], list[str]]:
    """By table and page, those of its second visit: the first, which found it, has filled the caches of the process."""
    found = {}
    for page in every_page(client):
        with CaptureQueriesContext(connection) as captured:
            client.get(page.url)
        found[page.table, page.what] = [query["sql"] for query in captured]
    return found


@pytest.fixture
def _empty_again(transactional_db: None) -> None:
    """Both sizes are written in transactions of their own; the tables are emptied when the test ends."""


@pytest.mark.usefixtures("_empty_again")
def test_no_page_takes_more_queries_for_many_rows_than_for_few(admin_client: Client) -> None:
    history.fill(FEW, timezone.now())
    few = queries(admin_client)
    empty_all_but_people()
    history.fill(MANY, timezone.now())
    many = queries(admin_client)

    assert ("", FRONT) in many
    grown = {
        page: (len(few[page]), len(asked)) for page, asked in many.items() if len(asked) > len(few.get(page, asked))
    }
    assert grown == {}
    assert {page: len(asked) for page, asked in many.items() if len(asked) > MOST_QUERIES} == {}


@pytest.mark.usefixtures("_empty_again")
def test_the_made_up_past_has_rows_of_every_table_in_the_admin() -> None:
    """A table that it leaves out would be measured, and looked at, while it is empty."""
    history.fill(FEW, timezone.now())

    assert [model.__name__ for model in admin.site._registry if not model._default_manager.exists()] == []


def empty_all_but_people() -> None:
    for model in admin.site._registry:
        if model._meta.app_label != "auth":
            model._default_manager.all().delete()
