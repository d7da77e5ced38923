"""GET /api/v1/rucs/<ruc> and its siblings: the answer, how fresh it is, and what a failure says."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from api_service.services import stale_counts
from api_service.services.cache_service import APICacheService
from api_service.services.token_rules import Scope
from tests.conftest import UseCacheUrl
from tests.integration.api.conftest import ApiClient, problem_of
from tests.migo_fixtures import IMPOSSIBLE, RUC, unknown_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached

pytestmark = pytest.mark.usefixtures("migo")
URL = f"/api/v1/rucs/{RUC}"


def aged(seconds: float, ttl: float = 3600) -> None:
    """The cached answer is as old as that."""
    cache = APICacheService()
    read = cache.read_ruc(RUC)
    cache.set(f"migo:ruc_{RUC}", read.value, ttl - seconds, born_at=read.born_at - seconds, stale=900)


def test_a_paid_answer_and_a_cached_one_differ_in_their_headers_only(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api(Scope.LOOKUP)
    first, second = client.get(URL), client.get(URL)
    assert (first.status_code, first.content) == (200, second.content)
    assert first.json()["nombre_o_razon_social"]
    assert first.headers["Cache-Status"] == "cache-worker; fwd=miss; stored"
    assert second.headers["Cache-Status"].startswith("cache-worker; hit; ttl=35")
    assert second.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in second.headers["Vary"]
    assert sandbox.billed == 1


def test_who_has_the_answer_already_is_told_so_without_it(api: ApiClient) -> None:
    client = api()
    tag = client.get(URL).headers["ETag"]
    for said in (tag, f'"other", W/{tag}', "*"):
        again = client.get(URL, headers={"If-None-Match": said})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert "Age" in again.headers
    assert client.get(URL, headers={"If-None-Match": '"other"'}).status_code == 200


def test_age_and_what_is_left_of_the_life_are_told(api: ApiClient) -> None:
    client = api()
    client.get(URL)
    aged(600)
    answer = client.get(URL)
    assert 600 <= int(answer.headers["Age"]) < 660
    assert 2940 < int(answer.headers["Cache-Status"].rpartition("=")[2]) <= 3000


def test_an_old_answer_says_that_a_newer_one_is_under_way(api: ApiClient) -> None:
    client = api()
    client.get(URL)
    aged(30, ttl=-10)
    answer = client.get(URL)
    assert answer.status_code == 200
    assert answer.headers["Cache-Status"].startswith("cache-worker; hit; ttl=-")
    assert answer.headers["Cache-Status"].endswith("; detail=refreshing")
    assert stale_counts.flush(10)


def test_an_old_answer_instead_of_an_error_says_why(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api()
    client.get(URL)
    sandbox.switch(script=["500"])
    answer = client.get(URL, {"refresh": "true", "max_stale": "9999"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Status"].endswith("cache-worker; fwd=stale; detail=upstream_server_error")


def test_a_refresh_is_paid_for_and_says_so(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api()
    client.get(URL)
    answer = client.get(URL, {"refresh": "true"})
    assert answer.headers["Cache-Status"] == "cache-worker; fwd=request; stored"
    assert sandbox.billed == 2


def test_an_answer_of_the_store_names_it_before_the_cache(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api()
    client.get(URL)
    APICacheService().delete(f"migo:ruc_{RUC}")
    answer = client.get(URL)
    assert answer.headers["Cache-Status"].startswith("answer-store; hit; ttl=3")
    assert answer.headers["Cache-Status"].endswith(", cache-worker; fwd=miss; stored")
    assert sandbox.billed == 1


def test_a_dead_cache_is_no_miss(api: ApiClient, own_memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    answer = api().get(URL)
    assert (answer.status_code, answer.headers["Cache-Status"]) == (200, "cache-worker; fwd=miss; detail=outage")


def test_an_unknown_ruc_is_a_problem_with_its_reason_also_from_the_cache(api: ApiClient) -> None:
    client = api()
    (ruc,) = unknown_rucs(1)
    first, second = (client.get(f"/api/v1/rucs/{ruc}") for _ in range(2))
    assert problem_of(first, 404, "not_found")["reason"] == "NO_EXISTE_SUNAT"
    assert problem_of(second, 404, "not_found")["permanent"] is True
    assert second.headers["Cache-Status"].endswith("; detail=negative")


def test_a_wrong_check_digit_and_a_wrong_form_cost_nothing(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api()
    problem_of(client.get(f"/api/v1/rucs/{IMPOSSIBLE}"), 422, "malformed")
    said = problem_of(client.get("/api/v1/rucs/2010"), 422, "invalid_request")
    assert said["errors"][0]["where"] == "path.ruc"
    problem_of(client.get(URL, {"max_stale": "-1"}), 422, "invalid_request")
    assert sandbox.log == []


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry_after"),
    [
        ("429:30", 429, "upstream_rate_limited", "30"),
        ("401", 502, "upstream_auth_refused", None),
        ("503:12", 503, "upstream_server_error", "12"),
        ("broken_json", 502, "upstream_bad_answer", None),
    ],
)
def test_trouble_of_apimigo_is_a_problem_that_says_when_to_come_again(
    api: ApiClient, sandbox: RunningSandbox, fault: str, status: int, code: str, retry_after: str | None
) -> None:
    sandbox.switch(script=[fault])
    answer = api().get(URL)
    assert problem_of(answer, status, code)["retry_after"] == (float(retry_after) if retry_after else None)
    assert answer.headers.get("Retry-After") == retry_after


def test_whether_an_invoice_can_be_made_out(api: ApiClient) -> None:
    client = api()
    answer = client.get(f"{URL}/billing")
    body = answer.json()
    assert (answer.status_code, body["ruc"], body["record"]["ruc"]) == (200, RUC, RUC)
    assert body["valid"] is not bool(body["errors"])
    (unknown,) = unknown_rucs(1)
    body = client.get(f"/api/v1/rucs/{unknown}/billing").json()
    assert (body["valid"], [error["code"] for error in body["errors"]], body["record"]) == (False, ["not_found"], None)


@pytest.mark.parametrize(
    ("path", "field"),
    [("dnis/12345678", "nombre"), ("exchange-rates/latest", "precio_venta"), ("exchange-rates/2026-01-28", "fecha")],
)
def test_persons_and_rates_are_kept_too(api: ApiClient, path: str, field: str) -> None:
    client = api()
    first, second = client.get(f"/api/v1/{path}"), client.get(f"/api/v1/{path}")
    assert (first.status_code, first.content) == (200, second.content)
    assert first.json()[field]
    assert "; hit; " in second.headers["Cache-Status"]


def test_a_range_of_rates_is_bounded_and_not_cached(api: ApiClient, sandbox: RunningSandbox) -> None:
    client = api()
    answer = client.get("/api/v1/exchange-rates", {"start": "2026-01-01", "end": "2026-01-05"})
    assert (answer.status_code, answer.headers["Cache-Status"]) == (200, "cache-worker; fwd=bypass")
    assert answer.json()["rates"][0]["precio_compra"]
    for end in ("2025-12-31", "2028-01-01"):
        wrong: Any = client.get("/api/v1/exchange-rates", {"start": "2026-01-01", "end": end})
        problem_of(wrong, 422, "invalid_request")
    assert len(sandbox.log) == 1


@pytest.mark.parametrize("day", ["0", "1706400000", "2026-01-28T00:00:00", "20260128", "2026-1-28", "2026-02-30"])
def test_what_is_no_date_is_refused_and_not_paid_for(api: ApiClient, sandbox: RunningSandbox, day: str) -> None:
    client = api()
    problem_of(client.get(f"/api/v1/exchange-rates/{day}"), 422, "invalid_request")
    problem_of(client.get("/api/v1/exchange-rates", {"start": day, "end": "1970-01-02"}), 422, "invalid_request")
    assert sandbox.log == []


@pytest.mark.parametrize(
    ("language", "said"), [("es", "Escriba una fecha como 2026-01-28."), ("en", "Write a date as 2026-01-28.")]
)
def test_what_is_no_date_is_told_in_one_language(api: ApiClient, language: str, said: str) -> None:
    answer = api().get("/api/v1/exchange-rates/0", headers={"Accept-Language": language})
    assert answer.json()["errors"] == [{"where": "path.day", "what": said}]


def test_the_last_year_of_the_calendar_is_a_range_like_any_other(api: ApiClient) -> None:
    answer = api().get("/api/v1/exchange-rates", {"start": "9999-12-30", "end": "9999-12-31"})
    assert (answer.status_code, answer.json()) == (200, {"rates": []})


def test_texts_are_in_the_readers_language_and_codes_are_not(api: ApiClient, settings: Settings) -> None:
    client = api()
    texts = {
        language: problem_of(
            client.get(f"/api/v1/rucs/{IMPOSSIBLE}", headers={"Accept-Language": language}), 422, "malformed"
        )["detail"]
        for language in ("es", "en")
    }
    assert texts["en"] == "The number does not have a valid form."
    assert texts["es"] != texts["en"]


def test_head_has_the_headers_of_get_and_no_body(api: ApiClient) -> None:
    client = api()
    full, head = client.get(URL), client.head(URL)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", full.headers["ETag"])
