"""cashews: coroutines. Calls run in threads of an executor, so that all candidates make the same ones."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from cashews import Cache

from tests.benchmarks.peers.candidates import LookUp, Record, Setting
from tests.benchmarks.peers.candidates.bare import MOST_CONNECTIONS, call_of, prepared

KEY = "ruc:{ruc}"


def make(setting: Setting, options: Mapping[str, str]) -> LookUp:
    call: Callable[[str], Any] = call_of(setting.upstream, prepared(requests.Session()))
    pool = ThreadPoolExecutor(MOST_CONNECTIONS)
    cache = Cache()
    # As many connections as callers: of the 10 that it opens by default the others would wait for one
    cache.setup(setting.redis, max_connections=100)

    async def fetch(ruc: str) -> Record:
        record: Record = await asyncio.get_running_loop().run_in_executor(pool, call, ruc)
        return record

    cached = _strategy(cache, setting, options["strategy"])(fetch)
    decorated: LookUp = cache.failover(ttl=setting.life + setting.grace, key=KEY)(cached)
    return decorated


def _strategy(cache: Any, setting: Setting, strategy: str) -> Any:
    if strategy == "lock":
        return cache(ttl=setting.life, key=KEY, lock=True)
    return cache.early(ttl=setting.life + setting.grace, early_ttl=setting.life, key=KEY)
