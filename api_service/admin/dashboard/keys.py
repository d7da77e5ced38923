"""Keys and bytes of each service over time, how long they still live, and why RUCs are listed as invalid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from django.db.models import Avg, Subquery
from django.utils.translation import gettext as _

from api_service.admin import display, words
from api_service.admin.dashboard import charts, links
from api_service.admin.dashboard.charts import IN_TURN, Chart, Colour, Shape, Values, series
from api_service.admin.dashboard.history import Axis
from api_service.admin.dashboard.sums import Bucket
from api_service.models import ServiceSnapshot, TrackedKey, TrackRun
from api_service.services.invalid_reasons import MOST_READ, ReasonsJSON


class Stock(NamedTuple):
    """What each service had, a value a step."""

    keys: dict[str, list[float | None]]
    bytes: dict[str, list[float | None]]


def stock(on: Axis) -> Stock:
    """The mean of the inventories of each step. One query.

    A service without a row in an inventory that others have one in had no key: that is 0. A step without an inventory
    is a gap.
    """
    of = on.buckets
    rows = ServiceSnapshot.objects.filter(run__started_at__gte=of.start, run__started_at__lt=of.end)
    found = list(rows.values_list(Bucket("run__started_at", of), "service").annotate(Avg("keys"), Avg("bytes")))
    measured = {bucket for bucket, *_rest in found}
    services = sorted({service for _bucket, service, *_rest in found})

    def spread(place: int) -> dict[str, list[float | None]]:
        values = {(bucket, service): sums[place] for bucket, service, *sums in found}
        return {one: of.spread({step: values.get((step, one), 0) for step in measured}) for one in services}

    return Stock(spread(0), spread(1))


def keys(on: Axis, by_service: Mapping[str, Values]) -> Chart:
    return _of_services(on, "keys", _("Keys by service"), by_service, display.number)


def sizes(on: Axis, by_service: Mapping[str, Values]) -> Chart:
    return _of_services(on, "bytes", _("Bytes by service"), by_service, _size)


def _of_services(
    on: Axis, key: str, title: str, by_service: Mapping[str, Values], write: Callable[[float | None], str]
) -> Chart:
    lines = zip(by_service.items(), _colours(len(by_service)), strict=True)
    return Chart(
        key=key,
        title=title,
        shape=Shape.LINE,
        labels=on.labels,
        heads=on.heads,
        series=tuple(
            series(service, [_whole(value) for value in values], colour) for (service, values), colour in lines
        ),
        summary=charts.span(charts.total(list(by_service.values())), lambda value: write(_whole(value))),
        empty=_("No inventory in this time."),
        bytes=key == "bytes",
        write=write,
        url=links.list_of(ServiceSnapshot),
    )


def _colours(count: int) -> list[charts.Colour]:
    return [IN_TURN[number % len(IN_TURN)] for number in range(count)]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _size(value: float | None) -> str:
    return display.size(_whole(value))


# -- the last complete inventory


def last_snapshots() -> list[ServiceSnapshot]:
    """Each service at the last inventory that came to its end. One query."""
    last = TrackRun.objects.filter(state=TrackRun.State.DONE).order_by("-started_at").values("pk")[:1]
    return list(ServiceSnapshot.objects.filter(run=Subquery(last)).order_by("service"))


def lives(snapshots: Sequence[ServiceSnapshot]) -> Chart:
    """How many keys end within which time."""
    known = [(row.service, row.lives) for row in snapshots if row.lives]
    bars = zip(known, _colours(len(known)), strict=True)
    names = tuple(map(str, words.LIVES.values()))
    return Chart(
        key="lives",
        title=_("Time that keys have left"),
        shape=Shape.STACK,
        labels=names,
        heads=names,
        series=tuple(
            series(service, [of.get(one, 0) for one in words.LIVES], colour) for (service, of), colour in bars
        ),
        summary=_("%(count)s keys") % {"count": display.number(sum(sum(of.values()) for _service, of in known))},
        empty=_("No inventory has found a key yet."),
        first_head=_("up to"),
        url=links.list_of(ServiceSnapshot),
    )


# -- invalid RUCs


def last_reasons() -> ReasonsJSON | None:
    """Of the newest inventory that counted them. One query."""
    runs = TrackRun.objects.exclude(invalid_reasons={}).order_by("-started_at")
    found: ReasonsJSON | None = runs.values_list("invalid_reasons", flat=True).first()
    return found


def reasons(found: ReasonsJSON | None) -> Chart:
    """How many RUCs are listed as invalid for which reason."""
    counts = dict(found["reasons"]) if found else {}
    names = tuple(_reason(one) for one in counts)
    return Chart(
        key="reasons",
        title=_("Invalid RUCs by reason"),
        shape=Shape.BARS,
        labels=names,
        heads=names,
        series=(series(_("RUCs"), tuple(counts.values()), Colour.FIRST),),
        summary=_("%(total)s in all") % {"total": display.number(sum(counts.values()))},
        empty=_("No RUC is listed as invalid, as far as an inventory knows."),
        first_head=_("reason"),
        note="" if not found or found["complete"] else _first_only(),
        url=links.list_of(TrackedKey, "?service=migo&kind=invalid&state__exact=active"),
    )


def _reason(code: str) -> str:
    return words.word(words.INVALID_REASONS, code) if code else _("without a reason")


def _first_only() -> str:
    return _("Of the first %(count)s; there are more.") % {"count": display.number(MOST_READ)}
