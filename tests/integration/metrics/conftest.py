"""The page in this process, without child processes: those are in tests/acceptance/test_metrics.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from api_service.services import bounded, metrics_database
from tests.migo_fixtures import folder_of_static_files, migo, sandbox, sandbox_server

__all__ = ["folder_of_static_files", "migo", "sandbox", "sandbox_server"]

TOKEN = "metrics-token-of-the-tests"


class Samples:
    """What a page said, by name and labels."""

    def __init__(self, page: str) -> None:
        self.page = page
        self._found = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._found.get((f"cache_worker_{name}", frozenset(labels.items())))

    def names(self) -> set[str]:
        return {name for name, _labels in self._found}

    def labels(self) -> set[str]:
        return {value for _name, labels in self._found for _label, value in labels}


@pytest.fixture
def scrape(settings: Settings, transactional_db: None) -> Iterator[Callable[[], Samples]]:
    settings.METRICS_TOKEN = TOKEN
    # A test before may have taken the database away
    metrics_database.facts._calls.breaker.begin()

    def read() -> Samples:
        metrics_database.facts.forget()
        reply = Client(headers={"Authorization": f"Bearer {TOKEN}"}).get("/metrics")
        assert reply.status_code == 200
        return Samples(reply.content.decode())

    yield read
    # Its connection would keep the test database in use
    bounded.stop_threads(10)
