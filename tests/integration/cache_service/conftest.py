"""Each test of the contract runs on every backend of this table."""

import pytest

from api_service.services.cache_service import APICacheService
from tests.conftest import UseCacheUrl

BACKENDS = {
    "memcached": "memcached",
    "memcached_three_nodes": "memcached",
    "redis": "redis",
    "local_memory": "local_memory",
}


def url_of(name: str, request: pytest.FixtureRequest) -> str:
    if name == "memcached":
        return f"memcached://{request.getfixturevalue('memcached').address}"
    if name == "memcached_three_nodes":
        nodes = request.getfixturevalue("memcached_cluster")
        return f"memcached://{','.join(node.address for node in nodes)}"
    if name == "redis":
        return f"redis://{request.getfixturevalue('redis_server').address}/0"
    return f"locmem://{request.node.name}"


@pytest.fixture(params=BACKENDS)
def cache_url(request: pytest.FixtureRequest, use_cache_url: UseCacheUrl) -> str:
    url = url_of(request.param, request)
    use_cache_url(url)
    return url


@pytest.fixture
def cache(cache_url: str) -> APICacheService:
    return APICacheService()
