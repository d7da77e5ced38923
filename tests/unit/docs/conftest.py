"""What the examples of CACHE_README.md run against."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from api_service.services import providers, tracking
from tests.conftest import UseCacheUrl
from tests.sandbox_fixture import RunningSandbox, sandbox, sandbox_server
from tests.servers import Memcached

__all__ = ["sandbox", "sandbox_server"]


@pytest.fixture
def service_running(
    transactional_db: None,
    memcached: Memcached,
    sandbox: RunningSandbox,
    use_cache_url: UseCacheUrl,
    settings: Settings,
) -> Iterator[None]:
    """A real Memcached, the sandbox in APIMIGO's place, an empty database."""
    use_cache_url(memcached.url)
    settings.MIGO_TOKEN = "sandbox"
    settings.MIGO_API_VERSION = "v1"
    settings.MIGO_BASE_URL = f"{sandbox.url}/api/v1"
    providers.provider.cache_clear()
    yield
    tracking.flush_now()
    providers.provider.cache_clear()
