"""consultar_ruc_masivo: any number, paid for as little as possible, one failure at a time."""

from datetime import datetime

import pytest
from pytest_django import Settings

from api_service.caches.wire import NodeClient, Stored
from api_service.services import answer_rows
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from tests.migo_fixtures import IMPOSSIBLE, known_rucs, unknown_rucs
from tests.sandbox_fixture import RunningSandbox


def test_a_thousand_at_once_are_one_query_of_the_store_and_a_call_a_hundred(
    migo: MigoAPIService, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rucs, reads, gets = known_rucs(1000), list[int](), list[int]()
    read, fetch_many = answer_rows.read, NodeClient.fetch_many

    def counted_read(service: str, kind: str, names: list[str], oldest: datetime) -> list[tuple[str, str, datetime]]:
        reads.append(len(names))
        return read(service, kind, names, oldest)

    def counted_get(client: NodeClient, keys: list[bytes]) -> dict[bytes, Stored]:
        gets.append(len(keys))
        return fetch_many(client, keys)

    monkeypatch.setattr(answer_rows, "read", counted_read)
    monkeypatch.setattr(NodeClient, "fetch_many", counted_get)
    many = migo.consultar_ruc_masivo([*rucs, *rucs])
    assert (many["total"], many["distinct"], many["found"], many["failed"]) == (2000, 1000, 1000, 0)
    assert reads == [1000]
    # The answers, the negative ones, and those once more behind the claim
    assert gets == [1000] * 3
    assert sorted(len(entry["rucs"]) for entry in sandbox.log) == [100] * 10
    assert sandbox.billed == 1000
    gets.clear()
    assert migo.consultar_ruc_masivo(rucs)["found"] == 1000
    assert (reads, gets, sandbox.billed) == ([1000], [1000], 1000)


def test_each_distinct_ruc_is_asked_for_once_in_chunks_of_a_hundred_and_answered_in_place(
    migo: MigoAPIService, sandbox: RunningSandbox
) -> None:
    rucs = [*known_rucs(240), *unknown_rucs(8), IMPOSSIBLE, "x"]
    asked = [*rucs[125:], *rucs[:130], f" {rucs[0]} "]
    many = migo.consultar_ruc_masivo(asked)
    assert [result["ruc"] for result in many["results"]] == [ruc.strip() for ruc in asked]
    counts = {name: many[name] for name in ("success", "total", "distinct", "found", "negative", "failed")}
    assert counts == {"success": True, "total": 256, "distinct": 250, "found": 240, "negative": 10, "failed": 0}
    assert sorted(len(call["rucs"]) for call in sandbox.log) == [48, 100, 100]
    assert many["results"][-1] == many["results"][asked.index(rucs[0])]


def test_the_second_time_is_free_also_for_the_unknown_ones(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    rucs = [*known_rucs(20), *unknown_rucs(5)]
    migo.consultar_ruc_masivo(rucs)
    again = migo.consultar_ruc_masivo(rucs)
    assert {result["cache"]["outcome"] for result in again["results"]} == {"hit", "negative"}
    assert again["results"][-1]["reason"] == "NO_EXISTE_SUNAT"
    assert sandbox.billed == 25


def test_a_failed_chunk_in_the_middle_is_reported_ruc_by_ruc_and_costs_the_others_nothing(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_PARALLEL = 1
    rucs = known_rucs(250)
    sandbox.switch(script=["ok", "503:9", "ok"])
    many = migo.consultar_ruc_masivo(rucs)
    failed = [result["ruc"] for result in many["results"] if not result["success"]]
    assert failed == rucs[100:200]
    assert (many["success"], many["found"], many["failed"]) == (False, 150, 100)
    assert (many["code"], many["permanent"], many["retry_after"]) == ("upstream_server_error", False, 9.0)
    assert many["results"][100]["reason"] is None
    assert APICacheService().get_all_invalid_rucs() == {}
    billed = sandbox.billed
    assert migo.consultar_ruc_masivo(rucs)["found"] == 250
    assert sandbox.billed - billed == 100


def test_a_cap_reached_in_the_middle_keeps_what_was_paid_and_says_so_for_the_rest(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_MAX_PER_HOUR = 150
    many = migo.consultar_ruc_masivo(known_rucs(250))
    assert (many["found"], many["failed"], many["code"]) == (100, 150, "budget_exhausted")
    assert many["retry_after"] is not None
    assert sandbox.billed == 100


def test_the_cap_says_so_when_it_forbids_the_first_chunk_too(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    migo.consultar_ruc_masivo(known_rucs(2))
    settings.MIGO_MAX_PER_HOUR = 3
    many = migo.consultar_ruc_masivo(known_rucs(12))
    assert (many["found"], many["failed"], many["code"]) == (2, 10, "budget_exhausted")
    assert sandbox.billed == 2


def test_nothing_asked_for_is_nothing_done(migo: MigoAPIService, sandbox: RunningSandbox) -> None:
    many = migo.consultar_ruc_masivo([])
    assert (many["success"], many["total"], many["results"]) == (True, 0, [])
    assert sandbox.log == []
