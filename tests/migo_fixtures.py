"""The whole look-up on real parts: the sandbox over HTTP, a real Memcached, the database."""

from collections.abc import Iterator
from itertools import count, islice

import pytest
from django.conf import settings as project_settings
from pytest_django import Settings
from stdnum.pe.ruc import calc_check_digit

from api_service.sandbox import data
from api_service.services import bounded, stale_counts, tracking
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import provider
from tests.conftest import UseCacheUrl
from tests.sandbox_fixture import RunningSandbox, sandbox, sandbox_server
from tests.servers import Memcached

__all__ = ["folder_of_static_files", "migo", "sandbox", "sandbox_server"]

RUC = "20100038146"
SUNAT = "20131312955"
IMPOSSIBLE = "20123456789"
TOKEN = "token-of-the-tests-0001"
UNKNOWN_SHARE = 0.03


def numbers(*, known: bool) -> Iterator[str]:
    """Possible RUCs that the sandbox knows, or does not."""
    for index in count(10_000_000):
        ruc = f"20{index}"
        ruc += calc_check_digit(ruc)
        if data.is_unknown(ruc, UNKNOWN_SHARE) is not known:
            yield ruc


def known_rucs(wanted: int) -> list[str]:
    return list(islice(numbers(known=True), wanted))


def unknown_rucs(wanted: int) -> list[str]:
    return list(islice(numbers(known=False), wanted))


@pytest.fixture
def migo(
    sandbox: RunningSandbox,
    memcached: Memcached,
    use_cache_url: UseCacheUrl,
    settings: Settings,
    transactional_db: None,
) -> Iterator[MigoAPIService]:
    """On an empty Memcached, with one attempt a call: a fault of the sandbox's script is a failed look-up."""
    settings.MIGO_TOKEN, settings.MIGO_BASE_URL = TOKEN, sandbox.url
    settings.MIGO_ATTEMPTS, settings.READ_FLUSH_SECONDS = 1, 0.0
    use_cache_url(memcached.url)
    provider.cache_clear()
    tracking._forget_in_child()
    yield MigoAPIService()
    # A thread that writes for look-ups would keep the test database in use
    assert stale_counts.flush(10)
    bounded.stop_threads(10)
    provider.cache_clear()
    tracking._forget_in_child()


@pytest.fixture(scope="session", autouse=True)
def folder_of_static_files() -> None:
    """WhiteNoise warns about a missing one; `collectstatic` makes it in production."""
    project_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
