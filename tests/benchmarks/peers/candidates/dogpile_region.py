"""dogpile.cache: one creator, over processes by its lock on the server; who finds an old value does not wait."""

import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from dogpile.cache import make_region

from tests.benchmarks.peers.candidates import LookUp, Record, Setting
from tests.benchmarks.peers.candidates.bare import call_of, prepared

LOCK_SECONDS = 60


def make(setting: Setting, options: Mapping[str, str]) -> LookUp:
    call = call_of(setting.upstream, prepared(requests.Session()))
    backend, arguments = _backend(setting, options["server"])
    region = make_region(async_creation_runner=_in_a_thread).configure(
        backend, expiration_time=setting.life, arguments={**arguments, "distributed_lock": True}
    )

    def look_up(ruc: str) -> Record:
        record: Record = region.get_or_create(f"ruc_{ruc}", call, creator_args=((ruc,), {}))
        return record

    return look_up


def _backend(setting: Setting, server: str) -> tuple[str, dict[str, Any]]:
    keep = setting.life + setting.grace
    if server == "redis":
        arguments = {"redis_expiration_time": keep, "lock_timeout": LOCK_SECONDS, "thread_local_lock": False}
        return "dogpile.cache.redis", {"url": setting.redis, **arguments}
    address = urlsplit(setting.memcached).netloc
    return "dogpile.cache.pymemcache", {"url": [address], "memcached_expire_time": keep, "lock_timeout": LOCK_SECONDS}


def _in_a_thread(cache: Any, key: str, creator: Callable[[], Any], mutex: Any) -> None:
    """As in its documentation."""

    def run() -> None:
        try:
            cache.set(key, creator())
        finally:
            mutex.release()

    threading.Thread(target=run).start()
