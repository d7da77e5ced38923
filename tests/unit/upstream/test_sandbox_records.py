import re
from datetime import date
from typing import Any

import pytest
from stdnum.pe.ruc import calc_check_digit

from api_service.sandbox import data, faults
from api_service.sandbox.faults import Fault, Switches
from api_service.services import ruc as numbers

TODAY = date(2026, 1, 28)
FIELDS = [
    *("success", "ruc", "nombre_o_razon_social", "estado_del_contribuyente", "condicion_de_domicilio", "ubigeo"),
    *("tipo_de_via", "nombre_de_via", "codigo_de_zona", "tipo_de_zona", "numero", "interior", "lote", "dpto"),
    *("manzana", "kilometro", "distrito", "provincia", "departamento", "direccion_simple", "direccion"),
    "actualizado_en",
]


def rucs(count: int, prefix: str = "20") -> list[str]:
    bodies = (f"{prefix}{51_000_000 + 7 * index:08d}" for index in range(count))
    return [body + calc_check_digit(body) for body in bodies]


def test_the_six_of_the_contract_are_known_active_and_carry_their_public_names() -> None:
    records = [data.taxpayer(ruc, TODAY) for ruc in data.WELL_KNOWN]
    assert len(records) == 6
    assert {"MIGO S.A.C.", "CONTINENTAL S.A.C."} <= {record["nombre_o_razon_social"] for record in records}
    assert {(r["estado_del_contribuyente"], r["condicion_de_domicilio"]) for r in records} == {("ACTIVO", "HABIDO")}
    assert not any(data.is_unknown(ruc, 1.0) for ruc in data.WELL_KNOWN)
    assert all(
        numbers.is_valid(ruc) and len(str(data.taxpayer(ruc, TODAY)["direccion"])) > 20 for ruc in data.WELL_KNOWN
    )


def test_a_record_has_every_field_of_the_contract_as_text() -> None:
    for ruc in [*rucs(50), *rucs(50, "10")]:
        record = data.taxpayer(ruc, TODAY)
        assert list(record) == FIELDS
        assert all(isinstance(value, str) and value for name, value in record.items() if name != "success")
        assert re.fullmatch(r"2026-01-28 \d\d:\d\d:00", str(record["actualizado_en"]))


def test_records_are_the_same_every_time_and_differ_between_numbers() -> None:
    many = [data.taxpayer(ruc, TODAY) for ruc in rucs(200)]
    assert many == [data.taxpayer(ruc, TODAY) for ruc in rucs(200)]
    assert len({str(record["nombre_o_razon_social"]) for record in many}) > 150


def test_most_are_active_and_found_and_some_are_not() -> None:
    many: list[dict[str, Any]] = [data.taxpayer(ruc, TODAY) for ruc in rucs(2000)]
    active = sum(record["estado_del_contribuyente"] == "ACTIVO" for record in many) / 2000
    found = sum(record["condicion_de_domicilio"] == "HABIDO" for record in many) / 2000
    assert 0.86 < active < 0.94
    assert 0.89 < found < 0.95


def test_about_three_of_a_hundred_are_unknown_and_stay_so_when_more_become() -> None:
    many = rucs(4000)
    few, more = ({ruc for ruc in many if data.is_unknown(ruc, share)} for share in (0.03, 0.2))
    assert 0.02 < len(few) / 4000 < 0.04
    assert few < more


def test_a_person_has_one_name_and_no_public_address() -> None:
    ruc = rucs(1, "10")[0]
    record = data.taxpayer(ruc, TODAY)
    assert record["nombre_o_razon_social"] == data.citizen(ruc[2:10])["nombre"]
    assert record["direccion"] == record["ubigeo"] == "-"


def test_rates_are_decimal_texts_and_selling_costs_more() -> None:
    rates: list[dict[str, Any]] = data.rates(date(2026, 1, 1), TODAY)
    assert len(rates) == 28
    assert all(re.fullmatch(r"3\.\d{3}", rate["precio_compra"]) for rate in rates)
    assert all(rate["precio_compra"] < rate["precio_venta"] for rate in rates)


# -- faults


def test_faults_repeat_with_the_seed_and_keep_to_their_shares() -> None:
    switches = Switches(error_rate=0.1, timeout_rate=0.05, broken_json_rate=0.02, html_error_rate=0.03, seed=7)
    kinds = [faults.drawn(switches, number).kind for number in range(5000)]
    assert kinds == [faults.drawn(switches, number).kind for number in range(5000)]
    assert 0.75 < kinds.count("ok") / 5000 < 0.85
    assert 400 < kinds.count("500") < 600
    assert kinds != [faults.drawn(Switches(error_rate=0.1, seed=8), number).kind for number in range(5000)]


def test_latency_varies_around_its_value() -> None:
    delays = [faults.latency(Switches(latency=0.4), number) for number in range(200)]
    assert 0.2 <= min(delays) < 0.25
    assert 0.55 < max(delays) <= 0.6


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"latenci": 1}, "latenci"),
        ({"latency": -1}, "latency"),
        ({"latency": "1"}, "latency"),
        ({"error_rate": 1.5}, "error_rate"),
        ({"consultas": 1.5}, "consultas"),
        ({"consultas": True}, "consultas"),
        ({"latency": float("nan")}, "latency"),
    ],
)
def test_a_wrong_switch_is_refused_by_name(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Switches().changed(wanted)


def test_steps_of_a_script_are_read_with_their_details() -> None:
    assert faults.parse("429:2") == Fault("429", "2")
    assert faults.parse("timeout:0.5").seconds(60) == 0.5
    assert faults.parse("503").status == 503
    for wrong in ("boom", "999", "timeout:x", ""):
        with pytest.raises(ValueError, match=r"."):
            faults.parse(wrong)
