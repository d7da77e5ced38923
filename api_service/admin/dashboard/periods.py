"""The times that the page looks back on, and the equal steps that a chart cuts them into. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

T = TypeVar("T")

PARAMETER = "period"


@dataclass(frozen=True)
class Period:
    """`steps` of `step` each; `label` is the format of a step's beginning beside the axis, `exact` that in a table."""

    name: str
    title: Promise
    step: timedelta
    steps: int
    label: str
    exact: str


PERIODS: Mapping[str, Period] = {
    one.name: one
    for one in (
        Period("24h", _("24 hours"), timedelta(hours=1), 24, "H:i", "D j, H:i"),
        Period("7d", _("7 days"), timedelta(hours=3), 56, "D j", "D j, H:i"),
        Period("90d", _("90 days"), timedelta(days=1), 90, "j M", "j M Y"),
    )
}
DEFAULT = PERIODS["24h"]


def chosen(parameters: Mapping[str, str]) -> Period:
    """That of the URL; a name that there is none of is the shortest."""
    return PERIODS.get(parameters.get(PARAMETER, ""), DEFAULT)


@dataclass(frozen=True)
class Buckets:
    """`count` steps from `start` on, the last of which is under way.

    Steps are equal lengths of time. Lima has no summer time: there days and hours of the clock are just that.
    """

    start: datetime
    step: timedelta
    count: int

    @property
    def end(self) -> datetime:
        return self.start + self.count * self.step

    def starts(self) -> list[datetime]:
        return [self.start + number * self.step for number in range(self.count)]

    def spread(self, values: Mapping[int, T]) -> list[T | None]:
        """Values by their bucket's number in the order of time; None where there is none."""
        return [values.get(number) for number in range(self.count)]


def buckets(period: Period, now: datetime) -> Buckets:
    """The last one is that of `now`; they begin where days and hours of the local clock do."""
    local = timezone.localtime(now)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    last = midnight + (local - midnight) // period.step * period.step
    return Buckets(last - (period.steps - 1) * period.step, period.step, period.steps)


def labels(period: Period, of: Buckets, wanted: Callable[[Period], str]) -> list[str]:
    """The beginning of each step in the local time and the active language."""
    return [date_format(timezone.localtime(start), wanted(period)) for start in of.starts()]
