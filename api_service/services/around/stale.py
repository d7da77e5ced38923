"""Answers past their life that callers were shown, as a share of all look-ups of the same minutes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum

from api_service.models import HealthSample, LookupHour
from api_service.services import around_rules, stale_counts
from api_service.services.around.reading import Moment, Seen, judges
from api_service.services.durations import rough
from api_service.services.health_rules import Finding, stale_served
from api_service.services.stale_counts import Trouble

# Look-ups are counted by the hour: those of the last minutes are what came since a run of about that long ago
EARLIEST, LATEST = timedelta(minutes=20), stale_counts.LOOKED_AT - timedelta(seconds=30)


@judges("stale_served")
def read(moment: Moment) -> Seen:
    hour = moment.now.replace(minute=0, second=0, microsecond=0)
    lookups, troubles = _lookups_since(moment.now), {each.service: each for each in stale_counts.troubles(moment.now)}
    facts = {name: _facts(troubles.get(name), lookups.get(name)) for name in sorted({*troubles, *lookups})}
    counted = {"since": hour.isoformat(), "services": _counts(hour)}
    found = [_finding(each, facts[each.service]["share"]) for each in troubles.values()]
    return Seen({"services": facts, "lookups": counted}, found)


def _facts(trouble: Trouble | None, lookups: int | None) -> dict[str, Any]:
    shown = trouble.answers if trouble else 0
    return {
        "answers": shown,
        "lookups": lookups,
        "share": around_rules.share_of(shown, lookups),
        "oldest_seconds": trouble.oldest if trouble else None,
        "reasons": list(trouble.reasons) if trouble else [],
    }


def _finding(trouble: Trouble, share: float | None) -> Finding:
    part = "" if share is None else f" ({share:.1%})"
    return stale_served(
        trouble.service, f"{trouble.answers} × ≤ {rough(trouble.oldest)}{part}: {', '.join(trouble.reasons)}"
    )


def _lookups_since(now: datetime) -> dict[str, int]:
    """Look-ups by service since the run of ten minutes ago; nothing where there was none."""
    samples = HealthSample.objects.filter(taken_at__gte=now - EARLIEST, taken_at__lte=now - LATEST)
    around = samples.order_by("-taken_at").values_list("around", flat=True).first() or {}
    before: Mapping[str, Any] = around.get("stale", {}).get("lookups") or {}
    if not before:
        return {}
    counts = _counts(datetime.fromisoformat(before["since"]))
    return {name: max(0, number - before["services"].get(name, 0)) for name, number in counts.items()}


def _counts(since: datetime) -> dict[str, int]:
    rows = LookupHour.objects.filter(hour__gte=since).values_list("service").annotate(Sum("count"))
    return dict(rows.order_by("service"))
