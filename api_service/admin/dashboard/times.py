"""How long people waited for an answer, of the cache and of a provider: estimated from look-ups counted in steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from django.db.models import Sum
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import display
from api_service.admin.dashboard import charts, links
from api_service.admin.dashboard.charts import Chart, Colour, Shape, series
from api_service.admin.dashboard.history import Axis
from api_service.admin.dashboard.periods import Buckets
from api_service.admin.dashboard.sums import Bucket
from api_service.models import LookupTime
from api_service.services.latencies import Way, quantile

# Look-ups by the bound of the step that their time is in
Steps: TypeAlias = Mapping[int, int]

# Half a second and half a millisecond have no axis in common: a chart each
TITLES: Mapping[Way, Promise] = {
    Way.CACHE: gettext_lazy("Time to an answer from the cache"),
    Way.UPSTREAM: gettext_lazy("Time to an answer from a provider"),
}
NAMES: Mapping[Way, Promise] = {
    Way.CACHE: gettext_lazy("from the cache"),
    Way.STORE: gettext_lazy("from the answer store"),
    Way.UPSTREAM: gettext_lazy("from a provider"),
    # Left out, an hour without the provider would look as fast as any
    Way.FAILED: gettext_lazy("an error or an old answer"),
}
USUAL, MOST = 0.5, 0.95


@dataclass(frozen=True)
class Wait:
    """`usual` is the median, `most` the time within which 95 of 100 had their end; `look_ups` are all of them."""

    name: str
    look_ups: str
    usual: str
    most: str


@dataclass(frozen=True)
class Times:
    url: str
    waits: tuple[Wait, ...]


def times(of: Buckets) -> Times:
    """Of the ways that any look-up took. One query."""
    found: defaultdict[str, dict[int, int]] = defaultdict(dict)
    rows = LookupTime.objects.filter(hour__gte=of.start, hour__lt=of.end, way__in=list(NAMES))
    for way, bound, total in rows.values_list("way", "bound").annotate(total=Sum("count")):
        found[way][bound] = total
    waits = tuple(_wait(str(name), found[way]) for way, name in NAMES.items() if way in found)
    return Times(links.list_of(LookupTime), waits)


def _wait(name: str, steps: Steps) -> Wait:
    number = display.number(sum(steps.values()))
    return Wait(name, number, *(_milliseconds(_within(steps, part)) for part in (USUAL, MOST)))


def drawn(on: Axis) -> Iterator[Chart]:
    """One query for both."""
    of = on.buckets
    rows = LookupTime.objects.filter(hour__gte=of.start, hour__lt=of.end, way__in=list(TITLES))
    found: defaultdict[str, defaultdict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for step, way, bound, total in rows.values_list(Bucket("hour", of), "way", "bound").annotate(total=Sum("count")):
        found[way][step][bound] = total
    return (_chart(on, way, str(title), found[way]) for way, title in TITLES.items())


def _chart(on: Axis, way: Way, title: str, found: Mapping[int, Steps]) -> Chart:
    usual, most = (on.buckets.spread(_each_within(found, part)) for part in (USUAL, MOST))
    return Chart(
        key=f"times-{way.value}",
        title=title,
        shape=Shape.LINE,
        labels=on.labels,
        heads=on.heads,
        series=(
            series(_("median"), usual, Colour.FIRST),
            series(_("95 of 100 within"), most, Colour.WARNING),
        ),
        summary=charts.span(usual, _milliseconds),
        empty=_("No look-up was timed in this time."),
        unit=" ms",
        write=_milliseconds,
        note=_("Single look-ups, estimated from counts in steps; batches are not timed."),
        url=links.list_of(LookupTime),
    )


def _each_within(found: Mapping[int, Steps], part: float) -> dict[int, float]:
    return {step: value for step, steps in found.items() if (value := _within(steps, part)) is not None}


def _within(steps: Steps, part: float) -> float | None:
    """Milliseconds."""
    seconds = quantile(steps, part)
    return None if seconds is None else round(1000 * seconds, 3)


def _milliseconds(value: float | None) -> str:
    """No finer than an estimate is."""
    return display.number(value, "\xa0ms", 1 if value is None or value < 10 else 0)
