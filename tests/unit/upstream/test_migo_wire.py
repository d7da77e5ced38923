"""Every row of the contract's error table, and what clients met beyond it."""

import json
from typing import Any

import pytest

from api_service.services import migo_wire as wire
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotOffered,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
)
from api_service.services.migo_wire import Question, Wire
from api_service.services.providers import Found, NotFound
from api_service.services.upstream import Response

RUC, OTHER = "20100038146", "20131312955"
ASKED = Question(wire.RUC, RUC)


def answer(body: object, status: int = 200) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {}, raw, 0.0)


# -- one record


@pytest.mark.parametrize("success", [True, "true", 1, "1", "True"])
def test_a_record_is_found_however_success_is_spelled(success: object) -> None:
    read = wire.read_one(answer({"success": success, "ruc": RUC, "nuevo_campo": [1]}), ASKED)
    assert isinstance(read, Found)
    assert read.data["nuevo_campo"] == [1]


def test_a_ruc_sent_as_a_number_is_the_same_ruc() -> None:
    read = wire.read_one(answer({"success": True, "ruc": int(RUC), "nombre_o_razon_social": None}), ASKED)
    assert read == Found({"success": True, "ruc": RUC, "nombre_o_razon_social": None})


@pytest.mark.parametrize("body", [{"success": True, "ruc": OTHER}, {"success": True}, ["x"], 5, None, {}])
def test_somebody_elses_record_or_none_is_a_bad_answer(body: object) -> None:
    with pytest.raises(UpstreamBadAnswer):
        wire.read_one(answer(body), ASKED)


NEGATIVE = [
    (200, {"success": False, "ruc": RUC}),
    (200, {"success": False, "ruc": RUC, "message": "Sin información"}),
    (200, {"success": False, "message": f"El RUC {RUC} no es de un contribuyente"}),
    (200, {"success": False, "message": "No se encontraron resultados para la consulta"}),
    (200, {"success": False, "message": "El RUC no existe en SUNAT"}),
    (200, {"success": False, "error": "RUC not found"}),
    (404, {"success": False, "message": "Recurso no encontrado"}),
    (404, {"success": False}),
    (404, {"message": "RUC no existe"}),
]


@pytest.mark.parametrize(("status", "body"), NEGATIVE)
def test_words_about_the_ruc_are_a_negative_answer(status: int, body: object) -> None:
    assert wire.read_one(answer(body, status), ASKED) == NotFound("NO_EXISTE_SUNAT")


NO_ANSWER: list[tuple[int, object, type[UpstreamError]]] = [
    (200, {"success": False}, UpstreamRefused),
    (200, {"success": False, "message": "Operación no permitida"}, UpstreamRefused),
    (200, {"success": False, "ruc": RUC, "message": "Límite de consultas excedido"}, UpstreamRefused),
    (200, {"success": False, "ruc": RUC, "message": "No se encontró un plan activo"}, UpstreamRefused),
    (200, {"success": False, "message": "No existe la suscripción"}, UpstreamRefused),
    (200, {"success": False, "message": "Token no encontrado"}, UpstreamRefused),
    (200, {"success": False, "ruc": RUC, "message": "SUNAT no se encuentra disponible"}, UpstreamServerError),
    (200, {"success": False, "message": "No hay conexión con SUNAT, intente más tarde"}, UpstreamServerError),
    (200, {"success": False, "ruc": OTHER, "message": "no existe"}, UpstreamBadAnswer),
    (401, {"success": False, "message": "Unauthenticated."}, UpstreamAuthRefused),
    (403, {"success": False, "ruc": RUC, "message": "no existe"}, UpstreamAuthRefused),
    (404, b"<html>Not Found</html>", UpstreamBadAnswer),
    (404, b"", UpstreamBadAnswer),
    (404, b"[]", UpstreamBadAnswer),
    (404, {"message": "The route api/v9/ruc could not be found."}, UpstreamBadAnswer),
    (404, {"message": ""}, UpstreamRefused),
    (422, b"<html>", UpstreamBadAnswer),
    (422, {"success": False, "errors": {"token": ["required"]}}, UpstreamMalformed),
    (429, {"success": False, "ruc": RUC}, UpstreamRateLimited),
    (500, {"success": False, "ruc": RUC, "message": "no existe"}, UpstreamServerError),
    (502, b"<html>", UpstreamServerError),
    (200, b"<html>mantenimiento</html>", UpstreamBadAnswer),
    (200, b'{"success": true, "ru', UpstreamBadAnswer),
]


