"""consultar_ruc and its siblings: what is paid for, what is remembered, what a failure looks like."""

from datetime import date, timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone, translation
from pytest_django import Settings

from api_service.models import LookupTime, SpendHour
from api_service.services import tracking
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import provider
from api_service.services.subjects import LIMA
from tests.conftest import UseCacheUrl
from tests.migo_fixtures import IMPOSSIBLE, RUC, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached


def test_the_first_look_up_is_paid_and_the_second_comes_from_the_cache(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    first, second = migo.consultar_ruc(RUC), migo.consultar_ruc(RUC)
    assert (first["success"], first["ruc"], first["estado_del_contribuyente"]) == (True, RUC, "ACTIVO")
    assert first["cache"] == {
        "outcome": "miss",
        "source": "upstream",
        "age": 0.0,
        "stale": False,
        "stale_because": None,
    }
    assert (second["cache"]["outcome"], second["cache"]["source"]) == ("hit", "cache")
    assert second["nombre_o_razon_social"] == first["nombre_o_razon_social"]
    assert sandbox.billed == 1


def test_a_number_pasted_with_blanks_and_dashes_is_the_same_number(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    pasted = migo.consultar_ruc(" 20-10003814-6\n")
    assert (pasted["ruc"], pasted["cache"]["source"]) == (RUC, "cache")
    assert sandbox.billed == 1


def test_a_forced_look_up_pays_although_the_cache_has_an_answer(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    migo.consultar_ruc(RUC)
    forced = migo.consultar_ruc(RUC, force_refresh=True)
    assert forced["cache"]["source"] == "upstream"
    assert sandbox.billed == 2


@pytest.mark.parametrize("ruc", [IMPOSSIBLE, "2010003814", "abc", "", "'; DROP TABLE", "20100038146" * 30])
def test_what_cannot_be_a_ruc_is_never_asked_for(migo: MigoAPIService, sandbox: RunningSandbox, ruc: str) -> None:
    refused = migo.consultar_ruc(ruc)
    assert (refused["success"], refused["code"], refused["reason"]) == (False, "malformed", "FORMATO_INVALIDO")
    assert refused["permanent"] is True
    assert sandbox.log == []


def test_a_wrong_check_digit_is_listed_as_invalid(migo: MigoAPIService) -> None:
    migo.consultar_ruc(IMPOSSIBLE)
    info = APICacheService().get_invalid_ruc_info(IMPOSSIBLE)
    assert info is not None
    assert info["reason"] == "FORMATO_INVALIDO"


def test_an_unknown_ruc_is_remembered_as_invalid_and_paid_for_once(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    for ruc in unknown_rucs(4):
        first, second = migo.consultar_ruc(ruc), migo.consultar_ruc(ruc)
        assert (first["success"], first["code"], first["reason"]) == (False, "not_found", "NO_EXISTE_SUNAT")
        assert (second["reason"], second["cache"]["outcome"]) == ("NO_EXISTE_SUNAT", "negative")
        assert APICacheService().get_invalid_ruc_info(ruc)["reason"] == "NO_EXISTE_SUNAT"  # type: ignore[index]
    assert sandbox.billed == 4


def test_a_ruc_that_was_registered_since_is_found_when_asked_for_anew(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    (ruc,) = unknown_rucs(1)
    migo.consultar_ruc(ruc)
    sandbox.switch(unknown_share=0.0)
    assert migo.consultar_ruc(ruc)["reason"] == "NO_EXISTE_SUNAT"
    assert migo.consultar_ruc(ruc, force_refresh=True)["success"] is True
    assert migo.consultar_ruc(ruc)["cache"]["outcome"] == "hit"
    assert APICacheService().is_ruc_invalid(ruc) is False


def test_without_a_token_nothing_is_asked_and_the_error_says_what_to_set(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_TOKEN = ""
    provider.cache_clear()
    failed = migo.consultar_ruc(RUC)
    assert failed["code"] == "upstream_auth_refused"
    assert "MIGO_TOKEN" in failed["error"]
    assert sandbox.log == []


def test_a_flushed_cache_costs_nothing_while_the_store_has_the_answer(
    migo: MigoAPIService, sandbox: RunningSandbox, memcached: Memcached
) -> None:
    migo.consultar_ruc(RUC)
    memcached.flush()
    again = migo.consultar_ruc(RUC)
    assert (again["success"], again["cache"]["outcome"], again["cache"]["source"]) == (True, "miss", "store")
    assert migo.consultar_ruc(RUC)["cache"]["source"] == "cache"
    assert sandbox.billed == 1


def test_a_dead_cache_is_an_outage_and_not_a_miss_and_the_answer_still_comes(
    migo: MigoAPIService, sandbox: RunningSandbox, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    migo.consultar_ruc(RUC)
    own_memcached.kill()
    from_store, other = migo.consultar_ruc(RUC), migo.consultar_ruc("20131312955")
    assert (from_store["cache"]["outcome"], from_store["cache"]["source"]) == ("outage", "store")
    assert (other["cache"]["outcome"], other["cache"]["source"]) == ("outage", "upstream")
    assert sandbox.billed == 2


def test_a_reached_cap_is_a_clear_error_and_does_not_touch_cached_answers(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_MAX_PER_HOUR = 1
    migo.consultar_ruc(RUC)
    with translation.override("en"):
        refused = migo.consultar_ruc("20131312955")
    assert (refused["code"], refused["permanent"]) == ("budget_exhausted", False)
    assert refused["error"] == "The limit of 1 paid queries an hour is reached."
    assert 0 < refused["retry_after"] <= 3600
    assert migo.consultar_ruc(RUC)["success"] is True
    assert sandbox.billed == 1


def test_every_look_up_is_counted_by_what_the_cache_said(migo: MigoAPIService) -> None:
    from api_service.models import LookupHour

    (unknown,) = unknown_rucs(1)
    for ruc in (RUC, RUC, RUC, unknown, unknown):
        migo.consultar_ruc(ruc)
    tracking.flush_now()
    counted = dict(LookupHour.objects.values_list("outcome", "count"))
    assert counted == {"miss": 2, "hit": 2, "negative": 1}
    assert sum(SpendHour.objects.values_list("queries", flat=True)) == 2


def test_every_look_up_is_timed_by_where_its_answer_came_from(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_CIRCUIT_FAILURES = 0
    (unknown,) = unknown_rucs(1)
    for ruc in (RUC, RUC, unknown, unknown, IMPOSSIBLE):
        migo.consultar_ruc(ruc)
    APICacheService().delete_ruc(RUC)
    assert migo.consultar_ruc(RUC)["cache"]["source"] == "store"
    sandbox.switch(script=["500", "500"])
    assert migo.consultar_ruc(RUC, force_refresh=True, max_stale=3600)["cache"]["stale"] is True
    assert migo.consultar_ruc("20131312955")["success"] is False
    tracking.flush_now()

    counted = LookupTime.objects.values_list("way").annotate(total=Sum("count"))
    # Of the cache a hit and a known absence; what cannot exist was never looked up
    assert dict(counted) == {"cache": 2, "upstream": 2, "store": 1, "failed": 2}


# -- invoices


def test_an_active_taxpayer_at_its_address_can_be_invoiced(migo: MigoAPIService) -> None:
    verdict = migo.validar_ruc_para_facturacion(RUC)
    assert (verdict["success"], verdict["valid"], verdict["errors"]) == (True, True, [])
    assert verdict["record"] is not None
    assert "cache" not in verdict["record"]


def test_a_ruc_without_record_gives_a_verdict_and_an_outage_gives_none(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    impossible = migo.validar_ruc_para_facturacion(IMPOSSIBLE)
    sandbox.switch(script=["503"])
    failed = migo.validar_ruc_para_facturacion(RUC)
    assert (impossible["success"], impossible["valid"]) == (True, False)
    assert [remark["code"] for remark in impossible["errors"]] == ["malformed"]
    assert (failed["success"], failed["valid"], failed["code"]) == (False, False, "upstream_server_error")
    assert failed["errors"] == []


# -- other records


def test_a_person_is_found_by_dni_once_paid_and_unknown_ones_are_remembered(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    sandbox.switch(unknown_share=0.0)
    found = [migo.consultar_dni("12345678") for _ in range(2)]
    sandbox.switch(unknown_share=1.0)
    unknown = [migo.consultar_dni("87654321") for _ in range(2)]
    assert [result["cache"]["source"] for result in found + unknown] == ["upstream", "cache", "upstream", "cache"]
    assert found[0]["nombre"]
    assert unknown[1]["code"] == "not_found"
    assert sandbox.billed == 2
    assert APICacheService().get_all_invalid_rucs() == {}
    assert migo.consultar_dni("123")["code"] == "malformed"


def test_the_exchange_rate_is_paid_for_once_and_stays_decimal_text(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    newest, again = migo.consultar_tipo_cambio_latest(), migo.consultar_tipo_cambio_latest()
    assert isinstance(newest["precio_compra"], str)
    assert again["cache"]["source"] == "cache"
    rate = APICacheService().get_tipo_cambio()
    assert rate["precio_venta"] == newest["precio_venta"]
    assert sandbox.billed == 1


def test_the_rate_of_a_day_is_kept_and_a_wrong_day_is_never_asked_for(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    day = timezone.now().astimezone(LIMA).date() - timedelta(days=3)
    by_date, by_text = migo.consultar_tipo_cambio_fecha(day), migo.consultar_tipo_cambio_fecha(day.isoformat())
    assert (by_date["fecha"], by_text["cache"]["source"]) == (day.isoformat(), "cache")
    assert migo.consultar_tipo_cambio_fecha("28/01/2026")["code"] == "malformed"
    assert sandbox.billed == 1


def test_a_range_of_rates_comes_as_a_list_and_is_entered_in_the_ledger(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    rates = migo.consultar_tipo_cambio_rango("2026-01-05", date(2026, 1, 7))
    assert [rate["fecha"] for rate in rates["data"]] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert migo.consultar_tipo_cambio_rango("2026-01-07", "2026-01-05")["code"] == "malformed"
    assert sum(SpendHour.objects.values_list("queries", flat=True)) == sandbox.billed == 1


def test_representatives_are_kept_and_do_not_mix_with_the_taxpayer(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    migo.consultar_ruc(RUC)
    people, again = migo.consultar_representantes_legales(RUC), migo.consultar_representantes_legales(RUC)
    assert people["data"][0]["cargo"]
    assert again["cache"]["source"] == "cache"
    assert "cargo" not in migo.consultar_ruc(RUC)
    assert sandbox.billed == 2


def test_the_account_is_free_and_shows_what_is_left(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    sandbox.switch(consultas=10)
    migo.consultar_ruc(RUC)
    assert migo.consultar_cuenta() == {
        "success": True,
        "nombre": "CUENTA DE PRUEBA",
        "email": "pruebas@example.com",
        "consultas": 9,
    }
    assert sum(SpendHour.objects.values_list("queries", flat=True)) == 1


def test_version_2_answers_taxpayers_and_says_what_it_does_not_offer(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_API_VERSION = "v2"
    provider.cache_clear()
    assert migo.consultar_ruc(RUC)["success"] is True
    for refused in (migo.consultar_cuenta(), migo.consultar_representantes_legales(RUC)):
        assert (refused["code"], refused["permanent"]) == ("upstream_not_offered", True)
    assert sandbox.billed == 1
