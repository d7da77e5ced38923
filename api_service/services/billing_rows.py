"""What a look-up says of a line of a billing run: fit for invoicing or not, by codes, as its row keeps it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.models import BillingRow
from api_service.services import billing, billing_upload, results
from api_service.services.results import Result

# Said of a line itself; nothing is asked then
PROBLEMS: Final[Mapping[str, Promise]] = {
    billing_upload.NO_RUC: gettext_lazy("The line has no RUC."),
    billing_upload.LOST_DIGITS: gettext_lazy("The spreadsheet has shortened the number: make the cell a text."),
    billing_upload.UNREADABLE: gettext_lazy("The line cannot be read: look for a quote that is not closed."),
    billing_upload.MALFORMED: gettext_lazy("No such RUC can exist: look for a digit that is wrong."),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fit` is None while nobody could say; `reasons` and `warnings` are codes."""

    fit: bool | None
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    name: str = ""
    taxpayer_state: str = ""
    taxpayer_condition: str = ""
    source: str = ""


def verdict(result: Result) -> Verdict:
    """Of a look-up's plain dict (`results`): found, unknown, or a failure, which says nothing about the RUC."""
    if not result["success"]:
        known = result["reason"] is not None
        source = result["cache"]["source"] if known else ""
        return Verdict(False if known else None, [str(result["code"])], source=source)
    wrong, doubtful = billing.errors(result), billing.warnings(result)
    return Verdict(
        fit=not wrong,
        reasons=[remark["code"] for remark in wrong],
        warnings=[remark["code"] for remark in doubtful],
        name=str(result.get("nombre_o_razon_social") or "")[:250],
        taxpayer_state=str(result.get("estado_del_contribuyente") or "")[:60],
        taxpayer_condition=str(result.get("condicion_de_domicilio") or "")[:60],
        source=result["cache"]["source"],
    )


def put(row: BillingRow, said: Verdict, now: datetime) -> None:
    """Not saved: the caller writes many at once."""
    row.state = BillingRow.State.FAILED if said.fit is None else BillingRow.State.DONE
    row.fit, row.reasons, row.warnings = said.fit, said.reasons, said.warnings
    row.name, row.source, row.checked_at = said.name, said.source, now
    row.taxpayer_state, row.taxpayer_condition = said.taxpayer_state, said.taxpayer_condition


WRITTEN: Final = (
    *("state", "fit", "reasons", "warnings", "name", "source", "checked_at"),
    *("taxpayer_state", "taxpayer_condition"),
)


def reason_texts(row: BillingRow) -> list[str]:
    """Why it is not fit, or why nobody can say, in the active language."""
    return _texts(row, row.reasons)


def warning_texts(row: BillingRow) -> list[str]:
    return _texts(row, row.warnings)


def code_text(code: str) -> str:
    """A reason without the facts of a line."""
    if code in _SHORT:
        return str(_SHORT[code])
    return str(PROBLEMS.get(code) or results.text_of(code))


def _texts(row: BillingRow, codes: Iterable[str]) -> list[str]:
    record: dict[str, Any] = {
        "estado_del_contribuyente": row.taxpayer_state,
        "condicion_de_domicilio": row.taxpayer_condition,
    }
    remarks = {remark["code"]: remark["message"] for remark in [*billing.errors(record), *billing.warnings(record)]}
    return [remarks.get(code) or code_text(code) for code in codes]


_SHORT: Final[Mapping[str, Promise]] = {
    "not_active": gettext_lazy("not ACTIVO"),
    "not_found_at_address": gettext_lazy("not HABIDO"),
}


def fit_text(*, fit: bool | None) -> str:
    """yes, no or ?"""
    return "?" if fit is None else (_("yes") if fit else _("no"))


def source_text(source: str) -> str:
    """Where an answer came from; empty where there is none."""
    return str(_SOURCES.get(source, source))


_SOURCES: Final[Mapping[str, Promise]] = {
    "cache": gettext_lazy("cache"),
    "store": gettext_lazy("answer store"),
    "upstream": gettext_lazy("APIMIGO"),
    "validation": gettext_lazy("check digit"),
}
