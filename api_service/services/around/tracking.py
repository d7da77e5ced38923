"""The key table: how old each node's last complete inventory is."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from api_service.models import NodeListing, TrackRun
from api_service.services import around_rules
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.cache_service import APICacheService


@judges("tracking_old")
def read(moment: Moment) -> Seen:
    limit = settings.TRACK_PERIOD * settings.HEALTH_TRACKING_PERIODS
    listed = {node: _listed_at(node) for node in APICacheService().adapter.nodes()}
    ages = {node: _seconds(at or _asked_at(node), moment.now) for node, at in listed.items()}
    facts = {node: {"complete": at is not None, "seconds": ages[node]} for node, at in listed.items()}
    return Seen({"nodes": facts}, list(around_rules.of_inventories(ages, limit)))


def _listed_at(node: str) -> datetime | None:
    done = NodeListing.objects.filter(node=node, state=TrackRun.State.DONE, retired=False)
    return done.order_by("-listed_at").values_list("listed_at", flat=True).first()


def _asked_at(node: str) -> datetime | None:
    """Of a node that was never listed to the end: since when that has been tried."""
    tried = NodeListing.objects.filter(node=node).order_by("run__started_at")
    return tried.values_list("run__started_at", flat=True).first()


def _seconds(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else round((now - moment).total_seconds(), 1)
