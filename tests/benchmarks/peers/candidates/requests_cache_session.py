"""requests-cache: a session that answers from the cache."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from requests_cache import CachedSession, RedisCache

from tests.benchmarks.peers.candidates import LookUp, Setting
from tests.benchmarks.peers.candidates.bare import call_of, prepared


def make(setting: Setting, _options: Mapping[str, str]) -> LookUp:
    redis = urlsplit(setting.redis)
    session = CachedSession(
        backend=RedisCache(host=redis.hostname, port=redis.port, ttl_offset=setting.grace),
        expire_after=setting.life,
        stale_while_revalidate=setting.grace,
        stale_if_error=setting.grace,
    )
    return call_of(setting.upstream, prepared(session))
