"""The page that Prometheus reads, for the web and for the port of a worker, and who may read it."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final

from django.conf import settings
from django.utils import timezone
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api_service.services import metrics, metrics_database, tracking

PATH: Final = "/metrics"


class _Everything(Collector):
    def __init__(self, *, with_database: bool) -> None:
        self._with_database = with_database

    def collect(self) -> Iterator[Metric]:
        yield from metrics.of_all_processes()
        if self._with_database:
            yield from metrics_database.facts.collect(timezone.now())


def page(accept: str, *, with_database: bool) -> tuple[bytes, str]:
    """Body and content type: OpenMetrics for who accepts that, else Prometheus' own text."""
    tracking.add_up()
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:
        # A version that is no number, which prometheus_client compares with one
        encode, content_type = choose_encoder("")
    return encode(_Everything(with_database=with_database)), content_type


def is_closed() -> bool:
    """Nodes' addresses and what is spent are not for everybody: without a token the page is for nobody."""
    return not settings.METRICS_TOKEN


def may_read(authorization: str) -> bool:
    """Whether the header carries the token. The comparison takes as long for a wrong one as for the right one."""
    scheme, _blank, token = authorization.partition(" ")
    right = hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    return right and not is_closed() and scheme.lower() == "bearer"
