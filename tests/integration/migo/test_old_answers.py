"""An old answer rather than a wait or an error, and never in silence."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import time
from typing import Any

import pytest
from pytest_django import Settings

from api_service.models import LookupHour, StaleServed, StoredAnswer
from api_service.services import lookup, monitoring, refreshing, stale_counts, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from api_service.services.subjects import Subject
from tests.conftest import UseCacheUrl
from tests.migo_fixtures import IMPOSSIBLE, RUC, SUNAT, known_rucs, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached
from tests.waiting import wait_until

LIFE = 3600.0


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Subject]]:
    """What workers were asked to refresh; the broker has tests of its own."""
    subjects: list[Subject] = []
    monkeypatch.setattr(refreshing, "ask", subjects.extend)
    yield subjects
    assert stale_counts.flush(10)


def grow_old(ruc: str, seconds: float, **fields: Any) -> None:
    """As if the answer in the cache had ended so long ago."""
    record = {"ruc": ruc, "nombre_o_razon_social": "LA DE ANTES", **fields}
    APICacheService().set(f"migo:ruc_{ruc}", record, -seconds, born_at=time() - LIFE - seconds, stale=seconds + 60)


def store_old(ruc: str, age: float) -> None:
    StoredAnswer.objects.filter(identifier=ruc).delete()
    StoredAnswer.objects.create(
        service="migo",
        kind="ruc",
        identifier=ruc,
        data=f'{{"ruc": "{ruc}", "nombre_o_razon_social": "LA DEL ALMACEN"}}',
        born_at=datetime.fromtimestamp(time() - age, UTC),
    )


def test_past_its_life_an_answer_is_shown_at_once_and_a_newer_one_is_asked_for(
    migo: MigoAPIService, sandbox: RunningSandbox, asked: list[Subject]
) -> None:
    grow_old(RUC, 100)
    shown = migo.consultar_ruc(RUC)
    assert (shown["success"], shown["nombre_o_razon_social"]) == (True, "LA DE ANTES")
    assert (shown["cache"]["outcome"], shown["cache"]["source"]) == ("stale", "cache")
    assert (shown["cache"]["stale"], shown["cache"]["stale_because"]) == (True, "refreshing")
    assert LIFE + 100 <= shown["cache"]["age"] < LIFE + 160
    assert asked == [Subject("migo", "ruc", RUC)]
    assert sandbox.log == []


def test_the_refresh_behind_it_pays_once_and_what_is_fresh_is_left_alone(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    grow_old(RUC, 100)
    first = lookup.refresh_many("migo", "ruc", [RUC, SUNAT, IMPOSSIBLE])
    again = lookup.refresh_many("migo", "ruc", [RUC, SUNAT])
    assert first == {"asked": 3, "already_fresh": 0, "refreshed": 2, "failed": 0}
    assert again == {"asked": 2, "already_fresh": 2, "refreshed": 0, "failed": 0}
    assert lookup.refresh_many("migo", "ruc", []) == {"asked": 0, "already_fresh": 0, "refreshed": 0, "failed": 0}
    assert sandbox.billed == 2
    fresh = migo.consultar_ruc(RUC)
    assert (fresh["cache"]["outcome"], fresh["cache"]["stale"]) == ("hit", False)
    assert fresh["nombre_o_razon_social"] != "LA DE ANTES"


@pytest.mark.parametrize("max_stale", [0, 50])
def test_who_wants_nothing_that_old_waits_for_a_new_answer(
    migo: MigoAPIService, sandbox: RunningSandbox, asked: list[Subject], max_stale: float
) -> None:
    grow_old(RUC, 100)
    found = migo.consultar_ruc(RUC, max_stale=max_stale)
    assert (found["cache"]["outcome"], found["cache"]["source"], found["cache"]["stale"]) == ("miss", "upstream", False)
    assert (sandbox.billed, asked) == (1, [])


def test_who_accepts_it_is_shown_one_that_is_old_enough(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    grow_old(RUC, 100)
    assert migo.consultar_ruc(RUC, max_stale=150)["cache"]["stale"] is True
    assert sandbox.log == []


def test_an_answer_beyond_the_limit_is_an_error_and_a_caller_may_set_his_own(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.STALE_IF_ERROR = 3600
    store_old(RUC, LIFE + 7200)
    sandbox.switch(error_rate=1.0)
    assert migo.consultar_ruc(RUC)["code"] == "upstream_server_error"
    assert migo.consultar_ruc(RUC, max_stale=8000)["cache"]["stale"] is True
    assert migo.consultar_ruc(RUC, max_stale=0)["code"] == "upstream_server_error"


def test_a_forced_look_up_shows_nothing_old_unless_told_so(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    store_old(RUC, 10)
    sandbox.switch(error_rate=1.0)
    assert migo.consultar_ruc(RUC, force_refresh=True)["code"] == "upstream_server_error"
    shown = migo.consultar_ruc(RUC, force_refresh=True, max_stale=60)
    assert (shown["cache"]["stale"], shown["cache"]["stale_because"]) == (True, "upstream_server_error")


def test_at_the_cap_the_old_answer_is_shown_and_who_has_none_gets_a_clear_error(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_MAX_PER_HOUR = 1
    migo.consultar_ruc(SUNAT)
    store_old(RUC, LIFE + 60)
    shown, refused = migo.consultar_ruc(RUC), migo.consultar_ruc(known_rucs(1)[0])
    assert (shown["success"], shown["cache"]["stale_because"]) == (True, "budget_exhausted")
    assert (refused["success"], refused["code"]) == (False, "budget_exhausted")
    assert sandbox.billed == 1


def test_yesterdays_exchange_rate_is_never_shown_for_todays(
    migo: MigoAPIService, sandbox: RunningSandbox, asked: list[Subject]
) -> None:
    rate = {"fecha": "2026-01-27", "precio_compra": "3.7"}
    APICacheService().set("migo:tipo_cambio_latest", rate, -1, born_at=time() - 90_000, stale=600)
    sandbox.switch(script=["500"])
    assert migo.consultar_tipo_cambio_latest()["code"] == "upstream_server_error"
    assert asked == []


def test_nothing_old_is_shown_in_silence(migo: MigoAPIService, sandbox: RunningSandbox, memcached: Memcached) -> None:
    grow_old(SUNAT, 30)
    store_old(RUC, LIFE + 7200)
    sandbox.switch(error_rate=1.0)
    migo.consultar_ruc(SUNAT)
    for _time in range(3):
        migo.consultar_ruc(RUC)
    assert stale_counts.flush(10)
    tracking.flush_now()
    rows = {row.reason: row for row in StaleServed.objects.all()}
    assert {reason: row.answers for reason, row in rows.items()} == {"refreshing": 1, "upstream_server_error": 3}
    assert LIFE + 7200 <= rows["upstream_server_error"].oldest_seconds < LIFE + 7260
    assert dict(LookupHour.objects.values_list("outcome", "count")) == {"stale": 1, "miss": 3}
    sample = monitoring.run_health_check()
    [finding] = [f for f in sample.findings if f["code"] == "stale_served"]
    assert (finding["node"], finding["severity"]) == ("migo", "warning")
    assert finding["value"] == "3 × ≤ 3h: upstream_server_error"


def test_many_at_once_show_the_old_ones_and_pay_for_the_missing(
    migo: MigoAPIService, sandbox: RunningSandbox, asked: list[Subject]
) -> None:
    rucs = known_rucs(6)
    grow_old(rucs[0], 100)
    migo.consultar_ruc(rucs[1])
    store_old(rucs[2], LIFE + 60)
    many = migo.consultar_ruc_masivo(rucs)
    assert [result["cache"]["outcome"] for result in many["results"]] == ["stale", "hit", *["miss"] * 4]
    assert {result["cache"]["source"] for result in many["results"][2:]} == {"upstream"}
    assert asked == [Subject("migo", "ruc", rucs[0])]
    assert sandbox.billed == 1 + 4


def test_many_at_once_while_apimigo_is_down_get_what_is_there(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    rucs = known_rucs(4)
    store_old(rucs[0], LIFE + 60)
    store_old(rucs[1], LIFE + 120)
    sandbox.switch(error_rate=1.0)
    many = migo.consultar_ruc_masivo(rucs)
    assert (many["found"], many["failed"]) == (2, 2)
    assert [result.get("cache", {}).get("stale") for result in many["results"]] == [True, True, None, None]


def test_an_unknown_ruc_stays_unknown_while_apimigo_is_down(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    (unknown,) = unknown_rucs(1)
    migo.consultar_ruc(unknown)
    sandbox.switch(error_rate=1.0)
    assert migo.consultar_ruc(unknown)["cache"]["outcome"] == "negative"


def test_with_the_cache_down_as_well_the_store_still_helps(
    migo: MigoAPIService, sandbox: RunningSandbox, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    store_old(RUC, LIFE + 60)
    sandbox.switch(error_rate=1.0)
    shown = migo.consultar_ruc(RUC)
    assert (shown["cache"]["outcome"], shown["cache"]["source"], shown["cache"]["stale"]) == ("outage", "store", True)


def test_clean_up_leaves_what_may_still_be_shown(migo: MigoAPIService, settings: Settings) -> None:
    settings.STALE_WHILE_REVALIDATE = 200
    grow_old(RUC, 100)
    grow_old(SUNAT, 300)
    assert APICacheService().cleanup_expired()["rucs"] == 1
    assert migo.consultar_ruc(RUC)["cache"]["stale"] is True


def test_the_monitor_says_nothing_of_what_is_being_refreshed(migo: MigoAPIService) -> None:
    grow_old(RUC, 100)
    migo.consultar_ruc(RUC)
    assert stale_counts.flush(10)
    wait_until(StaleServed.objects.exists)
    assert [f for f in monitoring.run_health_check().findings if f["code"] == "stale_served"] == []
