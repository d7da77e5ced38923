"""What APIMIGO would answer: a table of routes for each version, by the contract, without any fault."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Protocol

from api_service.sandbox import data
from api_service.services import ruc as numbers

LARGEST_COLLECTION: Final = 100
LONGEST_RANGE_DAYS: Final = 366
NOT_FOUND_HTML: Final = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not Found</body></html>"


@dataclass(frozen=True)
class Reply:
    status: int
    body: object
    queries: int = 0
    rucs: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What an answer depends on beside the question."""

    today: date
    unknown_share: float
    queries_left: int


class Handler(Protocol):
    def __call__(self, params: Mapping[str, Any], world: World, /) -> Reply: ...


def failure(status: int, message: str, **more: object) -> Reply:
    return Reply(status, {"success": False, "message": message, **more})


def invalid(name: str, message: str) -> Reply:
    return failure(422, "Los datos proporcionados no son válidos.", errors={name: [message]})


def _one_ruc(params: Mapping[str, Any], world: World) -> Reply:
    ruc = str(params.get("ruc", ""))
    if not numbers.is_valid(ruc):
        return invalid("ruc", "El RUC no es válido.")
    if not data.is_unknown(ruc, world.unknown_share):
        return Reply(200, data.taxpayer(ruc, world.today), 1, (ruc,))
    status = 404 if data.refused_with_404(ruc) else 200
    body = {"success": False, "ruc": ruc, "message": "El RUC no existe en los registros de SUNAT."}
    return Reply(status, body, 1, (ruc,))


def _collection(params: Mapping[str, Any], world: World) -> Reply:
    rucs = params.get("ruc")
    if not isinstance(rucs, list) or not rucs:
        return invalid("ruc", "El campo ruc debe ser una lista.")
    if len(rucs) > LARGEST_COLLECTION:
        return invalid("ruc", f"Máximo {LARGEST_COLLECTION} RUC por consulta.")
    asked = [str(ruc) for ruc in rucs]
    malformed = {
        f"ruc.{index}": ["El RUC no es válido."] for index, ruc in enumerate(asked) if not numbers.is_valid(ruc)
    }
    if malformed:
        return failure(422, "Los datos proporcionados no son válidos.", errors=malformed)
    return Reply(200, _entries(asked, world), len(asked), tuple(asked))


def _entries(rucs: Sequence[str], world: World) -> list[dict[str, object]]:
    """In an order of its own: the contract promises none."""
    entries: list[dict[str, object]] = []
    for ruc in sorted(set(rucs), key=lambda one: one[::-1]):
        if not data.is_unknown(ruc, world.unknown_share):
            entries.append(data.taxpayer(ruc, world.today))
        elif not data.left_out_of_collections(ruc):
            entries.append({"success": False, "ruc": ruc, "message": "El RUC no existe en los registros de SUNAT."})
    return entries


def _dni(params: Mapping[str, Any], world: World) -> Reply:
    dni = str(params.get("dni", ""))
    if not numbers.is_dni(dni):
        return invalid("dni", "El DNI debe tener 8 dígitos.")
    if data.is_unknown(dni, world.unknown_share):
        return Reply(404, {"success": False, "dni": dni, "message": "No se encontró el DNI."}, 1)
    return Reply(200, data.citizen(dni), 1)


def _latest_rate(_params: Mapping[str, Any], world: World) -> Reply:
    return Reply(200, data.rate(world.today), 1)


def _rate_of_day(params: Mapping[str, Any], world: World) -> Reply:
    day = _day(params.get("fecha"))
    if day is None:
        return invalid("fecha", "La fecha debe tener el formato AAAA-MM-DD.")
    if not date(2000, 1, 1) <= day <= world.today:
        return Reply(404, {"success": False, "message": "No hay tipo de cambio para la fecha indicada."}, 1)
    return Reply(200, data.rate(day), 1)


def _rates(params: Mapping[str, Any], world: World) -> Reply:
    start, end = _day(params.get("fecha_inicio")), _day(params.get("fecha_fin"))
    if start is None or end is None or not start <= end:
        return invalid("fecha_inicio", "Las fechas no son válidas.")
    end = min(end, world.today)
    if (end - start).days > LONGEST_RANGE_DAYS:
        return invalid("fecha_fin", f"El rango máximo es de {LONGEST_RANGE_DAYS} días.")
    return Reply(200, {"success": True, "data": data.rates(start, end)}, 1)


def _representatives(params: Mapping[str, Any], world: World) -> Reply:
    found = _one_ruc(params, world)
    if not isinstance(found.body, dict) or not found.body["success"]:
        return found
    ruc = found.rucs[0]
    return Reply(200, {"success": True, "ruc": ruc, "data": data.representatives(ruc)}, 1, (ruc,))


def _account(_params: Mapping[str, Any], world: World) -> Reply:
    body = {"success": True, "nombre": "CUENTA DE PRUEBA", "email": "pruebas@example.com"}
    return Reply(200, {**body, "consultas": world.queries_left})


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


_V1: Final[dict[str, Handler]] = {
    "/account": _account,
    "/ruc": _one_ruc,
    "/ruc/collection": _collection,
    "/ruc/representantes-legales": _representatives,
    "/dni": _dni,
    "/exchange": _rates,
    "/exchange/latest": _latest_rate,
    "/exchange/date": _rate_of_day,
}
_V2: Final[tuple[tuple[re.Pattern[str], Handler], ...]] = (
    (re.compile(r"/ruc/(?P<ruc>[^/]+)"), _one_ruc),
    (re.compile(r"/dni/(?P<dni>[^/]+)"), _dni),
    (re.compile(r"/tipo-cambio/sunat/ultimo"), _latest_rate),
    (re.compile(r"/tipo-cambio/sunat"), _rate_of_day),
)


def route(method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
    """Who answers that path, and the parameters named in it."""
    if path.startswith("/api/v1/") and method == "POST":
        handler = _V1.get(path.removeprefix("/api/v1").rstrip("/"))
        return (handler, {}) if handler else None
    if path.startswith("/api/v2/") and method == "GET":
        rest = path.removeprefix("/api/v2").rstrip("/")
        matches = ((pattern.fullmatch(rest), handler) for pattern, handler in _V2)
        return next(((handler, match.groupdict()) for match, handler in matches if match), None)
    return None
