"""Look-ups, paid queries, latency and warming over time: one query each, summed up step by step in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.db.models import Avg, Max, Sum
from django.utils.translation import gettext as _

from api_service.admin import display, words
from api_service.admin.dashboard import charts, links
from api_service.admin.dashboard.charts import Chart, Colour, Shape, Values, series
from api_service.admin.dashboard.money import ANSWERED
from api_service.admin.dashboard.periods import Buckets, Period, labels
from api_service.admin.dashboard.sums import Bucket
from api_service.models import HealthSample, LookupHour, NodeSample, SpendHour, WarmRun
from api_service.services.budget_rules import Purpose
from api_service.services.outcomes import Outcome

# Name → bucket's number → sum
Sums: TypeAlias = Mapping[str, Mapping[int, float]]

OUTCOME_COLOURS = {
    Outcome.HIT: Colour.GOOD,
    Outcome.NEGATIVE: Colour.SECOND,
    Outcome.STALE: Colour.WARNING,
    Outcome.MISS: Colour.FIRST,
    Outcome.OUTAGE: Colour.BAD,
}
PURPOSE_COLOURS = {Purpose.USER: Colour.FIRST, Purpose.WARM: Colour.SECOND, Purpose.RETRY: Colour.WARNING}


@dataclass(frozen=True)
class Axis:
    """The steps of a period with their names."""

    period: Period
    buckets: Buckets
    labels: tuple[str, ...]
    heads: tuple[str, ...]


def axis(period: Period, of: Buckets) -> Axis:
    short, exact = (labels(period, of, wanted) for wanted in (lambda one: one.label, lambda one: one.exact))
    return Axis(period, of, tuple(short), tuple(exact))


def _by_name(rows: Iterable[tuple[int, str, float]]) -> Sums:
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for bucket, name, value in rows:
        found[name][bucket] = value
    return found


def _zero_where_measured(values: Values, measured: Values) -> list[float | None]:
    """No row of a kind in a step of which there are other rows is a 0, not a gap."""
    return [
        0 if value is None and beside is not None else value for value, beside in zip(values, measured, strict=True)
    ]


# -- look-ups


def lookups(on: Axis) -> dict[str, list[float | None]]:
    """Look-ups by outcome, a value a step. One query."""
    of = on.buckets
    rows = LookupHour.objects.filter(hour__gte=of.start, hour__lt=of.end).values_list(Bucket("hour", of), "outcome")
    found = _by_name(rows.annotate(total=Sum("count")))
    spread = {one.value: of.spread(found.get(one, {})) for one in Outcome}
    measured = charts.total(list(spread.values()))
    return {name: _zero_where_measured(values, measured) for name, values in spread.items()}


def hit_ratio(on: Axis, counts: Mapping[str, Values]) -> Chart:
    share = charts.parts(charts.total([counts[one] for one in ANSWERED]), charts.total(list(counts.values())))
    return Chart(
        key="hit-ratio",
        title=_("Answered by the cache"),
        shape=Shape.LINE,
        labels=on.labels,
        heads=on.heads,
        series=(series(_("hit ratio"), share, Colour.GOOD),),
        summary=charts.span(share, _percent),
        empty=_("No look-ups in this time."),
        unit=" %",
        most=100,
        write=_percent,
        url=links.list_of(LookupHour),
    )


def outcomes(on: Axis, counts: Mapping[str, Values]) -> Chart:
    return Chart(
        key="lookups",
        title=_("Look-ups by what the cache said"),
        shape=Shape.STACK,
        labels=on.labels,
        heads=on.heads,
        series=tuple(
            series(words.word(words.OUTCOMES, one), counts[one], colour) for one, colour in OUTCOME_COLOURS.items()
        ),
        summary=_summed(counts.values()),
        empty=_("No look-ups in this time."),
        url=links.list_of(LookupHour),
    )


# -- paid queries


def calls(on: Axis, measured: Values) -> Chart:
    """`measured` has a value for each step in which the service was at work. One query."""
    of = on.buckets
    rows = SpendHour.objects.filter(hour__gte=of.start, hour__lt=of.end).values_list(Bucket("hour", of), "purpose")
    found = _by_name(rows.annotate(total=Sum("queries")))
    spread = {one: of.spread(found.get(one, {})) for one in Purpose}
    at_work = charts.total([measured, *spread.values()])
    filled = {one: _zero_where_measured(values, at_work) for one, values in spread.items()}
    return Chart(
        key="calls",
        title=_("Paid queries"),
        shape=Shape.STACK,
        labels=on.labels,
        heads=on.heads,
        series=tuple(series(words.word(words.PURPOSES, one), filled[one], PURPOSE_COLOURS[one]) for one in Purpose),
        summary=_summed(filled.values()),
        empty=_("No paid queries and no look-ups in this time."),
        url=links.list_of(SpendHour),
    )


def _pair(of: Buckets, rows: Iterable[tuple[int, Any, Any]]) -> tuple[Values, Values]:
    """Two values a bucket as two lines."""
    found = {bucket: values for bucket, *values in rows}
    first, second = (of.spread({bucket: values[place] for bucket, values in found.items()}) for place in (0, 1))
    return first, second


# -- latency


def latency(on: Axis) -> Chart:
    """Of all nodes: the mean of their medians, and the worst round trip. One query."""
    of = on.buckets
    rows = NodeSample.objects.filter(sample__taken_at__gte=of.start, sample__taken_at__lt=of.end)
    sums = rows.values_list(Bucket("sample__taken_at", of)).annotate(Avg("latency_ms"), Max("latency_worst_ms"))
    usual, worst = _pair(of, sums)
    return Chart(
        key="latency",
        title=_("Latency of the cache"),
        shape=Shape.LINE,
        labels=on.labels,
        heads=on.heads,
        series=(series(_("usual"), usual, Colour.FIRST), series(_("worst"), worst, Colour.WARNING)),
        summary=charts.span(usual, _milliseconds),
        empty=_("No health run in this time."),
        unit=" ms",
        write=_milliseconds,
        note=_("Of what is older than two days, the worst health run of each hour."),
        url=links.list_of(HealthSample),
    )


# -- warming


def warming(on: Axis) -> Chart:
    """One query."""
    of = on.buckets
    rows = WarmRun.objects.filter(started_at__gte=of.start, started_at__lt=of.end, useful__isnull=False)
    sums = rows.values_list(Bucket("started_at", of)).annotate(Sum("useful"), Sum("wasted"))
    useful, wasted = _pair(of, sums)
    return Chart(
        key="warming",
        title=_("Warming: loaded in time, or in vain"),
        shape=Shape.STACK,
        labels=on.labels,
        heads=on.heads,
        series=(
            series(_("read in time"), useful, Colour.GOOD),
            series(_("not read in time"), wasted, Colour.WARNING),
        ),
        summary=_summed((useful, wasted)),
        empty=_("No warm run of this time has been summed up yet."),
        note=_("A run is summed up when all that it loaded has ended."),
        url=links.list_of(WarmRun),
    )


# -- how values are written


def _percent(value: float | None) -> str:
    return display.share(value, 100)


def _milliseconds(value: float | None) -> str:
    return display.number(value, " ms", 1)


def _summed(values: Iterable[Values]) -> str:
    known = [value for one in values for value in one if value is not None]
    return _("%(total)s in all") % {"total": display.number(sum(known))} if known else ""