@pytest.mark.parametrize(("status", "body", "kind"), NO_ANSWER)
def test_everything_else_is_an_error_and_never_a_negative_answer(
    status: int, body: object, kind: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        wire.read_one(answer(body, status), ASKED)
    assert type(caught.value) is kind


def test_of_thousands_of_refused_fields_only_the_first_are_told() -> None:
    errors = {f"field_{number:04}": ["required"] for number in range(5000)}
    with pytest.raises(UpstreamMalformed, match=r"refuses the fields field_0000, field_0001, ") as caught:
        wire.read_one(answer({"success": False, "errors": errors}, 422), ASKED)
    assert len(caught.value.message) < wire.LONGEST_SAID + 50


def test_a_wrong_address_is_not_tried_again_but_a_cut_answer_is() -> None:
    with pytest.raises(UpstreamBadAnswer) as wrong_address:
        wire.read_one(answer(b"<html>", 404), ASKED)
    with pytest.raises(UpstreamBadAnswer) as cut:
        wire.read_one(answer(b'{"success"', 200), ASKED)
    assert (wrong_address.value.permanent, cut.value.permanent) == (True, False)


@pytest.mark.parametrize("errors", [{"ruc": ["no es válido"]}, None, []])
def test_422_about_the_ruc_says_that_it_is_malformed(errors: object) -> None:
    assert wire.read_one(answer({"success": False, "errors": errors}, 422), ASKED) == NotFound("FORMATO_INVALIDO")


def test_a_rate_may_carry_an_earlier_banking_day() -> None:
    body = {"success": True, "fecha": "2026-01-23", "precio_compra": "3.701", "precio_venta": "3.708"}
    assert wire.read_one(answer(body), Question(wire.EXCHANGE_RATE, "2026-01-25")) == Found(body)


def test_representatives_may_come_as_a_bare_list() -> None:
    read = wire.read_one(answer([{"nombre": "X"}]), Question(wire.REPRESENTATIVES, RUC))
    assert read == Found({"success": True, "ruc": RUC, "data": [{"nombre": "X"}]})


# -- collections


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_collection_is_matched_by_number_in_any_order_and_form(wrapped: bool) -> None:
    rucs = [RUC, OTHER, "20603274742"]
    entries: list[dict[str, Any]] = [{"success": False, "ruc": OTHER}, {"success": True, "ruc": RUC}]
    read = wire.read_collection(answer({"success": True, "data": entries} if wrapped else entries), rucs)
    assert list(read) == rucs
    assert read[RUC] == Found({"success": True, "ruc": RUC})
    assert read[OTHER] == read["20603274742"] == NotFound("NO_EXISTE_SUNAT")


def test_a_refusal_of_one_entry_is_the_error_of_that_ruc_alone() -> None:
    entries = [{"success": False, "ruc": OTHER, "message": "Cuota agotada"}, {"success": True, "ruc": RUC}]
    read = wire.read_collection(answer(entries), [RUC, OTHER])
    assert isinstance(read[RUC], Found)
    assert isinstance(read[OTHER], UpstreamRefused)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"success": False, "message": "Plan vencido"}, UpstreamRefused),
        ({"success": True, "data": None}, UpstreamBadAnswer),
        ({"success": True}, UpstreamBadAnswer),
        (["x"], UpstreamBadAnswer),
        ([{"success": True, "ruc": "20603274742"}], UpstreamBadAnswer),
    ],
)
def test_a_collection_that_answers_nothing_asked_is_an_error(body: object, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind):
        wire.read_collection(answer(body), [RUC, OTHER])


# -- account


@pytest.mark.parametrize(("sent", "left"), [(120, 120), ("120", 120), (" 1,200 ", 1200)])
def test_queries_left_may_be_a_number_or_its_text(sent: object, left: int) -> None:
    assert wire.account_of({"success": True, "nombre": "N", "email": "e@x", "consultas": sent}).queries_left == left


def test_an_account_without_queries_left_is_a_bad_answer() -> None:
    with pytest.raises(UpstreamBadAnswer):
        wire.account_of({"success": True, "consultas": "ilimitado"})


# -- questions


def test_the_token_is_in_no_address_and_no_repr() -> None:
    for version in ("v1", "v2"):
        requests = [Wire(version, "https://x/api", "t0ken-1").one(Question(kind, RUC)) for kind in ("ruc", "dni")]
        assert all("t0ken-1" not in request.url + repr(request) for request in requests)
        assert "t0ken-1" not in repr(Wire(version, "https://x/api", "t0ken-1"))


def test_version_two_says_which_queries_it_has_not() -> None:
    two = Wire("v2", "https://x/api/v2", "t")
    for ask in (two.account, lambda: two.collection([RUC]), lambda: two.one(Question(wire.REPRESENTATIVES, RUC))):
        with pytest.raises(UpstreamNotOffered) as caught:
            ask()
        assert caught.value.permanent


@pytest.mark.parametrize(
    ("base", "root"),
    [
        ("https://api.migo.pe", "https://api.migo.pe/api/v1"),
        ("https://api.migo.pe/api/", "https://api.migo.pe/api/v1"),
        ("https://api.migo.pe/api/v1/", "https://api.migo.pe/api/v1"),
        ("http://127.0.0.1:8899/proxy", "http://127.0.0.1:8899/proxy/api/v1"),
    ],
)
def test_the_base_address_may_leave_the_version_out(base: str, root: str) -> None:
    assert wire.api_root(base, "v1") == root


@pytest.mark.parametrize("base", ["", "api.migo.pe", "ftp://x", "https://", "https://api.migo.pe/api/v2"])
def test_a_base_address_that_cannot_work_is_named_at_once(base: str) -> None:
    with pytest.raises(ValueError, match="MIGO_BASE_URL"):
        wire.api_root(base, "v1")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("ruc", RUC, "20123456789"),
        ("dni", "12345678", "../ruc"),
        ("tipo_cambio", "2026-01-28", "2026-02-30"),
        ("tipo_cambio", "latest", "20260128"),
        ("representantes", RUC, ""),
    ],
)
def test_what_cannot_exist_is_known_without_asking(kind: str, good: str, bad: str) -> None:
    assert wire.malformed_reason(kind, good) is None
    assert wire.malformed_reason(kind, bad) == "FORMATO_INVALIDO"


def test_an_unknown_kind_of_query_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="placa"):
        wire.malformed_reason("placa", "ABC-123")
    with pytest.raises(ValueError, match="v3"):
        wire.version_of("v3")
