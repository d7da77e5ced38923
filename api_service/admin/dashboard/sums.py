"""Sums by step of time, made by the database: what comes back is a few hundred numbers, however many rows there are."""

from __future__ import annotations

from typing import Any

from django.db.models import F, IntegerField
from django.db.models.expressions import Func

from api_service.admin.dashboard.periods import Buckets

# Doubled twice: once for this template, once for the parameters of the statement
_SECONDS = {
    "sqlite": "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER)",
    "postgresql": "CAST(floor(extract(epoch FROM %(expressions)s)) AS bigint)",
}


class Bucket(Func):
    """The number of the step that a moment is in: 0 for the first.

    Django's `Trunc` is a call of Python for each row on SQLite: a quarter of a second for the hours of 90 days. The
    numbers are written into the statement: a parameter would make the grouped expression another one than the shown.
    """

    output_field = IntegerField()

    def __init__(self, field: str, of: Buckets) -> None:
        super().__init__(F(field))
        self._start, self._step = int(of.start.timestamp()), int(of.step.total_seconds())

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self._as("sqlite", compiler, connection, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self._as("postgresql", compiler, connection, **extra)

    def _as(self, vendor: str, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = f"(({_SECONDS[vendor]} - {self._start}) / {self._step})"
        return self.as_sql(compiler, connection, template=template, **extra)
