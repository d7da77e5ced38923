"""Our look-up, on the project's own settings."""

import os
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.peers.candidates import LookUp, Record, Setting


def environment(setting: Setting, options: Mapping[str, str]) -> dict[str, str]:
    """Of those who look up and of the worker."""
    return {
        "SECRET_KEY": "benchmark",
        "DATA_DIR": setting.folder,
        "DATABASE_URL": f"sqlite:///{Path(setting.folder) / 'benchmark.sqlite3'}",
        "CACHE_URL": setting.redis if options.get("server") == "redis" else setting.memcached,
        "CELERY_BROKER_URL": setting.broker,
        "MIGO_BASE_URL": f"{setting.upstream}/api/v2",
        "MIGO_API_VERSION": "v2",
        "MIGO_TOKEN": "token-of-the-benchmark",
        "MIGO_ATTEMPTS": "1",
        "CACHE_TTL_RUC": str(setting.life),
        "STALE_WHILE_REVALIDATE": str(setting.grace),
        "STALE_IF_ERROR": str(setting.grace),
        "LOG_LEVEL": "ERROR",
    }


def prepare(setting: Setting, options: Mapping[str, str]) -> None:
    """Once, before any process of it starts."""
    _set_up(setting, options)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def make(setting: Setting, options: Mapping[str, str]) -> LookUp:
    _set_up(setting, options)
    from api_service.services import lookup

    def look_up(ruc: str) -> Record:
        found = lookup.get("migo", "ruc", ruc)
        if found.data is None:
            raise LookupError(found.reason)
        return found.data

    return look_up


def make_base(setting: Setting, options: Mapping[str, str]) -> LookUp:
    """The bare read of the cache that hits are compared with."""
    _set_up(setting, options)
    from api_service.services.cache_service import APICacheService

    cache = APICacheService()

    def get_ruc(ruc: str) -> Record:
        record: Record = cache.get_ruc(ruc)
        return record

    return get_ruc


def _set_up(setting: Setting, options: Mapping[str, str]) -> None:
    import django

    os.environ.update(environment(setting, options))
    django.setup()
