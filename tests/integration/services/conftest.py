"""Caches on the servers of a test, processes that share its database, and a vendor played by the sandbox."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import TrackedKey
from api_service.services import providers, tracking
from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl
from tests.project_process import ProjectProcess
from tests.sandbox_fixture import RunningSandbox, sandbox, sandbox_server
from tests.servers import Memcached

__all__ = ["sandbox", "sandbox_server"]

ROOT = Path(__file__).resolve().parents[3]
RunPython = Callable[..., subprocess.Popen[str]]


def url_of(*nodes: Memcached) -> str:
    return f"memcached://{','.join(node.address for node in nodes)}"


@pytest.fixture(autouse=True)
def _no_reads_of_another_test(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are written when a test says so, never by a thread that outlives it."""
    settings.READ_FLUSH_SECONDS = 0
    monkeypatch.setattr(tracking, "_counter", tracking.ReadCounter())


@pytest.fixture
def cache(memcached: Memcached, use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(url_of(memcached))
    return APICacheService()


@pytest.fixture
def cluster_cache(memcached_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(url_of(*memcached_cluster))
    return APICacheService()


@pytest.fixture
def own_cluster_cache(own_cluster: list[Memcached], use_cache_url: UseCacheUrl) -> APICacheService:
    """Its nodes may be killed and frozen."""
    use_cache_url(url_of(*own_cluster))
    return APICacheService()


@pytest.fixture
def vendor(sandbox: RunningSandbox, settings: Settings) -> Iterator[RunningSandbox]:
    """The provider asks the sandbox, which has no unknown RUCs of its own."""
    sandbox.switch(unknown_share=0.0)
    settings.MIGO_BASE_URL = f"{sandbox.url}/api/v1"
    settings.MIGO_API_VERSION = "v1"
    settings.MIGO_TOKEN = "token-of-the-tests-0001"
    settings.MIGO_MAX_PER_HOUR = settings.MIGO_MAX_PER_DAY = 0
    providers.provider.cache_clear()
    yield sandbox
    providers.provider.cache_clear()


def ended(cache: APICacheService, *names: str) -> None:
    """As if these keys had come to the end of their lives, which no server can be hurried to."""
    assert TrackedKey.objects.filter(key__in=names).update(expires_at=timezone.now()) == len(names)
    for name in names:
        assert cache.delete(name)


def database_url() -> str:
    """Of the test's own database, for another process. A SQLite file and a PostgreSQL database alike."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    return f"postgres://{config['USER']}@{config['HOST']}:{config['PORT']}/{config['NAME']}"


@pytest.fixture
def run_python(transactional_db: None) -> Iterator[RunPython]:
    """Start `run_python(code, NAME=value)`: a process of the project on the test's database."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, **variables: str) -> subprocess.Popen[str]:
        process = ProjectProcess(
            "-c",
            f"import django; django.setup()\n{code}",
            variables={"DATABASE_URL": database_url(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def output_of(process: subprocess.Popen[str]) -> str:
    """All it wrote, once it has ended well."""
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    return output
