"""Reads of an operation that are easily counted wrongly: not answered to the end, not even asked, of a neighbour."""

import pytest
from django.utils import timezone

from api_service.caches.protocol import Replacement
from api_service.models import OperationReads
from api_service.services import copying, counted, own_hits
from api_service.services.backends import Deadline
from api_service.services.backends.base import server_of
from api_service.services.backends.redis import RedisAdapter
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import Job
from api_service.services.node_facts import Since, gets_since
from api_service.services.own_hits import Operation
from tests.conftest import UseCacheUrl
from tests.servers import Redis

pytestmark = pytest.mark.django_db

NAMES = [f"migo:ruc_{number}" for number in range(50)]


def counted_meanwhile(row: OperationReads) -> int:
    assert row.hits_before is not None
    assert row.hits_after is not None
    return row.hits_after - row.hits_before


def test_keys_that_redis_counted_ahead_of_who_left_its_list_are_of_unknown_number(
    redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(redis_server.url)
    cache = APICacheService()
    cache.set_many(dict.fromkeys(NAMES, 1))
    with counted.adapter(Operation.STATISTICS, cache.adapter) as counting:
        # As a thread that has not listed all keys by the end of the statistics
        scan = counting.scan(cache.adapter.nodes()[0], "", Deadline.after(60))
        next(scan)

    row = OperationReads.objects.get()
    assert counted_meanwhile(row) == len(NAMES) + 2
    assert row.hits is None


def test_what_a_node_that_is_left_alone_was_not_asked_is_no_hit(own_redis: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(own_redis.url)
    cache = APICacheService()
    cache.set_many(dict.fromkeys(NAMES, 1))
    found, _lost = cache.cache.fetch_versions(NAMES)
    replacements = {name: Replacement(1, version, 60) for name, (_value, version) in found.items()}
    with counted.service(Operation.WARM_RUN, cache) as counting:
        own_redis.freeze()
        assert cache.get(NAMES[0]) is None
        own_redis.thaw()
        assert counting.cache.replace_many(replacements) == {}

    row = OperationReads.objects.get()
    assert counted_meanwhile(row) < 10
    assert row.hits is None


def test_what_a_copy_reads_in_another_database_of_the_same_server_is_no_hit_of_look_ups(
    redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(redis_server.url)
    cache, began = APICacheService(), timezone.now()
    (node,) = cache.adapter.nodes()
    cache.set_many(dict.fromkeys(NAMES, 1))
    before = cache.adapter.probe(node)
    other = {"LOCATION": [f"redis://127.0.0.1:{redis_server.port}/1"], "BACKEND": "", "OPTIONS": {}}
    job = Job(cache.adapter, RedisAdapter("other", other), cache.wire_prefix)
    assert copying.copy(job)["checked"] == len(NAMES)
    now = cache.adapter.probe(node)

    own = own_hits.within(began, timezone.now(), node)[server_of(node)]
    gets = gets_since(now, Since(before, 1.0, tuple(own)))
    assert {row.node for row in OperationReads.objects.all()} == {node, node.replace("/0", "/1")}
    assert gets is not None
    # Ours beside the copy: the probe here, and whether the other one answers and is another one
    assert (gets.hits, gets.misses) == (2, 2)


@pytest.mark.parametrize(
    ("node", "server"),
    [("10.0.0.1:6379/0", "10.0.0.1:6379"), ("10.0.0.1:11211", "10.0.0.1:11211"), ("/run/cache/1", "/run/cache/1")],
)
def test_the_databases_of_one_server_share_their_counts(node: str, server: str) -> None:
    assert server_of(node) == server
