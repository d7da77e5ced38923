"""Celery's broker for the length of a test, and none of its connections for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from kombu import pools

app: Any = current_app


@contextmanager
def celery_broker(url: str) -> Iterator[None]:
    kept = app.conf.broker_url
    _use(url)
    try:
        yield
    finally:
        _use(kept)


def _use(url: str) -> None:
    forget_connections()
    app.conf.update(broker_url=url)


def forget_connections() -> None:
    """The pools keep connections to the broker that they were made with, which another test may have ended since."""
    pools.reset()
    app._pool = app.amqp._producer_pool = None
