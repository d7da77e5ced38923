"""MigoAPIService: APIMIGO's answers as plain dicts, cache first. The shapes are those of `results`.

    >>> service = MigoAPIService()
    >>> service.consultar_ruc("20100038146")
    {"success": True, "ruc": "20100038146", "nombre_o_razon_social": …, "cache": {"outcome": "hit", …}}
    >>> service.consultar_ruc("20123456789")
    {"success": False, "code": "malformed", "reason": "FORMATO_INVALIDO", "permanent": True, …}

No method raises because APIMIGO, the cache or the database fails: that is `success` False with `code`, `permanent` and
`retry_after` to decide by. A failure of APIMIGO is never remembered; an unknown RUC is, as invalid, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TypedDict, cast

from django.utils.translation import gettext as _

from api_service.services import billing, lookup, migo_wire, results
from api_service.services.billing import Remark
from api_service.services.budget import Ledger, Purpose
from api_service.services.cache_service import MIGO
from api_service.services.failures import TROUBLE
from api_service.services.migo_client import MigoClient
from api_service.services.providers import JSONDict, provider
from api_service.services.results import CacheInfo, Failure, Result
from api_service.services.ruc import normalise
from api_service.services.subjects import DNI, EXCHANGE_RATE, REPRESENTATIVES, RUC


class FailureFields(TypedDict):
    """Those of `results.Failure`, None when nothing failed."""

    error: str | None
    code: str | None
    permanent: bool
    retry_after: float | None
    next_step: str | None


class ManyRucs(FailureFields):
    """`results[i]` belongs to the i-th RUC given. The counts are of distinct RUCs; `failed` ones have no answer yet.

    `success` is False when any failed; then `error`, `code`, `permanent`, `retry_after` and `next_step` say why and
    when the failed ones may be asked for again: the others are kept, and cost nothing the second time.
    """

    success: bool
    total: int
    distinct: int
    found: int
    negative: int
    failed: int
    results: list[Result]


class BillingVerdict(FailureFields):
    """`success` says whether the question could be answered, `valid` is the answer: never True without one.

    `record` is the taxpayer's, None when there is none. After a failure the fields of `results.Failure` say why.
    """

    success: bool
    valid: bool
    ruc: str
    errors: list[Remark]
    warnings: list[Remark]
    record: JSONDict | None
    cache: CacheInfo | None


class MigoAPIService:
    """Thread-safe and cheap to construct: no query, no connection."""

    def consultar_ruc(self, ruc: str, force_refresh: bool = False, *, max_stale: float | None = None) -> Result:
        """One taxpayer: the record's fields flat, values as APIMIGO sends them (texts).

        Blanks and dashes pasted with the number do not matter. `force_refresh` pays for a new answer, also when the
        cache has one. `max_stale`: how many seconds past its life an answer may be, 0 for none that is old; without it
        the settings say. An old answer has `cache["stale"]` True. Failures: `malformed` (never asked), `not_found`
        with its `reason`, `budget_exhausted`, `upstream_…`, `busy`, `database_unavailable`.
        """
        number = normalise(ruc)
        return {"ruc": number, **self._look_up(RUC, number, refresh=force_refresh, max_stale=max_stale)}

    def consultar_ruc_masivo(self, rucs: Iterable[str], *, max_stale: float | None = None) -> ManyRucs:
        """Any number of taxpayers: each distinct one asked for once, cache first, then in chunks of 100.

        Malformed and unknown ones are negative answers; what APIMIGO fails at is reported RUC by RUC. `max_stale` as
        with one.
        """
        numbers = [normalise(ruc) for ruc in rucs]
        answers = {
            number: {"ruc": number, **results.of_answer(answer)}
            for number, answer in lookup.get_many(MIGO, RUC, numbers, max_stale=max_stale).items()
        }
        return _many(numbers, answers)

    def validar_ruc_para_facturacion(self, ruc: str, *, max_stale: float | None = None) -> BillingVerdict:
        """Whether an invoice can be made out to this RUC: ACTIVO and HABIDO are required, address and name advised.

        `max_stale` as with one; the verdict's `cache` says whether it goes by an old answer.
        """
        result = self.consultar_ruc(ruc, max_stale=max_stale)
        if result["success"]:
            record = {name: value for name, value in result.items() if name != "cache"}
            return _verdict(result, errors=billing.errors(record), warnings=billing.warnings(record), record=record)
        if result["reason"] is not None:
            return _verdict(result, errors=[{"code": result["code"], "message": result["error"]}])
        return _verdict(result)

    def consultar_dni(self, dni: str) -> Result:
        """A person by DNI: `dni`, `nombre`. Kept for 24 h."""
        number = normalise(dni)
        return {"dni": number, **self._look_up(DNI, number)}

    def consultar_tipo_cambio_latest(self) -> Result:
        """SUNAT's newest exchange rate: `fecha`, `moneda`, `precio_compra`, `precio_venta` (decimal texts).

        Kept until the next 06:00 of Lima, when SUNAT's new one is there, and for an hour at most.
        """
        return self._look_up(EXCHANGE_RATE, migo_wire.LATEST)

    def consultar_tipo_cambio_fecha(self, fecha: str | date) -> Result:
        """The exchange rate of a day (`YYYY-MM-DD`), with the fields of the newest one. A past day's is kept 24 h."""
        if (day := _day(fecha)) is None:
            return _bad_date()
        return self._look_up(EXCHANGE_RATE, day.isoformat())

    def consultar_tipo_cambio_rango(self, fecha_inicio: str | date, fecha_fin: str | date) -> Result:
        """The exchange rates from one day to another, both included, as a list under `data`. Paid for each time."""
        start, end = _day(fecha_inicio), _day(fecha_fin)
        if start is None or end is None or start > end:
            return _bad_date()
        try:
            body = _client().exchange_range(start, end, spend=Ledger(MIGO, Purpose.USER))
        except TROUBLE as trouble:
            return results.of_trouble(trouble)
        return {**body, "success": True}

    def consultar_representantes_legales(self, ruc: str) -> Result:
        """The legal representatives of a RUC, as a list under `data`. v1 only; kept for 24 h."""
        number = normalise(ruc)
        return {"ruc": number, **self._look_up(REPRESENTATIVES, number)}

    def consultar_cuenta(self) -> Result:
        """The account: `nombre`, `email`, `consultas` (queries left, a whole number). Free, never cached; v1 only."""
        try:
            account = _client().account()
        except TROUBLE as trouble:
            return results.of_trouble(trouble)
        return {"success": True, "nombre": account.name, "email": account.email, "consultas": account.queries_left}

    def _look_up(self, kind: str, identifier: str, *, refresh: bool = False, max_stale: float | None = None) -> Result:
        try:
            return results.of_lookup(lookup.get(MIGO, kind, identifier, refresh=refresh, max_stale=max_stale))
        except TROUBLE as trouble:
            return results.of_trouble(trouble)


