"""Why RUCs are listed as invalid: counted with each inventory, as only the values in the cache say it.

An inventory lists keys, and to read their values costs a look-up each: so many are read and no more, which takes a
third of a second of a worker. Pages show what was counted then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypedDict

from api_service.models import TrackedKey, TrackRun
from api_service.services.cache_service import INVALID_KEY, APICacheService

MOST_READ: Final = 20_000
AT_ONCE: Final = 1000
# Reasons are texts of whoever adds a RUC: what is kept of them stays small
REASONS_KEPT: Final = 20
LENGTH: Final = 60
OTHERS: Final = "(others)"


class ReasonsJSON(TypedDict):
    """`complete`: whether all were read; else `reasons` is of the first `MOST_READ` in the order of their numbers."""

    complete: bool
    reasons: dict[str, int]


def note(run: int) -> None:
    """Count the reasons of all RUCs that are listed now, and keep them with that inventory."""
    TrackRun.objects.filter(pk=run).update(invalid_reasons=count(APICacheService()))


def count(cache: APICacheService) -> ReasonsJSON:
    """What has ended or cannot be read meanwhile does not count."""
    names = _names()
    reasons: Counter[str] = Counter()
    for start in range(0, len(names[:MOST_READ]), AT_ONCE):
        infos = cache.get_many(names[start : min(start + AT_ONCE, MOST_READ)])
        reasons.update(map(reason_of, infos.values()))
    return {"complete": len(names) <= MOST_READ, "reasons": shortened(reasons)}


def _names() -> list[str]:
    """Of the key table, along its index of state and key: all that begin alike lie before the next beginning."""
    end = INVALID_KEY[:-1] + chr(ord(INVALID_KEY[-1]) + 1)
    rows = TrackedKey.objects.filter(state=TrackedKey.State.ACTIVE, key__gte=INVALID_KEY, key__lt=end)
    # A key may have a row on each of two nodes
    found = rows.order_by("key").values_list("key", flat=True).distinct()
    return list(found[: MOST_READ + 1])


def reason_of(info: Any) -> str:
    """Of one value; "" where it has none."""
    return str(info.get("reason", ""))[:LENGTH] if isinstance(info, Mapping) else ""


def shortened(reasons: Counter[str]) -> dict[str, int]:
    """The most frequent first; the rest under one name."""
    rest = sum(number for _reason, number in islice(reasons.most_common(), REASONS_KEPT, None))
    return dict(_with_rest(reasons.most_common(REASONS_KEPT), rest))


def _with_rest(known: Iterable[tuple[str, int]], rest: int) -> Iterable[tuple[str, int]]:
    yield from known
    if rest:
        yield OTHERS, rest
