"""Servers and settings for the tests. The processes themselves are in `tests/servers.py`."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from _pytest.nodeid import coerce_node_id
from pytest_django.fixtures import Settings

from tests.http_catcher import HttpCatcher
from tests.processes import NOT_TESTED
from tests.servers import Memcached, Postgres, Redis
from tests.servers import free_port as any_free_port

UseCacheUrl = Callable[[str], ExitStack]
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_serialized_rollback"}
# These start processes of their own, each with the database it chooses.
DATABASE_CHOSEN_BY_THE_TEST = {"acceptance", "benchmarks"}
# Not repeated on PostgreSQL. Every page and form of the admin, for roles, languages, keys and browsers, is the same on
# each database (test_pages and test_plans are repeated: all their queries); commands and addresses call services whose
# own tests are repeated
ONCE_IS_ENOUGH = {
    *("commands", "http", "docs", "api", "metrics", "cache_service"),
    *("test_access.py", "test_navigation.py", "test_texts_of_unfold.py", "test_query_counts.py"),
    *("test_live_pages.py", "test_dashboard_refresh.py", "test_dashboard_volume.py", "test_run_by_hand.py"),
    *("test_accounts.py", "test_channels.py", "test_clearing.py", "test_copies.py", "test_tokens.py", "test_titles.py"),
}


# -- the session ------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "each action of the admin in Spanish and in English, not in one of them (tests/acceptance/test_actions.py)"
    parser.addoption("--both-languages", action="store_true", help=text)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        once = (DATABASE_CHOSEN_BY_THE_TEST | ONCE_IS_ENOUGH).intersection(item.path.parts)
        if _uses_the_database(item) and not once:
            item.add_marker("db")
    yield
    for item in items:
        # pytest-xdist 3.8 writes a test's group where pytest 9 does not read it: each process would start every stack
        if (grouped := vars(item).get("_nodeid")) is not None:
            item._id = coerce_node_id(grouped)


def _uses_the_database(item: pytest.Item) -> bool:
    from django.test import TransactionTestCase

    fixtures = DATABASE_FIXTURES.intersection(getattr(item, "fixturenames", ()))
    test_class = getattr(item, "cls", None)
    unittest_style = isinstance(test_class, type) and issubclass(test_class, TransactionTestCase)
    return bool(fixtures) or unittest_style or item.get_closest_marker("django_db") is not None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was not tested on this machine, where nobody can overlook it."""
    reasons = Counter(_skip_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    missing = {reason: count for reason, count in sorted(reasons.items()) if NOT_TESTED in reason}
    if missing:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    for reason, count in missing.items():
        terminalreporter.line(f"{reason[reason.index(NOT_TESTED) :]} ({count} skipped)", red=True)


def _skip_reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.fixture(autouse=True)
def no_connection_to_the_broker_of_another_test() -> Iterator[None]:
    yield
    from tests.brokers import app, forget_connections

    if app._pool is not None:
        forget_connections()


# -- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def free_port() -> int:
    return any_free_port()


def _clean(server: Memcached | Redis) -> None:
    """A shared server as new, whatever the last test did to it."""
    if not server.is_running:
        server.restart()
    server.thaw()
    server.flush()


@pytest.fixture(scope="session")
def _shared_memcached() -> Iterator[Memcached]:
    server = Memcached()
    yield server.start()
    server.close()


@pytest.fixture
def memcached(_shared_memcached: Memcached) -> Memcached:
    """Shared by the session, empty at the start of each test. Its counters go on; `own_memcached` starts at 0."""
    _clean(_shared_memcached)
    return _shared_memcached


@pytest.fixture(scope="session")
def _shared_memcached_cluster() -> Iterator[list[Memcached]]:
    nodes = [Memcached() for _ in range(3)]
    yield [node.start() for node in nodes]
    for node in nodes:
        node.close()


@pytest.fixture
def memcached_cluster(_shared_memcached_cluster: list[Memcached]) -> list[Memcached]:
    """Three nodes, shared by the session, empty at the start of each test."""
    for node in _shared_memcached_cluster:
        _clean(node)
    return _shared_memcached_cluster


@pytest.fixture
def own_memcached() -> Iterator[Memcached]:
    """For this test alone, which may kill or freeze it."""
    server = Memcached()
    yield server.start()
    server.close()


@pytest.fixture
def own_cluster() -> Iterator[list[Memcached]]:
    """Three nodes for this test alone, which may kill or freeze them."""
    nodes = [Memcached() for _ in range(3)]
    yield [node.start() for node in nodes]
    for node in nodes:
        node.close()


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[Redis]:
    server = Redis()
    yield server.start()
    server.close()


@pytest.fixture
def redis_server(_shared_redis: Redis) -> Redis:
    """Shared by the session, empty at the start of each test."""
    _clean(_shared_redis)
    return _shared_redis


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """For this test alone, which may kill or freeze it."""
    server = Redis()
    yield server.start()
    server.close()


@pytest.fixture(scope="session")
def _shared_postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server.start()
    server.close()


@pytest.fixture
def postgres(_shared_postgres: Postgres) -> Postgres:
    """Shared by the session: work in a database of your own, `postgres.new_database()` gives its URL."""
    return _shared_postgres


@pytest.fixture
def http_catcher() -> Iterator[HttpCatcher]:
    """A local HTTP server that plays Slack, Sentry or any other addressee and keeps what it received."""
    with HttpCatcher() as catcher:
        yield catcher


# -- the database -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in a file, as in production: the in-memory one locks whole tables and knows no WAL.

    The folder belongs to this process alone, so it needs no suffix of pytest-xdist.
    """
    from django.conf import settings
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(settings.DATA_DIR / "tests.sqlite3")


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def use_cache_url(settings: Settings) -> UseCacheUrl:
    """The default cache is at that URL until the test ends; `with use_cache_url(url):` ends it sooner.

    Through pytest-django's `settings` and no override of its own: two that end in another order than they began would
    leave one of them behind for the next test.
    """

    def use(url: str) -> ExitStack:
        from api_service.caches.urls import cache_config

        before = settings.CACHE_URL, settings.CACHES
        default = settings.CACHES["default"]
        kept = {name: default[name] for name in ("KEY_PREFIX", "TIMEOUT") if name in default}
        # Changing CACHES makes Django forget the connections it has.
        settings.CACHE_URL, settings.CACHES = url, {**settings.CACHES, "default": {**cache_config(url), **kept}}

        def end() -> None:
            settings.CACHE_URL, settings.CACHES = before

        scope = ExitStack()
        scope.callback(end)
        return scope

    return use


@pytest.fixture
def counts_at_once(settings: Settings) -> None:
    """For what one health run sees: it counts at first sight, and is over at the first run that does not see it."""
    from api_service.services.finding_policy import TABLE

    settings.HEALTH_RULES = ",".join(f"{code}=1/1/1" for code in TABLE)