def _client() -> MigoClient:
    """What is APIMIGO's alone: no other provider has a range of rates or an account like this."""
    return cast(MigoClient, provider(MIGO))


def _many(numbers: Sequence[str], answers: Mapping[str, Result]) -> ManyRucs:
    failures = {n: a for n, a in answers.items() if not a["success"] and a["reason"] is None}
    found = sum(answer["success"] for answer in answers.values())
    why = _why(failures, len(answers))
    return {
        "success": not failures,
        "total": len(numbers),
        "distinct": len(answers),
        "found": found,
        "negative": len(answers) - found - len(failures),
        "failed": len(failures),
        "results": [answers[number] for number in numbers],
        **_failure_fields(why),
    }


def _why(failures: Mapping[str, Result], asked: int) -> Failure | None:
    if not failures:
        return None
    why = results.worst(cast(Mapping[str, Failure], failures))
    text = _("%(failed)d of %(asked)d RUCs have no answer: %(error)s")
    return {**why, "error": text % {"failed": len(failures), "asked": asked, "error": why["error"]}}


def _verdict(
    result: Result,
    *,
    errors: Sequence[Remark] = (),
    warnings: Sequence[Remark] = (),
    record: JSONDict | None = None,
) -> BillingVerdict:
    answered = record is not None or bool(errors)
    return {
        "success": answered,
        "valid": record is not None and not errors,
        "ruc": result["ruc"],
        "errors": list(errors),
        "warnings": list(warnings),
        "record": record,
        "cache": result.get("cache"),
        **_failure_fields(None if answered else cast(Failure, result)),
    }


def _failure_fields(why: Failure | None) -> FailureFields:
    if why is None:
        return {"error": None, "code": None, "permanent": False, "retry_after": None, "next_step": None}
    return {
        "error": why["error"],
        "code": why["code"],
        "permanent": why["permanent"],
        "retry_after": why["retry_after"],
        "next_step": why["next_step"],
    }


def _day(value: str | date) -> date | None:
    try:
        return date.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        return None


def _bad_date() -> Result:
    return results.refused(results.malformed(_("The date is not valid, or the range ends before it begins.")))
