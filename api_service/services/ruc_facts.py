"""All that is known of one RUC, without asking anybody who is paid: cache node by node, answer store, tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from api_service.models import DailyReads, ReadHabitBin, TrackedKey, WarmedAnswer
from api_service.services import answers, node_reads, ruc
from api_service.services.cache_service import INVALID_KEY, MIGO, RUC_KEY, APICacheService
from api_service.services.node_reads import NodeReads
from api_service.services.outcomes import MISS, OUTAGE, CacheRead
from api_service.services.ruc_rules import Lives, Place, RucFacts
from api_service.services.subjects import RUC

READS_DAYS: Final = 30
WARMS_SHOWN: Final = 10


def of(number: str, now: float) -> RucFacts:
    """`number` has eleven digits. Ends within a few seconds whichever node hangs; one query."""
    cache = APICacheService()
    keys = (cache.wire_prefix + RUC_KEY + number, cache.wire_prefix + INVALID_KEY + number)
    homes = [cache.adapter.node_for(key) for key in keys]
    looks = {look.node: look for look in node_reads.look(cache.adapter, keys, now)}
    answer, negative = (_read(looks[home], key) for home, key in zip(homes, keys, strict=True))
    return RucFacts(
        ruc=number,
        can_exist=ruc.is_valid(number),
        answer_key=keys[0],
        negative_key=keys[1],
        places=[Place(look, node == homes[0], node == homes[1]) for node, look in looks.items()],
        answer=answer,
        negative=negative,
        # However old: from the beginning of time
        stored=answers.read(MIGO, RUC, [number], now, now).get(number),
    )


def _read(look: NodeReads, key: str) -> CacheRead:
    return OUTAGE if look.error else look.values.get(key, MISS)


def cached(numbers: Sequence[str], now: float) -> dict[str, CacheRead]:
    """The answers of several, as a look-up would read them."""
    cache = APICacheService()
    keys = {number: cache.wire_prefix + RUC_KEY + number for number in numbers}
    looks = {look.node: look for look in node_reads.look(cache.adapter, list(keys.values()), now)}
    return {number: _read(looks[cache.adapter.node_for(key)], key) for number, key in keys.items()}


def lives() -> Lives:
    """As the settings have them."""
    return Lives(settings.CACHE_TTL_RUC, settings.STALE_WHILE_REVALIDATE, settings.STALE_IF_ERROR)


def reads_by_day(number: str, today: date) -> list[DailyReads]:
    """Of the last days, newest first."""
    since = today - timedelta(days=READS_DAYS - 1)
    return list(DailyReads.objects.filter(service=MIGO, kind=RUC, identifier=number, day__gte=since).order_by("-day"))


def habit(number: str) -> list[tuple[int, float]]:
    """Half hours of weekdays and weekends (as `warm_policy` counts them) with their share of the visits, most first."""
    bins = ReadHabitBin.objects.filter(habit__service=MIGO, habit__kind=RUC, habit__identifier=number)
    rows = list(bins.order_by("-visits").values_list("bin", "visits"))
    total = sum(visits for _bin, visits in rows)
    return [(half_hour, visits / total) for half_hour, visits in rows if total]


def warms(number: str) -> list[WarmedAnswer]:
    """The last times that a warm run loaded it, newest first."""
    rows = WarmedAnswer.objects.filter(identifier=number, service=MIGO, kind=RUC).select_related("run")
    return list(rows.order_by("-warmed_at")[:WARMS_SHOWN])


def tracked(number: str) -> list[TrackedKey]:
    """Its keys as the last inventories saw them."""
    return list(TrackedKey.objects.filter(key__in=[RUC_KEY + number, INVALID_KEY + number]).order_by("key", "node"))


def moment_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.get_default_timezone())
