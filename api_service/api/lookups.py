"""Look-ups: one taxpayer, whether it can be invoiced, persons, exchange rates. Freshness is in the headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from time import time
from typing import Any, cast

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Path, Query, Router

from api_service.api import freshness
from api_service.api.access import Token
from api_service.api.problems import Refused, bad_value, of_failure, respond, with_headers
from api_service.api.rendering import JSON
from api_service.api.schemas import (
    AgeWish,
    BillingVerdict,
    Day,
    DayRange,
    DniNumber,
    DniRecord,
    ExchangeRate,
    ExchangeRates,
    FreshnessWish,
    RucNumber,
    RucRecord,
)
from api_service.services import billing, lookup, results
from api_service.services.cache_service import MIGO, NEWEST
from api_service.services.failures import TROUBLE
from api_service.services.migo_service import MigoAPIService
from api_service.services.outcomes import Lookup
from api_service.services.results import Failure
from api_service.services.subjects import DNI, EXCHANGE_RATE, RUC, Subject
from api_service.services.token_rules import Scope

router = Router(tags=["Look-ups"], auth=Token(Scope.LOOKUP))

LONGEST_RANGE = timedelta(days=366)


@router.get("/rucs/{ruc}", response={200: RucRecord, 304: None, 404: None}, summary="One taxpayer")
def ruc(request: HttpRequest, ruc: Path[RucNumber], wish: Query[FreshnessWish]) -> HttpResponse:
    """From the cache, else from the answer store, else from APIMIGO, which is paid for.

    `Age`, `Cache-Status` and `ETag` say how fresh it is and where it came from. 404 with `reason` means that SUNAT does
    not know it, which is an answer and is remembered; 502 to 504 mean that nobody knows.
    """
    return _answer(request, Subject(MIGO, RUC, ruc), wish.max_stale, refresh=wish.refresh)


@router.get("/rucs/{ruc}/billing", response={200: BillingVerdict, 304: None}, summary="Fit for billing")
def ruc_for_billing(request: HttpRequest, ruc: Path[RucNumber], wish: Query[AgeWish]) -> HttpResponse:
    """Whether an electronic invoice can be made out to this taxpayer: it must be ACTIVO and HABIDO.

    A RUC that SUNAT does not know is not `valid`, and that is a 200: the question has been answered.
    """
    subject = Subject(MIGO, RUC, ruc)
    found = _found(subject, wish.max_stale)
    headers = _freshness(found, subject)
    if found.data is not None:
        verdict = {**verdict_on(found.data), "ruc": ruc, "record": record_of(found.data)}
    else:
        said = results.of_lookup(found)
        error = {"code": said["code"], "message": said["error"]}
        verdict = {"valid": False, "errors": [error], "warnings": [], "ruc": ruc, "record": None}
    return fresh(request, orjson.dumps(verdict), headers)


@router.get("/dnis/{dni}", response={200: DniRecord, 304: None, 404: None}, summary="One person")
def dni(request: HttpRequest, dni: Path[DniNumber], wish: Query[AgeWish]) -> HttpResponse:
    """A person's name by DNI, kept for a day."""
    return _answer(request, Subject(MIGO, DNI, dni), wish.max_stale)


@router.get("/exchange-rates/latest", response={200: ExchangeRate, 304: None, 404: None}, summary="The newest rate")
def latest_rate(request: HttpRequest) -> HttpResponse:
    """SUNAT's newest exchange rate. An old one is shown to nobody: it would be a wrong one."""
    return _answer(request, Subject(MIGO, EXCHANGE_RATE, NEWEST), None)


@router.get("/exchange-rates/{day}", response={200: ExchangeRate, 304: None, 404: None}, summary="The rate of a day")
def rate_of_day(request: HttpRequest, day: Path[Day]) -> HttpResponse:
    """A past day's does not change any more and is kept for a day."""
    return _answer(request, Subject(MIGO, EXCHANGE_RATE, day.isoformat()), None)


@router.get(
    "/exchange-rates", response={200: ExchangeRates, 304: None, 404: None}, summary="The rates of a range of days"
)
def rates(request: HttpRequest, days: Query[DayRange]) -> HttpResponse:
    """From `start` to `end`, both included, a year at most. Not cached: one paid query each time."""
    start, end = days.start, days.end
    if not timedelta(0) <= end - start <= LONGEST_RANGE:
        raise Refused(bad_value(_("start must not be after end, and a year before it at most.")))
    result = MigoAPIService().consultar_tipo_cambio_rango(start, end)
    if not result["success"]:
        raise Refused(of_failure(cast(Failure, result), reason=result["reason"]))
    headers = {"Cache-Status": f"{freshness.NAME}; fwd=bypass"}
    return fresh(request, orjson.dumps({"rates": list(map(record_of, result["data"]))}), headers)


def record_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without APIMIGO's word on whether it could answer: here the status says that."""
    return {name: value for name, value in data.items() if name != "success"}


def verdict_on(record: Mapping[str, Any]) -> dict[str, Any]:
    errors = billing.errors(record)
    return {"valid": not errors, "errors": errors, "warnings": billing.warnings(record)}


def fresh(request: HttpRequest, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
    """200 with its ETag, or 304 for who has it already."""
    tag = freshness.etag(body)
    if_none_match = request.headers.get("If-None-Match")
    if if_none_match and freshness.matches(if_none_match, tag):
        response = HttpResponse(status=304)
        del response.headers["Content-Type"]
    else:
        response = HttpResponse(body, content_type=JSON)
    return with_headers(response, {"ETag": tag, **headers})


def _answer(request: HttpRequest, subject: Subject, max_stale: float | None, *, refresh: bool = False) -> HttpResponse:
    found = _found(subject, max_stale, refresh=refresh)
    headers = _freshness(found, subject, refresh=refresh)
    if found.data is not None:
        return fresh(request, orjson.dumps(record_of(found.data)), headers)
    negative = cast(Failure, results.of_lookup(found))
    return respond(of_failure(negative, reason=found.reason, headers=headers))


def _found(subject: Subject, max_stale: float | None, *, refresh: bool = False) -> Lookup:
    try:
        return lookup.get(subject.service, subject.kind, subject.identifier, max_stale=max_stale, refresh=refresh)
    except TROUBLE as trouble:
        raise Refused(of_failure(results.failure_of(trouble))) from trouble


def _freshness(found: Lookup, subject: Subject, *, refresh: bool = False) -> dict[str, str]:
    born_at = time() - found.age
    life = subject.life(born_at) if found.data is not None else subject.negative_life(born_at)
    return freshness.headers(found, life, refresh=refresh)
