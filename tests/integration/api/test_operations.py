"""The cache, clearings and warming over the API: what was stored, page by page; what is started, once it is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service.api import replays
from api_service.models import (
    ClearRun,
    LookupHour,
    ServiceSnapshot,
    SpendHour,
    TrackedKey,
    TrackRun,
    WarmRun,
)
from api_service.services import clearing, monitoring, schedule_runs, warming
from api_service.services.cache_service import APICacheService
from api_service.services.token_rules import Scope
from myproject import uploads
from tests.conftest import UseCacheUrl
from tests.integration.api.conftest import ApiClient, Sent, problem_of
from tests.migo_fixtures import IMPOSSIBLE, RUC
from tests.servers import Memcached
from workers import tasks

pytestmark = pytest.mark.django_db
NODE = "10.0.4.11:11211"


def key(name: str, node: str = NODE, **more: Any) -> TrackedKey:
    service, _colon, rest = name.partition(":")
    kind, _underscore, identifier = rest.rpartition("_")
    now = timezone.now()
    fields = {"service": service, "kind": kind, "identifier": identifier, "state": "active", "size": 700, **more}
    return TrackedKey.objects.create(key=name, node=node, created_at=now, seen_at=now, **fields)


def pages(client: Client, url: str, **query: Any) -> list[list[Any]]:
    """The items of each page, to the last."""
    found, cursor = [], None
    while True:
        body = client.get(url, {**query, **({"cursor": cursor} if cursor else {})}).json()
        found.append(body["items"])
        if (cursor := body["next"]) is None:
            return found


# -- the cache


def test_health_is_the_stored_result_with_its_age(
    api: ApiClient, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    client = api(Scope.OPERATIONS_READ)
    problem_of(client.get("/api/v1/cache/health"), 404, "never_checked")
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    sample = monitoring.run_health_check()
    body = client.get("/api/v1/cache/health").json()
    # Whether one bad run counts yet is the monitor's to say
    assert (body["status"], body["stale"]) == (sample.status, False)
    assert [node["reachable"] for node in body["nodes"]] == [False]
    assert {"code": "memory_high", "node": own_memcached.address} in body["unknown"]
    sample.taken_at = timezone.now() - timedelta(minutes=16)
    sample.save()
    answer = client.get("/api/v1/cache/health")
    assert (answer.status_code, answer.json()["stale"]) == (200, True)


def test_stats_come_from_what_was_recorded(api: ApiClient) -> None:
    client = api(Scope.OPERATIONS_READ)
    empty = client.get("/api/v1/cache/stats").json()
    assert (empty["taken_at"], empty["services"], empty["hit_ratio"]) == (None, [], None)
    now = timezone.now()
    run = TrackRun.objects.create(started_at=now, state="done")
    ServiceSnapshot.objects.create(run=run, service="migo", keys=12, bytes=8400, lives={"1h": 12})
    TrackRun.objects.create(started_at=now, state="running")
    for outcome, count in (("hit", 70), ("negative", 5), ("miss", 25)):
        LookupHour.objects.create(hour=now, service="migo", kind="ruc", outcome=outcome, count=count)
    SpendHour.objects.create(hour=now, service="migo", purpose="user", queries=25)
    body = client.get("/api/v1/cache/stats").json()
    assert [(row["service"], row["keys"], row["lives"]) for row in body["services"]] == [("migo", 12, {"1h": 12})]
    assert (body["hit_ratio"], body["paid"]) == (0.75, {"user": 25})


def test_keys_of_a_service_come_page_by_page_and_each_once(api: ApiClient) -> None:
    client = api(Scope.OPERATIONS_READ)
    names = [f"migo:ruc_2010003814{digit}" for digit in range(7)]
    for name in names:
        key(name)
    key(names[3], "10.0.4.12:11211")
    key("migo:dni_12345678")
    key("migo:ruc_20100038199", state="expired")
    key("nubefact:doc_1")
    found = pages(client, "/api/v1/cache/keys", service="migo", kind="ruc", limit=3)
    assert [len(page) for page in found] == [3, 3, 2]
    listed = [(item["key"], item["node"]) for page in found for item in page]
    assert listed == sorted([*((name, NODE) for name in names), (names[3], "10.0.4.12:11211")])
    assert [len(page) for page in pages(client, "/api/v1/cache/keys", service="migo")] == [9]
    assert pages(client, "/api/v1/cache/keys", service="migo", state="expired")[0][0]["last_seen_at"]
    assert pages(client, "/api/v1/cache/keys", service="migo", node="10.0.4.12:11211")[0][0]["last_seen_at"] is None


def test_a_page_of_keys_is_one_query_however_many_there_are(api: ApiClient) -> None:
    client = api(Scope.OPERATIONS_READ)
    key("migo:ruc_20100038146")
    client.get("/api/v1/cache/keys", {"service": "migo"})
    with CaptureQueriesContext(connection) as queries:
        client.get("/api/v1/cache/keys", {"service": "migo"})
    assert ["COUNT" in query["sql"].upper() for query in queries] == [False]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"service": "MIGO"},
        {"service": "migo", "state": "gone"},
        {"service": "migo", "limit": "0"},
        {"service": "migo", "limit": "1001"},
        {"service": "migo", "cursor": "?"},
        {"service": "migo", "cursor": "WzFd"},
        {"service": "migo", "cursor": "WyJhXHUwMDAwIiwgImIiXQ=="},
    ],
)
def test_a_query_of_keys_that_is_not_understood_is_refused(api: ApiClient, query: dict[str, str]) -> None:
    problem_of(api().get("/api/v1/cache/keys", query), 422, "invalid_request")


def test_history_comes_newest_first(api: ApiClient) -> None:
    now = timezone.now()
    for number in range(3):
        run = TrackRun.objects.create(started_at=now + timedelta(minutes=number), state="done")
        for service in ("migo", "nubefact"):
            ServiceSnapshot.objects.create(run=run, service=service, keys=number, bytes=0)
    found = pages(api(Scope.OPERATIONS_READ), "/api/v1/cache/history", service="migo", limit=2)
    assert [[row["keys"] for row in page] for page in found] == [[2, 1], [0]]


# -- clearing


def test_a_clearing_is_counted_first_then_carried_out_and_stays_on_record(
    api: ApiClient, sent: Sent, memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(memcached.url)
    cache, client = APICacheService(), api(Scope.CACHE_CLEAR)
    cache.set_many({f"migo:ruc_{number}": number for number in range(5)})
    for dry_run in (True, False):
        said = {"service": "migo", "kind": "ruc", **({} if dry_run else {"dry_run": False})}
        answer = client.post("/api/v1/cache/clearings", said, content_type="application/json")
        assert (answer.status_code, answer.json()["dry_run"]) == (202, dry_run)
        assert answer.headers["Location"] == answer.json()["url"]
        _name, kwargs = sent("tracking") or ("", {})
        tasks.clear_service_cache(**kwargs)
        body = client.get(answer.json()["url"]).json()
        assert (body["state"], body["found"], body["removed"]) == ("done", 5, 0 if dry_run else 5)
    assert cache.get("migo:ruc_1") is None
    on_record = pages(client, "/api/v1/cache/clearings")[0]
    assert [(run["dry_run"], run["requested_by"]) for run in on_record] == [(False, "tests"), (True, "tests")]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"service": "migo", "patern": "2*"},
        {"service": "migo", "dry_run": "false"},
        {"service": "migo", "kind": "r*"},
    ],
)
def test_a_clearing_that_is_not_understood_is_none(api: ApiClient, sent: Sent, said: dict[str, Any]) -> None:
    answer = api().post("/api/v1/cache/clearings", said, content_type="application/json")
    problem_of(answer, 422, "invalid_request")
    assert (ClearRun.objects.count(), sent("tracking")) == (0, None)


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("es", "No se entiende la solicitud: tipo 'r*': use su nombre"),
        ("en", "not understood: kind 'r*': use its name"),
    ],
)
def test_what_a_service_refuses_is_told_in_one_language(api: ApiClient, language: str, told: str) -> None:
    said, headers = {"service": "migo", "kind": "r*"}, {"Accept-Language": language}
    answer = api().post("/api/v1/cache/clearings", said, content_type="application/json", headers=headers)
    assert told in problem_of(answer, 422, "invalid_request")["detail"]


@pytest.mark.parametrize("twice", ['"pattern": "2010*", "pattern": ""', '"dry_run": true, "dry_run": false'])
def test_a_clearing_that_says_a_thing_twice_is_none(api: ApiClient, twice: str) -> None:
    said = f'{{"service": "migo", {twice}}}'
    problem_of(api().post("/api/v1/cache/clearings", said, content_type="application/json"), 400, "malformed_body")
    assert ClearRun.objects.count() == 0


def test_who_may_look_up_or_look_on_clears_nothing(api: ApiClient, sent: Sent) -> None:
    for scope in (Scope.LOOKUP, Scope.OPERATIONS_READ):
        answer = api(scope).post("/api/v1/cache/clearings", {"service": "migo"}, content_type="application/json")
        problem_of(answer, 403, "scope_missing")
    assert ClearRun.objects.count() == 0


def test_only_what_failed_is_gone_on_with(
    api: ApiClient, sent: Sent, own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(own_memcached.url)
    own_memcached.kill()
    number = clearing.clear(clearing.request("migo", via="http"))["run"]
    client, url = api(Scope.CACHE_CLEAR), f"/api/v1/cache/clearings/{number}"
    assert client.post(f"{url}/resume").status_code == 202
    assert client.get(url).json()["state"] == "waiting"
    problem_of(client.post(f"{url}/resume"), 409, "not_failed")
    problem_of(client.get("/api/v1/cache/clearings/99999"), 404, "not_found")
    problem_of(client.get(f"/api/v1/cache/clearings/{'9' * 30}"), 422, "invalid_request")


def test_a_broker_that_is_down_is_said_and_nothing_waits(
    api: ApiClient, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    answer = api().post("/api/v1/cache/clearings", {"service": "migo"}, content_type="application/json")
    problem_of(answer, 503, "broker_unavailable")
    assert ClearRun.objects.count() == 0


# -- warming


def test_a_warm_run_is_sent_as_it_was_asked_for(api: ApiClient, sent: Sent) -> None:
    said = {"rucs": [RUC], "budget": 5, "dry_run": True}
    answer = api(Scope.WARMING_RUN).post("/api/v1/warming/runs", said, content_type="application/json")
    assert answer.status_code == 202
    assert sent("warming") == ("workers.tasks.warm_frequent_rucs", {**said, "requested_by": "tests"})


@pytest.mark.parametrize("said", [{"rucs": [IMPOSSIBLE]}, {"rucs": []}, {"budget": -1}, {"limits": 5}, {"limit": "5"}])
def test_a_warm_run_that_is_not_understood_is_none(api: ApiClient, sent: Sent, said: dict[str, Any]) -> None:
    answer = api().post("/api/v1/warming/runs", said, content_type="application/json")
    problem_of(answer, 422, "invalid_request")
    assert sent("warming") is None


def test_warm_runs_are_listed_and_looked_at(api: ApiClient) -> None:
    runs = [WarmRun.objects.create(started_at=timezone.now(), limit=5, budget=2, paid=paid) for paid in range(3)]
    client = api(Scope.OPERATIONS_READ)
    found = pages(client, "/api/v1/warming/runs", limit=2)
    assert [[run["paid"] for run in page] for page in found] == [[2, 1], [0]]
    assert client.get(f"/api/v1/warming/runs/{runs[0].pk}").json()["budget"] == 2
    problem_of(client.get("/api/v1/warming/runs/99999"), 404, "not_found")


@pytest.mark.parametrize("url", ["/api/v1/warming/runs", "/api/v1/warming/runs/{}"], ids=["list", "one"])
def test_a_warm_run_whose_process_was_killed_has_failed_for_who_asks(api: ApiClient, url: str) -> None:
    run = WarmRun.objects.create(started_at=timezone.now(), limit=5, budget=2)
    answer = api(Scope.OPERATIONS_READ).get(url.format(run.pk)).json()
    said = answer["items"][0] if "items" in answer else answer
    assert (said["run"], said["state"], said["error"]) == (run.pk, "failed", warming.INTERRUPTED)


def test_warm_runs_are_told_while_the_database_takes_no_writes(api: ApiClient) -> None:
    WarmRun.objects.create(started_at=timezone.now(), limit=5, budget=2)
    client = api(Scope.OPERATIONS_READ)

    def refuse(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "api_service_warmrun" in sql and sql.startswith("UPDATE"):
            raise OperationalError("attempt to write a readonly database")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse):
        assert client.get("/api/v1/warming/runs").json()["items"][0]["state"] == "running"


def replay(client: Client, log: bytes, **options: Any) -> Any:
    return client.post("/api/v1/warming/replays", {"log": SimpleUploadedFile("log.csv", log), **options})


def test_an_uploaded_log_is_replayed(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a process that is nice to all others of this machine, which is busy
    monkeypatch.setattr(replays, "SECONDS", 100.0)
    lines = "".join(f"{1_700_000_000 + 600 * number},{number % 3}\n" for number in range(300))
    answer = replay(api(Scope.WARMING_RUN), lines.encode(), budgets="1,2", ttl=1800)
    assert answer.status_code == 200, answer.content
    assert [row["budget"] for row in answer.json()["budgets"]] == [1, 2]
    assert answer.json()["budgets"][0]["misses_none"] > 0


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (b"", "log"),
        (b"yesterday,1\n", "line 1"),
        (b"\x1f\x8b", "comprimir"),
        (b"\xff\xfe", "log"),
        (b"200,1\n100,1\n", "line 2"),
    ],
)
def test_what_is_no_log_is_refused_with_its_line(api: ApiClient, log: bytes, said: str) -> None:
    body = problem_of(replay(api(), log), 422, "invalid_request")
    assert said in body["detail"]
    assert "/tmp" not in body["detail"]


def test_a_replay_has_limits_of_size_time_and_number(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client, log = api(), b"100,1\n200,1\n"
    monkeypatch.setattr(replays, "MOST_BYTES", 5)
    problem_of(replay(client, log), 413, "too_large")
    monkeypatch.setattr(replays, "MOST_BYTES", 5_000)
    monkeypatch.setattr(replays, "SECONDS", 0.01)
    problem_of(replay(client, log), 422, "too_long")
    assert replays._one_at_a_time.acquire(blocking=False)
    try:
        problem_of(replay(client, log), 503, "busy")
    finally:
        replays._one_at_a_time.release()


def test_an_upload_that_nothing_takes_is_a_problem_too(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    problem_of(replay(api(), b"100,1\n200,1\n"), 413, "too_large")


# -- schedules


def test_schedules_tell_when_they_were_last_sent(api: ApiClient) -> None:
    PeriodicTask.objects.all().delete()
    every_five = CrontabSchedule.objects.create(minute="*/5")
    for name, sent_at in (("never", None), ("once", timezone.now() - timedelta(minutes=7))):
        PeriodicTask.objects.create(name=name, task=f"tests.{name}", crontab=every_five, last_run_at=sent_at)
    never, once = api(Scope.OPERATIONS_READ).get("/api/v1/schedules").json()["schedules"]
    assert (never["name"], never["age"], never["last_sent_at"]) == ("never", None, None)
    assert 420 <= once["age"] < 480
    assert once["rhythm"].startswith("*/5")
    # Switched on just now
    assert (never["state"], never["late_by"], never["succeeded_at"]) == ("on_time", 0, None)


def test_schedules_tell_which_are_late_and_whose_trouble_that_is(api: ApiClient) -> None:
    PeriodicTask.objects.all().delete()
    now, every_five = timezone.now(), CrontabSchedule.objects.create(minute="*/5")
    common = {"task": "tests.one", "crontab": every_five}
    PeriodicTask.objects.create(name="a-off", enabled=False, **common)
    PeriodicTask.objects.create(name="b-not-sent", last_run_at=now - timedelta(hours=1), **common)
    PeriodicTask.objects.create(name="c-not-run", last_run_at=now, **common)
    schedule_runs.sent("c-not-run", "tests.one", now - timedelta(minutes=30))
    client = api(Scope.OPERATIONS_READ)
    off, not_sent, not_run = client.get("/api/v1/schedules").json()["schedules"]
    assert (off["state"], off["next_due"], off["late_by"]) == (None, None, 0)
    assert (not_sent["state"], not_run["state"]) == ("not_sent", "not_run")
    assert not_sent["late_by"] > 55 * 60 - 300
    assert 1800 <= not_run["late_by"] < 1860


def test_schedules_are_for_those_who_may_read_operations(api: ApiClient) -> None:
    problem_of(api(Scope.LOOKUP).get("/api/v1/schedules"), 403, "scope_missing")
