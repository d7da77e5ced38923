"""django-cacheback: a Job whose old results are shown while a Celery worker fetches a new one."""

from collections.abc import Mapping
from functools import cache

import django
import requests
from cacheback.base import Job

from tests.benchmarks.peers.candidates import LookUp, Record, Setting
from tests.benchmarks.peers.candidates.bare import call_of, prepared
from tests.benchmarks.peers.candidates.cacheback_settings import SETTING


class RucJob(Job):
    lifetime = SETTING.life
    cache_ttl = SETTING.life + SETTING.grace

    def fetch(self, ruc: str) -> object:
        return _call()(ruc)


@cache
def _call() -> LookUp:
    """One pool of connections for all jobs of a process."""
    return call_of(SETTING.upstream, prepared(requests.Session()))


def make(_setting: Setting, _options: Mapping[str, str]) -> LookUp:
    django.setup()
    # Its tasks go to the broker of the app that is the current one
    from tests.benchmarks.peers.candidates.cacheback_worker import app

    app.set_default()
    # As in a process that has run for a while: its first refresh waits for no import and no connection
    with app.producer_or_acquire() as producer:
        producer.connection.ensure_connection()
    job = RucJob()

    def look_up(ruc: str) -> Record:
        record: Record = job.get(ruc)
        return record

    return look_up
