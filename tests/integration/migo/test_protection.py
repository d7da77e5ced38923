"""What keeps money and nights safe when the provider, the cache or a run fails half-way."""

from collections.abc import Mapping
from contextlib import closing
from time import monotonic
from typing import Any

import pytest
from pytest_django import Settings

from api_service.models import StoredAnswer
from api_service.services import filling
from api_service.services.budget import BurstLimit
from api_service.services.cache_service import APICacheService
from api_service.services.flights import Flight
from api_service.services.migo_service import MigoAPIService
from api_service.services.providers import Answer, provider
from tests.conftest import UseCacheUrl
from tests.migo_fixtures import RUC, SUNAT, known_rucs, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached


def test_what_was_paid_is_kept_when_the_caller_is_cut_off_in_a_later_chunk(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIGO_PARALLEL = 1
    chunks: list[int] = []
    keep = filling.keep

    def keep_then_die(
        cache: APICacheService, service: str, kind: str, answers: Mapping[str, Answer], *, flight: Flight | None
    ) -> None:
        if len(chunks) == 2:
            raise KeyboardInterrupt
        chunks.append(len(answers))
        keep(cache, service, kind, answers, flight=flight)

    monkeypatch.setattr(filling, "keep", keep_then_die)
    with pytest.raises(KeyboardInterrupt):
        migo.consultar_ruc_masivo(known_rucs(250))
    monkeypatch.undo()

    assert chunks == [100, 100]
    assert StoredAnswer.objects.count() == 200
    billed = sandbox.billed
    assert migo.consultar_ruc_masivo(known_rucs(200))["found"] == 200
    assert sandbox.billed == billed


@pytest.mark.parametrize(
    ("switches", "code"),
    [({"consultas": 0}, "upstream_auth_refused"), ({"script": ["refused:Su plan ha vencido."]}, "upstream_refused")],
    ids=["by status", "in words"],
)
def test_a_refused_plan_is_a_finding_until_the_provider_answers_again(
    migo: MigoAPIService,
    sandbox: RunningSandbox,
    caplog: pytest.LogCaptureFixture,
    switches: dict[str, Any],
    code: str,
) -> None:
    assert APICacheService().get_health()["findings"] == []
    sandbox.switch(**switches)
    assert migo.consultar_ruc(RUC)["code"] == code
    refused = APICacheService().get_health()

    sandbox.reset()
    assert migo.consultar_ruc(SUNAT)["success"] is True
    healed = APICacheService().get_health()

    assert [(f["code"], f["severity"], f["node"]) for f in refused["findings"]] == [
        ("upstream_refused", "warning", "migo")
    ]
    assert (refused["status"], healed["status"]) == ("warning", "healthy")
    assert "paid look-ups are down" in caplog.text


def test_while_the_cache_is_down_paid_queries_are_held_to_a_burst(
    migo: MigoAPIService,
    sandbox: RunningSandbox,
    own_memcached: Memcached,
    use_cache_url: UseCacheUrl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "_burst", BurstLimit(lambda: 3))
    use_cache_url(own_memcached.url)
    own_memcached.kill()

    unknown = unknown_rucs(1)[0]
    codes = [migo.consultar_ruc(unknown)["code"] for _ in range(5)]
    many = migo.consultar_ruc_masivo(known_rucs(5))

    assert codes == ["not_found"] * 3 + ["budget_exhausted"] * 2
    assert (many["failed"], many["code"]) == (5, "budget_exhausted")
    assert many["retry_after"] is not None
    assert many["retry_after"] <= 60
    assert sandbox.billed == 3


def test_a_node_that_is_full_and_takes_nothing_makes_nobody_wait(
    migo: MigoAPIService, sandbox: RunningSandbox, use_cache_url: UseCacheUrl
) -> None:
    node = Memcached(memory=2, options=["-M"])
    with closing(node.start()):
        use_cache_url(node.url)
        cache = APICacheService()
        for size in (500_000, 5_000, *range(600, 0, -20)):
            assert not all(cache.cache.store(f"filler:{size}_{n}", "x" * size, 3600) for n in range(50_000))
        started = monotonic()
        found = migo.consultar_ruc(RUC)
        took = monotonic() - started
    assert (found["success"], found["cache"]["source"]) == (True, "upstream")
    # Not the minute for which others' answers are waited for
    assert took < 30


def test_the_burst_has_room_again_after_a_minute() -> None:
    burst = BurstLimit(lambda: 2)
    burst.check(2, now=100.0)
    with pytest.raises(Exception, match="2 paid queries a minute") as refused:
        burst.check(1, now=130.0)

    assert getattr(refused.value, "retry_after", None) == 30.0
    burst.check(1, now=160.0)
    burst.check(0, now=160.0)


def test_each_answered_call_is_handed_over_before_the_next(
    migo: MigoAPIService, sandbox: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_PARALLEL = 1
    handed: list[tuple[int, int]] = []
    client = provider("migo")

    client.fetch_many("ruc", known_rucs(210), answered=lambda answers: handed.append((len(answers), sandbox.billed)))

    assert handed == [(100, 100), (100, 200), (10, 210)]


def test_an_empty_collection_says_nothing_of_the_rucs(
    migo: MigoAPIService, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api_service.services.errors import UpstreamBadAnswer
    from api_service.services.migo_wire import read_collection
    from api_service.services.upstream import Response

    empty = Response(200, {"content-type": "application/json"}, b'{"success": true, "data": []}', 0.01)

    with pytest.raises(UpstreamBadAnswer):
        read_collection(empty, [RUC, SUNAT])
