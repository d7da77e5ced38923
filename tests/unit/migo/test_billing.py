"""What forbids an invoice, and what only deserves a look."""

import pytest

from api_service.services import billing

RECORD = {
    "nombre_o_razon_social": "MIGO S.A.C.",
    "estado_del_contribuyente": "ACTIVO",
    "condicion_de_domicilio": "HABIDO",
    "direccion": "AV. JAVIER PRADO ESTE NRO. 123, LIMA",
}


def codes(remarks: list[billing.Remark]) -> list[str]:
    return [remark["code"] for remark in remarks]


def test_a_complete_active_taxpayer_raises_no_remark() -> None:
    assert billing.errors(RECORD) == []
    assert billing.warnings(RECORD) == []


@pytest.mark.parametrize("state", ["BAJA DE OFICIO", "SUSPENSION TEMPORAL", "-", "", None, "INACTIVO"])
def test_only_an_active_taxpayer_can_be_invoiced(state: str | None) -> None:
    assert codes(billing.errors({**RECORD, "estado_del_contribuyente": state})) == ["not_active"]


@pytest.mark.parametrize("condition", ["NO HABIDO", "NO HALLADO", "PENDIENTE", "-"])
def test_only_a_taxpayer_found_at_its_address_can_be_invoiced(condition: str) -> None:
    remarks = billing.errors({**RECORD, "condicion_de_domicilio": condition})
    assert codes(remarks) == ["not_found_at_address"]
    assert condition.strip("-") in remarks[0]["message"]


def test_spelling_does_not_decide() -> None:
    assert billing.errors({**RECORD, "estado_del_contribuyente": " Activo ", "condicion_de_domicilio": "habido"}) == []


@pytest.mark.parametrize("address", ["-", "", None, "LIMA"])
def test_a_short_address_is_a_warning_and_no_error(address: str | None) -> None:
    record = {**RECORD, "direccion": address, "direccion_simple": address}
    assert codes(billing.warnings(record)) == ["short_address"]
    assert billing.errors(record) == []


def test_a_short_name_is_a_warning() -> None:
    assert codes(billing.warnings({**RECORD, "nombre_o_razon_social": "X"})) == ["short_name"]


def test_a_record_without_fields_has_every_remark() -> None:
    assert codes(billing.errors({})) == ["not_active", "not_found_at_address"]
    assert codes(billing.warnings({})) == ["short_name", "short_address"]
