"""What goes in and out, as the OpenAPI document shows it. Times are ISO 8601, sizes bytes, durations seconds."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final, Literal, TypeAlias

from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MOST_RUCS = 1000

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

RucNumber: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{11}$", examples=["20100038146"])]
DniNumber: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{8}$", examples=["12345678"])]
ServiceName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$", examples=["migo"])]
# Larger ones would be none that a database takes
RowNumber: TypeAlias = Annotated[int, Field(ge=1, le=2**63 - 1)]


def _written_as_a_date(text: object) -> object:
    """Pydantic takes `0` for seconds since 1970: a slip would be a query that is paid for."""
    if isinstance(text, str) and not _DATE.fullmatch(text):
        # Of a ValueError pydantic says so first, in English
        raise PydanticCustomError("date", _("Write a date as 2026-01-28."))
    return text


Day: TypeAlias = Annotated[date, BeforeValidator(_written_as_a_date)]
MaxStale: TypeAlias = Annotated[
    int | None,
    Field(
        ge=0,
        le=999_999_999,
        description="Seconds past its life that an answer may be; 0 for none that is old. Without it the settings say.",
    ),
]
Refresh: TypeAlias = Annotated[
    bool, Field(description="Ask APIMIGO anew, and pay for it, also when the cache has an answer.")
]


class Problem(Schema):
    """RFC 9457. `code` is stable; `detail` and `next_step` are for people, in the language of Accept-Language."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(examples=["not_found"])
    next_step: str
    request_id: str


# -- look-ups


class AgeWish(Schema):
    max_stale: MaxStale = None


class FreshnessWish(AgeWish):
    refresh: Refresh = False


class DayRange(Schema):
    """Both days included."""

    start: Day
    end: Day


class RucRecord(Schema):
    """A taxpayer, with APIMIGO's own fields; there may be more than these."""

    model_config = ConfigDict(extra="allow")

    ruc: str
    nombre_o_razon_social: str | None = None
    estado_del_contribuyente: str | None = None
    condicion_de_domicilio: str | None = None
    direccion: str | None = None
    actualizado_en: str | None = None


class DniRecord(Schema):
    model_config = ConfigDict(extra="allow")

    dni: str
    nombre: str | None = None


class ExchangeRate(Schema):
    """Prices are decimal texts."""

    model_config = ConfigDict(extra="allow")

    fecha: str | None = None
    moneda: str | None = None
    precio_compra: str | None = None
    precio_venta: str | None = None


class ExchangeRates(Schema):
    rates: list[ExchangeRate]


class Remark(Schema):
    code: str
    message: str


class Billing(Schema):
    """Whether an invoice can be made out. `errors` forbid it, `warnings` do not."""

    valid: bool
    errors: list[Remark]
    warnings: list[Remark]


class BillingVerdict(Billing):
    ruc: str
    record: RucRecord | None


class Batch(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    rucs: list[Annotated[str, Field(max_length=40)]] = Field(min_length=1, max_length=MOST_RUCS)
    billing: bool = Field(default=False, description="Say of each whether an invoice can be made out.")
    max_stale: MaxStale = None


class Trouble(Schema):
    """Why there is no answer. `permanent`: asking again cannot help; `retry_after` in seconds."""

    code: str
    detail: str
    next_step: str
    permanent: bool
    retry_after: float | None


class CacheNote(Schema):
    """`outcome`: hit, stale, negative, miss, outage; `source`: cache, store, validation, upstream; `age` in seconds."""

    outcome: str
    source: str
    age: float
    stale: bool
    stale_because: str | None


class RucOutcome(Schema):
    """One RUC of a batch. `failed` ones have no answer yet and may be asked for again; the others cost nothing then."""

    ruc: str
    status: Literal["found", "not_found", "malformed", "failed"]
    record: RucRecord | None
    reason: str | None
    problem: Trouble | None
    cache: CacheNote | None
    billing: Billing | None


class BatchSummary(Schema):
    """Of distinct RUCs. A stream that does not end with it was cut off."""

    total: int
    distinct: int
    found: int
    not_found: int
    malformed: int
    failed: int


class BatchResult(BatchSummary):
    """In the order in which they were asked for, each once."""

    results: list[RucOutcome]
