"""The libraries compared, each in a file of its own, used as its documentation says for a paid and slow answer.

A candidate's module is imported by its own processes only, on the packages of `requirements-peers.lock`. It has `make`,
which builds the look-up: a function, or coroutine function, that takes a RUC and returns the record, or raises.
"""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]
LookUp: TypeAlias = Callable[[str], Record] | Callable[[str], Awaitable[Record]]

PACKAGE = "tests.benchmarks.peers.candidates"
# Settings that Django reads find the setting here
VARIABLE = "BENCHMARK_SETTING"
OUR_SETTINGS = "myproject.settings"
OUR_WORKER = ("-A", "myproject", "-Q", "default")


@dataclass(frozen=True)
class Setting:
    """Where everything is, and for how many seconds an answer lives and may be shown past that."""

    upstream: str
    memcached: str
    redis: str
    broker: str
    folder: str
    life: int
    grace: int


@dataclass(frozen=True)
class Candidate:
    """`server` holds the answers; `worker` are Celery's arguments, for one that refreshes in a worker.

    `settings` is the Django settings module of one that runs on Django.
    """

    title: str
    module: str
    server: str
    how: str
    worker: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""


TABLE: dict[str, Candidate] = {
    "none": Candidate("no cache", "bare", "", "each look-up is a call"),
    "ours": Candidate(
        "lookup.get",
        "ours",
        "memcached",
        "as configured by default but for life times and one attempt a call, as the others have; SQLite, one worker",
        OUR_WORKER,
        settings=OUR_SETTINGS,
    ),
    "ours-redis": Candidate(
        "lookup.get",
        "ours",
        "redis",
        "the same on Redis",
        OUR_WORKER,
        {"server": "redis"},
        OUR_SETTINGS,
    ),
    "dogpile": Candidate(
        "dogpile.cache",
        "dogpile_region",
        "memcached",
        "get_or_create, distributed_lock, async_creation_runner with threads; pymemcache",
        options={"server": "memcached"},
    ),
    "dogpile-redis": Candidate(
        "dogpile.cache",
        "dogpile_region",
        "redis",
        "the same on Redis, thread_local_lock off as the runner's threads need it",
        options={"server": "redis"},
    ),
    "cacheback": Candidate(
        "django-cacheback",
        "cacheback_job",
        "memcached",
        "Job with fetch_on_miss (the default: without it the first caller gets None), a Celery worker; "
        "Django's PyMemcacheCache with ignore_exc; CACHEBACK_VERIFY_CACHE_WRITE off, so that a dead cache is no error",
        ("-A", f"{PACKAGE}.cacheback_worker"),
        settings=f"{PACKAGE}.cacheback_settings",
    ),
    "cashews": Candidate(
        "cashews early",
        "cashews_decorators",
        "redis",
        "@cache.failover over @cache.early, early_ttl the life time; asyncio",
        options={"strategy": "early"},
    ),
    "cashews-lock": Candidate(
        "cashews lock",
        "cashews_decorators",
        "redis",
        "@cache.failover over @cache(lock=True); asyncio",
        options={"strategy": "lock"},
    ),
    "requests-cache": Candidate(
        "requests-cache",
        "requests_cache_session",
        "redis",
        "one CachedSession for all threads, stale_while_revalidate and stale_if_error; redis-py's retries as they are; "
        "its hits are whole HTTP responses, whose JSON is read each time",
    ),
}


def opened(name: str, setting_as_json: str) -> tuple[ModuleType, Setting]:
    """The candidate's module, in a process of its own; some libraries read Django's settings when they are imported."""
    candidate = TABLE[name]
    os.environ[VARIABLE] = setting_as_json
    if candidate.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = candidate.settings
    return import_module(f"{PACKAGE}.{candidate.module}"), Setting(**json.loads(setting_as_json))
