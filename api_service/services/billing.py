"""Whether an electronic invoice can be made out to a taxpayer: pure, from the taxpayer's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from django.utils.translation import gettext as _

ACTIVE: Final = "ACTIVO"
FOUND: Final = "HABIDO"
SHORTEST_NAME: Final = 3
SHORTEST_ADDRESS: Final = 10


class Remark(TypedDict):
    """`code` is stable, `message` for people."""

    code: str
    message: str


def errors(record: Mapping[str, Any]) -> list[Remark]:
    """What forbids an invoice."""
    state = _text(record, "estado_del_contribuyente") or "-"
    condition = _text(record, "condicion_de_domicilio") or "-"
    found: list[Remark] = []
    if state != ACTIVE:
        found.append({"code": "not_active", "message": _("The taxpayer is not ACTIVO: %s.") % state})
    if condition != FOUND:
        found.append({"code": "not_found_at_address", "message": _("The taxpayer is not HABIDO: %s.") % condition})
    return found


def warnings(record: Mapping[str, Any]) -> list[Remark]:
    """What an invoice may be refused or returned for. SUNAT publishes no address of natural persons."""
    found: list[Remark] = []
    if len(_text(record, "nombre_o_razon_social")) < SHORTEST_NAME:
        found.append({"code": "short_name", "message": _("The name is missing or very short.")})
    if len(_text(record, "direccion") or _text(record, "direccion_simple")) < SHORTEST_ADDRESS:
        found.append({"code": "short_address", "message": _("The address is missing or very short.")})
    return found


def _text(record: Mapping[str, Any], name: str) -> str:
    """Absent, null and dashes all mean that SUNAT has nothing there."""
    return str(record.get(name) or "").strip().strip("-").strip().upper()
