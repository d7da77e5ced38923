"""A chart as data: what is drawn, and the same in words and in a table. Pure but for translation.

`None` is "not measured" and leaves a gap; it is never drawn as 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from api_service.admin import display

Values = Sequence[float | None]


class Shape(StrEnum):
    LINE = "line"
    # Parts of a whole, on top of each other
    STACK = "stack"
    BARS = "bars"


class Colour(StrEnum):
    """A row of the palette in `dashboard.css`, which has one for light and one for dark ground."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    FIRST = "first"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    QUIET = "quiet"


# For series that nothing but their name tells apart
IN_TURN = (Colour.FIRST, Colour.SECOND, Colour.THIRD, Colour.FOURTH, Colour.GOOD, Colour.WARNING, Colour.QUIET)


@dataclass(frozen=True)
class Series:
    """`values` has a value for each label of its chart."""

    name: str
    values: tuple[float | None, ...]
    colour: Colour


def series(name: object, values: Values, colour: Colour) -> Series:
    return Series(str(name), tuple(values), colour)


@dataclass(frozen=True)
class Chart:
    """`heads` names the rows of the table as `labels` names the steps of the axis, only longer.

    `write` is how a value is written, `summary` the chart in a sentence, `empty` what is said where there is nothing.
    """

    key: str
    title: str
    shape: Shape
    labels: tuple[str, ...]
    heads: tuple[str, ...]
    series: tuple[Series, ...]
    empty: str
    summary: str = ""
    unit: str = ""
    most: float | None = None
    bytes: bool = False
    first_head: str = ""
    note: str = ""
    url: str = ""
    write: Callable[[float | None], str] = field(default=display.number)

    @property
    def is_empty(self) -> bool:
        return not any(value is not None for one in self.series for value in one.values)

    @property
    def data(self) -> str:
        """What `charts.js` draws."""
        drawn = {
            "shape": self.shape.value,
            "labels": self.labels,
            "heads": self.heads,
            "unit": self.unit,
            "most": self.most,
            "bytes": self.bytes,
            "named": bool(self.first_head),
            "series": [{"name": one.name, "values": one.values, "colour": one.colour.value} for one in self.series],
        }
        return json.dumps(drawn, ensure_ascii=False, separators=(",", ":"))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.first_head or _("beginning"), *(one.name for one in self.series))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The newest first where the rows are times; steps without any value are left out."""
        found = [
            (head, *map(self.write, values))
            for head, *values in zip(self.heads, *(one.values for one in self.series), strict=True)
            if any(value is not None for value in values)
        ]
        return found if self.first_head else found[::-1]

    @property
    def body(self) -> Iterator[tuple[str, SafeString]]:
        """The rows for the page: a template that writes each cell takes as long as all the queries together."""
        for head, *values in self.rows:
            yield head, format_html_join("", "<td>{}</td>", ((value,) for value in values))


def parts(numerators: Values, denominators: Values) -> list[float | None]:
    """Shares in per cent; nothing where nothing was counted."""
    return [
        round(100 * (part or 0) / whole, 2) if whole else None
        for part, whole in zip(numerators, denominators, strict=True)
    ]


def total(of: Sequence[Values]) -> list[float | None]:
    """The sum at each step; nothing where none has a value."""
    return [
        sum(known) if (known := [value for value in values if value is not None]) else None
        for values in zip(*of, strict=True)
    ]


def span(values: Values, write: Callable[[float | None], str]) -> str:
    """The lowest, the highest and the last value in words; "" where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    facts = {"low": write(min(known)), "high": write(max(known)), "last": write(known[-1])}
    return _("between %(low)s and %(high)s, last %(last)s") % facts
