"""A hit is one read of the cache: no query, no message, no call."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api_service.services import task_sending, tracking
from api_service.services.migo_service import MigoAPIService
from tests.migo_fixtures import RUC, SUNAT
from tests.sandbox_fixture import RunningSandbox

HITS = 2 * tracking.FOLD_AT  # beyond where callers add the counted reads up


@pytest.fixture
def published() -> Iterator[list[str]]:
    """Names of the tasks that this process gave to the broker."""
    names: list[str] = []

    def note(sender: str, **_facts: Any) -> None:
        names.append(sender)

    before_task_publish.connect(note, weak=False)
    yield names
    before_task_publish.disconnect(note)


def test_a_hit_asks_no_database_and_sends_no_task(
    migo: MigoAPIService, sandbox: RunningSandbox, published: list[str]
) -> None:
    migo.consultar_ruc(RUC)
    with CaptureQueriesContext(connection) as queries:
        outcomes = {migo.consultar_ruc(RUC)["cache"]["outcome"] for _ in range(HITS)}
    assert outcomes == {"hit"}
    assert (queries.captured_queries, published, sandbox.billed) == ([], [], 1)


def test_what_would_show_a_query_or_a_task_does_show_one(migo: MigoAPIService, published: list[str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        migo.consultar_ruc(SUNAT)
        task_sending.send("nobody.takes.this", {}, queue="nobody")
    assert len(queries) > 0
    assert published == ["nobody.takes.this"]
