"""Who is let in: tokens of the table and of the settings, their scopes, their end, their requests a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connections
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from api_service.api import rate_limits
from api_service.models import ApiToken
from api_service.services import api_tokens, token_rules, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.redaction import redact
from api_service.services.token_rules import Grant, Scope
from tests.conftest import UseCacheUrl
from tests.integration.api.conftest import ApiClient, problem_of
from tests.migo_fixtures import RUC
from tests.servers import Memcached, Redis

URL = f"/api/v1/rucs/{RUC}"
HEALTH = "/api/v1/cache/health"
Token = Callable[..., str]


@pytest.fixture
def amid_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window ends during the test."""
    for module in ("services.limit_storage", "api.rate_limits"):
        monkeypatch.setattr(f"api_service.{module}.time", lambda: 1_800_000_015.0)


@pytest.fixture(autouse=True)
def cached(memcached: Memcached, use_cache_url: UseCacheUrl, db: None) -> Iterator[None]:
    """The answer is in the cache: nothing is asked of APIMIGO."""
    use_cache_url(memcached.url)
    APICacheService().set_ruc(RUC, {"ruc": RUC})
    api_tokens.forget()
    yield
    api_tokens.forget()
    tracking._forget_in_child()


def bearer(text: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"})


# -- tokens


def test_only_a_hash_of_the_token_is_kept(token: Token) -> None:
    text = token()
    (row,) = ApiToken.objects.values()
    assert bearer(text).get(URL).status_code == 200
    assert text.startswith(f"cw_{row['prefix']}_")
    assert text not in str(row)
    assert row["digest"] == token_rules.digest(text)


@pytest.mark.parametrize("wrong", ["", "x", "cw_", "cw_abcdefgh_" + "a" * 43, "ñ", "{right}x", "{right}\u00a0"])
def test_a_token_that_is_none_opens_nothing(token: Token, wrong: str) -> None:
    answer = bearer(wrong.format(right=token())).get(URL)
    problem_of(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_right_prefix_with_another_secret_opens_nothing_and_counts_as_no_use(token: Token) -> None:
    prefix = token_rules.prefix_of(token())
    problem_of(bearer(f"cw_{prefix}_{'A' * 43}").get(URL), 401, "unauthorized")
    assert ApiToken.objects.get().last_used_at is None


def test_other_schemes_are_not_taken(token: Token) -> None:
    text = token()
    for header in (text, f"Basic {text}", "Bearer", None):
        client = Client(headers={} if header is None else {"Authorization": header})
        problem_of(client.get(URL), 401, "unauthorized")


def test_a_token_ends_by_its_date_and_by_being_revoked(token: Token) -> None:
    text = token(expires_at=timezone.now() + timedelta(hours=1))
    assert bearer(text).get(URL).status_code == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    api_tokens.forget()
    problem_of(bearer(text).get(URL), 401, "unauthorized")
    other = token()
    assert bearer(other).get(URL).status_code == 200
    assert api_tokens.revoke(token_rules.prefix_of(other) or "", by="mirona", now=timezone.now())
    problem_of(bearer(other).get(URL), 401, "unauthorized")


def test_another_process_learns_of_a_revocation_within_seconds(token: Token) -> None:
    text, now = token(), timezone.now()
    assert api_tokens.recognise(text, now)
    ApiToken.objects.update(revoked_at=now)
    assert api_tokens.recognise(text, now + timedelta(seconds=4))
    assert api_tokens.recognise(text, now + timedelta(seconds=6)) is None


def test_a_token_that_is_known_costs_no_query_and_its_use_is_written_once_a_minute(
    token: Token, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    text, now = token(), timezone.now()
    api_tokens.recognise(text, now)
    with django_assert_num_queries(0):
        api_tokens.recognise(text, now + timedelta(seconds=3))
    api_tokens.recognise(text, now + timedelta(seconds=30))
    assert ApiToken.objects.get().last_used_at == now
    api_tokens.recognise(text, now + timedelta(seconds=61))
    assert ApiToken.objects.get().last_used_at == now + timedelta(seconds=61)


def test_without_a_database_a_known_token_opens_what_is_cached_and_an_unknown_one_hears_why(token: Token) -> None:
    text, now = token(), timezone.now()
    assert api_tokens.recognise(text, now)
    lost = OperationalError("could not connect to 10.9.8.7")
    with patch.object(connections["default"], "cursor", autospec=True, side_effect=lost):
        assert api_tokens.recognise(text, now + timedelta(seconds=60))
        with pytest.raises(OperationalError):
            api_tokens.recognise(text, now + timedelta(seconds=400))
        answer = bearer("cw_abcdefgh_" + "a" * 43).get(URL)
    problem_of(answer, 503, "database_unavailable")
    assert "10.9.8.7" not in answer.text


def test_a_token_is_in_no_log_line(token: Token) -> None:
    text = token()
    assert text not in redact(f"sent {text} by mistake")
    assert (token_rules.prefix_of(text) or "?") in redact(f"sent {text} by mistake")


# -- scopes


def test_a_scope_opens_its_own_and_nothing_else(api: ApiClient) -> None:
    lookups, operations = api(Scope.LOOKUP), api(Scope.OPERATIONS_READ)
    assert lookups.get(URL).status_code == 200
    problem_of(operations.get(URL), 403, "scope_missing")
    answer = lookups.get(HEALTH)
    problem_of(answer, 403, "scope_missing")
    assert 'scope="operations:read"' in answer.headers["WWW-Authenticate"]
    problem_of(operations.get(HEALTH), 404, "never_checked")


def test_the_tokens_of_the_settings_open_what_they_opened_before(settings: Settings) -> None:
    settings.API_TOKEN, settings.OPERATIONS_TOKEN = "one-of-the-tests", "other-of-the-tests"
    lookups, operations = bearer("one-of-the-tests"), bearer("other-of-the-tests")
    assert lookups.get(URL).status_code == 200
    assert "RateLimit" not in lookups.get(URL).headers
    problem_of(lookups.get("/api/v1/cache/clearings"), 403, "scope_missing")
    assert operations.get("/api/v1/cache/clearings").status_code == 200
    problem_of(operations.get(URL), 403, "scope_missing")
    settings.API_TOKEN = settings.OPERATIONS_TOKEN = ""
    problem_of(bearer("").get(URL), 401, "unauthorized")


# -- requests a minute


@pytest.mark.usefixtures("amid_a_minute")
def test_a_token_has_so_many_requests_a_minute_and_hears_when_to_come_again(api: ApiClient) -> None:
    client = api(Scope.LOOKUP, per_minute=3)
    answers = [client.get(URL) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"minute";q=3;w=60'
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    body = problem_of(answers[3], 429, "too_many_requests")
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 121
    assert body["retry_after"] <= int(answers[3].headers["Retry-After"])
    # Another token has a minute of its own
    assert api(Scope.LOOKUP, per_minute=3).get(URL).status_code == 200


def test_a_batch_that_is_worth_more_than_a_minute_takes_all_of_it_and_is_let_in_again_when_it_was_told(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, clock = api(Scope.LOOKUP, per_minute=3), [1_800_000_015.0]
    for module in ("services.limit_storage", "api.rate_limits"):
        monkeypatch.setattr(f"api_service.{module}.time", lambda: clock[-1])

    def ask() -> Any:
        four_hundred = {"rucs": [f"none {number}" for number in range(400)]}
        return client.post("/api/v1/rucs/batch", four_hundred, content_type="application/json")

    first = ask()
    while (again := ask()).status_code == 429 and len(clock) < 4:
        clock.append(clock[-1] + int(again.headers["Retry-After"]))
    assert (first.status_code, first.headers["RateLimit"].split(";")[1]) == (200, "r=0")
    # It is let in as one request first, then for the rest
    assert (again.status_code, len(clock)) == (200, 3)


@pytest.mark.usefixtures("amid_a_minute")
def test_what_is_refused_is_not_counted() -> None:
    grant = Grant("tests-refused", "tests", frozenset(), per_minute=2)
    standings = [rate_limits.charge(grant) for _ in range(20)]
    waits = [standing.wait > 0 for standing in standings if standing]
    assert waits == [False, False] + [True] * 18


@pytest.mark.usefixtures("amid_a_minute")
def test_a_large_minute_is_given_out_to_the_last_request_and_not_beyond(memcached: Memcached) -> None:
    grant = Grant("tests-large", "tests", frozenset(), per_minute=250)
    other_process = rate_limits._Prepaid()
    standings = [
        standing
        for _ in range(130)
        for standing in (rate_limits.charge(grant), other_process.spend(grant, 2))
        if standing is not None
    ]
    assert [standing.wait > 0 for standing in standings].count(False) == 250
    assert all(standing.wait for standing in standings[-8:])
    assert standings[0].remaining == 249


@pytest.mark.usefixtures("amid_a_minute")
def test_while_the_cache_is_down_each_process_counts_by_itself(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    grant = Grant("tests-dead-cache", "tests", frozenset(), per_minute=2)
    standings = [rate_limits.charge(grant) for _ in range(4)]
    assert [standing.wait > 0 for standing in standings if standing] == [False, False, True, True]


@pytest.mark.usefixtures("amid_a_minute")
@pytest.mark.parametrize("backend", ["memcached", "redis", "local"])
def test_every_backend_counts_alike(
    backend: str, memcached: Memcached, redis_server: Redis, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url({"memcached": memcached.url, "redis": redis_server.url, "local": "locmem://"}[backend])
    grant = Grant(f"tests-{backend}", "tests", frozenset(), per_minute=100)
    remaining = [standing.remaining for standing in map(rate_limits.charge, [grant] * 3, [1, 40, 9]) if standing]
    assert remaining == [99, 59, 50]


def test_limits_are_not_in_the_way_of_clearing_and_inventory(memcached: Memcached) -> None:
    rate_limits.charge(Grant("tests-inventory", "tests", frozenset(), per_minute=2))
    assert APICacheService().get_cache_stats()["services"].keys() == {"migo"}
