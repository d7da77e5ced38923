from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis as RedisClient

from api_service.caches.serializer import JSON_FLAG
from api_service.models import (
    CopyRun,
    DailyReads,
    LookupHour,
    LookupTime,
    OperationReads,
    RefillRun,
    ServiceSnapshot,
    SpendHour,
    TrackedKey,
    TrackRun,
    WarmRun,
)
from api_service.services import invalid_reasons, key_table, retention, retired_nodes, track_runs, tracking
from api_service.services.cache_service import APICacheService
from api_service.services.key_tracking import track_keys
from api_service.services.outcomes import Outcome
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import url_of
from tests.rucs import REAL, record, valid_rucs
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def states() -> dict[str, str]:
    return dict(TrackedKey.objects.values_list("key", "state"))


@contextmanager
def key_prefix(settings: Settings, prefix: str) -> Iterator[None]:
    before = settings.CACHES
    settings.CACHES = {**before, "default": {**before["default"], "KEY_PREFIX": prefix}}
    yield
    settings.CACHES = before


def test_every_key_of_ours_gets_a_row_with_what_is_known_of_it(cluster_cache: APICacheService) -> None:
    rucs = valid_rucs(200)
    cluster_cache.set_many({f"migo:ruc_{ruc}": record(ruc) for ruc in rucs}, 600)
    cluster_cache.add_invalid_ruc("20999999999")
    summary = track_keys()

    assert summary["keys"] == TrackedKey.objects.count() == 201
    assert set(TrackedKey.objects.values_list("node", flat=True)) == set(cluster_cache.adapter.nodes())
    row = TrackedKey.objects.get(key=f"migo:ruc_{rucs[0]}")
    assert (row.service, row.kind, row.identifier, row.state) == ("migo", "ruc", rucs[0], "active")
    assert row.expires_at is not None
    assert abs(row.expires_at - timezone.now() - timedelta(seconds=600)) < timedelta(minutes=1)
    assert row.size > 700
    assert TrackedKey.objects.get(kind="invalid").identifier == "20999999999"


def test_the_run_and_each_service_are_recorded(cache: APICacheService) -> None:
    cache.set_many({"migo:ruc_1": 1, "migo:ruc_2": 1, "nubefact:x_1": 1})
    summary = track_keys()

    run = TrackRun.objects.get()
    assert (run.pk, run.state, run.keys_seen, run.error) == (summary["run"], "done", 3, "")
    assert run.finished_at is not None
    assert {row.service: row.keys for row in ServiceSnapshot.objects.filter(run=run)} == {"migo": 2, "nubefact": 1}
    assert all(row.bytes > 0 for row in ServiceSnapshot.objects.all())
    assert run.nodes == {cache.adapter.nodes()[0]: {"ok": True, "keys": 3, "error": ""}}


def test_a_second_run_changes_nothing_but_the_flows(cache: APICacheService) -> None:
    cache.set_many({f"migo:ruc_{number}": 1 for number in range(50)})
    kept = ("key", "service", "kind", "identifier", "node", "size", "state", "created_at", "reads")
    first = track_keys()
    before = set(TrackedKey.objects.values_list(*kept))
    second = track_keys()

    assert set(TrackedKey.objects.values_list(*kept)) == before
    assert (first["services"]["migo"]["created"], second["services"]["migo"]["created"]) == (50, 0)
    second["services"]["migo"]["created"] = 50
    assert {**second, "run": 0} == {**first, "run": 0}


def test_a_new_key_is_active_an_ended_one_expired_and_a_deleted_one_removed(cache: APICacheService) -> None:
    # Of the server's own seconds; the first inventory has to see it
    cache.set("migo:ruc_ends", 1, ttl=4)
    cache.set("migo:ruc_goes", 1, ttl=600)
    cache.set("migo:ruc_stays", 1, ttl=600)
    track_keys()
    assert set(states().values()) == {"active"}
    cache.delete("migo:ruc_goes")
    cache.set("migo:ruc_comes", 1, ttl=600)
    wait_until(lambda: cache.get("migo:ruc_ends") is None)
    track_keys()

    assert states() == {
        "migo:ruc_ends": "expired",
        "migo:ruc_goes": "removed",
        "migo:ruc_stays": "active",
        "migo:ruc_comes": "active",
    }


def test_a_key_that_comes_back_is_active_again_with_its_history(cache: APICacheService) -> None:
    cache.set("migo:ruc_1", 1)
    track_keys()
    TrackedKey.objects.update(reads=7)
    first_seen = TrackedKey.objects.get().created_at
    cache.delete("migo:ruc_1")
    track_keys()
    cache.set("migo:ruc_1", 2)
    track_keys()

    row = TrackedKey.objects.get()
    assert (row.state, row.reads, row.created_at) == ("active", 7, first_seen)


def test_the_keys_of_a_dead_node_become_unknown_and_none_is_deleted(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(60)})
    track_keys()
    own_cluster[0].kill()
    summary = track_keys()
    dead = own_cluster[0].address

    assert TrackedKey.objects.count() == 60
    assert set(TrackedKey.objects.filter(node=dead).values_list("state", flat=True)) == {"unknown"}
    assert set(TrackedKey.objects.exclude(node=dead).values_list("state", flat=True)) == {"active"}
    assert not summary["nodes"][dead]["ok"]
    run = TrackRun.objects.get(pk=summary["run"])
    assert run.state == "failed"
    assert dead in run.error

    own_cluster[0].restart()
    track_keys()
    assert set(TrackedKey.objects.filter(node=dead).values_list("state", flat=True)) == {"removed"}


@pytest.mark.parametrize("dead_before", [False, True])
def test_a_node_that_left_the_settings_took_its_keys_along(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached], use_cache_url: UseCacheUrl, dead_before: bool
) -> None:
    own_cluster_cache.set_many({f"migo:ruc_{number}": 1 for number in range(60)})
    track_keys()
    if dead_before:
        own_cluster[2].kill()
        track_keys()
    use_cache_url(url_of(*own_cluster[:2]))
    track_keys()

    left = TrackedKey.objects.filter(node=own_cluster[2].address)
    assert set(left.values_list("state", flat=True)) == {"removed"}
    assert TrackedKey.objects.filter(state="active").count() + left.count() == 60


@pytest.mark.parametrize("prefix", ["", "shop"])
def test_foreign_keys_are_counted_by_their_first_part_and_never_touched(
    cache: APICacheService, memcached: Memcached, settings: Settings, prefix: str
) -> None:
    foreign = ["a", "session.abc", "session.def", "9mrz3k0c2v8xq1w7t5y4u6i0o9p8a7s6"]
    assert memcached.ask("set other:1:x_1 0 600 1\r\n1").startswith("STORED")
    with key_prefix(settings, prefix):
        service = APICacheService()
        service.set("migo:ruc_1", 1)
        for name in foreign:
            caches["default"].set(name, "theirs", 600)
        summary = track_keys()
        kept = [caches["default"].get(name) for name in foreign]

    assert summary["foreign"] == {"a": 1, "session": 2, "other": 1, "(no prefix)": 1}
    assert TrackRun.objects.get().foreign == summary["foreign"]
    assert list(states()) == ["migo:ruc_1"]
    assert kept == ["theirs"] * len(foreign)
    assert memcached.ask("get other:1:x_1").startswith("VALUE")


def test_ours_under_another_applications_prefix_are_foreign(
    cache: APICacheService, memcached: Memcached, settings: Settings
) -> None:
    cache.set("migo:ruc_1", 1)
    with key_prefix(settings, "shop"):
        summary = track_keys()

    assert summary["keys"] == 0
    assert summary["foreign"] == {"migo": 1}


def test_foreign_keys_of_countless_prefixes_stay_a_small_record(cache: APICacheService) -> None:
    cache.set_many({f"x{number}.y": 1 for number in range(500)})
    foreign = track_keys()["foreign"]

    assert len(foreign) <= track_runs.FOREIGN_PREFIXES + 1
    assert sum(foreign.values()) == 500


def test_keys_that_no_table_takes_do_not_stop_the_inventory(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    client = RedisClient(port=redis_server.port)
    for key in (":1:migo:" + "x" * 300, b":1:migo:\x00\xff", b"a\x00b:c", b"\xff", ":1:migo:ruc_ñ"):
        client.set(key, 1)
    APICacheService().set("migo:ruc_1", 1)
    summary = track_keys()

    assert states() == {"migo:ruc_1": "active"}
    assert sum(summary["foreign"].values()) == 5
    assert TrackRun.objects.get().state == "done"


def test_a_key_listed_just_before_its_end_and_gone_just_after_has_expired(cache: APICacheService) -> None:
    now = timezone.now()
    soon = now + timedelta(seconds=1)
    common = {"node": cache.adapter.nodes()[0], "state": "active", "created_at": now, "seen_at": now}
    TrackedKey.objects.create(key="migo:ruc_1", expires_at=soon, **common)
    TrackedKey.objects.create(key="migo:ruc_2", expires_at=now + timedelta(seconds=60), **common)
    TrackedKey.objects.create(key="migo:ruc_3", expires_at=None, **common)
    track_keys()

    assert states() == {"migo:ruc_1": "expired", "migo:ruc_2": "removed", "migo:ruc_3": "removed"}


def test_a_key_that_two_nodes_hold_has_a_row_on_each(
    own_cluster_cache: APICacheService, own_cluster: list[Memcached]
) -> None:
    for node in own_cluster[:2]:
        assert node.ask("set :1:migo:ruc_1 0 600 1\r\n1").startswith("STORED")
    first = track_keys()
    own_cluster[0].ask("delete :1:migo:ruc_1")
    second = track_keys()

    assert (first["keys"], second["keys"]) == (2, 1)
    assert dict(TrackedKey.objects.values_list("node", "state")) == {
        own_cluster[0].address: "removed",
        own_cluster[1].address: "active",
    }


def test_read_counts_of_this_process_are_written_first(cache: APICacheService) -> None:
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
    track_keys()

    assert DailyReads.objects.get().identifier == REAL[0]


def test_a_run_that_was_interrupted_is_closed_by_the_next(cache: APICacheService) -> None:
    left = TrackRun.objects.create(started_at=timezone.now() - timedelta(hours=1))
    track_keys()
    left.refresh_from_db()

    assert (left.state, "interrupted" in left.error) == ("failed", True)
    assert left.finished_at is not None
    assert TrackRun.objects.filter(state="running").count() == 0


def test_what_is_beyond_its_retention_is_pruned_and_active_keys_never() -> None:
    now = timezone.now()
    old = now - timedelta(days=1000)
    for state in ("active", "unknown", "expired", "removed"):
        TrackedKey.objects.create(key=state, state=state, created_at=old, seen_at=old)
        TrackedKey.objects.create(key=f"{state}-new", state=state, created_at=now, seen_at=now)
    for at in (old, now):
        TrackRun.objects.create(started_at=at)
        WarmRun.objects.create(started_at=at, limit=1, budget=1)
        RefillRun.objects.create(started_at=at, node="n", booted_at=at)
        CopyRun.objects.create(started_at=at, purpose="copy")
        SpendHour.objects.create(hour=at, service="migo", purpose="user", queries=1)
        LookupHour.objects.create(hour=at, service="migo", kind="ruc", outcome="hit", count=1)
        LookupTime.objects.create(hour=at, service="migo", way="cache", bound=250, count=1)
        row = {"service": "migo", "kind": "ruc", "identifier": "1", "reads": 1, "last_read_at": at}
        DailyReads.objects.create(day=at.date(), **row)

    dropped = {name: number for name, number in retention.prune(now).items() if number}
    assert dropped == {"keys": 2, "runs": 4, "counts": 4}
    assert set(states()) == {"active", "unknown", *(f"{s}-new" for s in ("active", "unknown", "expired", "removed"))}
    tables = (TrackRun, WarmRun, RefillRun, CopyRun, LookupHour, LookupTime, SpendHour, DailyReads)
    assert [model.objects.count() for model in tables] == [1] * len(tables)


def test_nodes_that_left_are_found_and_closed_along_an_index() -> None:
    now = timezone.now()
    rows = ({"key": f"migo:ruc_{n}", "node": f"n{n % 2}", "state": "active"} for n in range(2000))
    TrackedKey.objects.bulk_create(TrackedKey(**row, created_at=now, seen_at=now) for row in rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE api_service_trackedkey")
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    queries = (retired_nodes.nodes_after("n0")[:1], retired_nodes.open_rows("n0", "active", "migo:ruc_1")[:10])
    plans = [query.explain() for query in queries]

    # Which one is PostgreSQL's choice; without one in this order it would have to sort the table
    assert all("Index" in plan or "INDEX" in plan for plan in plans), plans
    assert not [plan for plan in plans if "Sort" in plan or "TEMP B-TREE" in plan]
    assert retired_nodes.close_rows("n0", now) == {"": 1000}
    assert TrackedKey.objects.filter(state="active").count() == 1000


# -- why RUCs are listed as invalid


def reasons_of_last_run() -> dict[str, Any]:
    found: dict[str, Any] = TrackRun.objects.order_by("-pk").values_list("invalid_reasons", flat=True)[0]
    return found


def test_an_inventory_counts_why_rucs_are_listed_as_invalid(cluster_cache: APICacheService) -> None:
    for number, reason in enumerate(["NO_EXISTE_SUNAT"] * 3 + ["FORMATO_INVALIDO"] + ["x" * 500]):
        cluster_cache.add_invalid_ruc(f"2099999999{number}", reason)
    track_keys()
    reasons = {"NO_EXISTE_SUNAT": 3, "FORMATO_INVALIDO": 1, "x" * 60: 1}
    assert reasons_of_last_run() == {"complete": True, "reasons": reasons}
    cluster_cache.clear_invalid_rucs()
    track_keys()
    assert reasons_of_last_run() == {"complete": True, "reasons": {}}


def test_of_very_many_invalid_rucs_only_the_first_are_read_and_that_is_said(
    cluster_cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invalid_reasons, "MOST_READ", 3)
    monkeypatch.setattr(invalid_reasons, "AT_ONCE", 2)
    for number in range(5):
        cluster_cache.add_invalid_ruc(f"2099999999{number}")
    track_keys()
    assert reasons_of_last_run() == {"complete": False, "reasons": {"NO_EXISTE_SUNAT": 3}}


def test_to_count_the_reasons_is_no_use_of_the_keys_to_their_node(cache: APICacheService, memcached: Memcached) -> None:
    """Else none of them would ever count as ended unread, and each inventory would move them ahead of read answers."""
    cache.add_invalid_ruc("20999999999")
    wire_key = f"{cache.wire_prefix}migo:invalid_20999999999"
    track_keys()
    assert reasons_of_last_run()["reasons"] == {"NO_EXISTE_SUNAT": 1}
    assert " fetch=no " in memcached.ask(f"me {wire_key}")
    cache.get_invalid_ruc_info("20999999999")
    assert " fetch=yes " in memcached.ask(f"me {wire_key}")


def test_what_another_client_left_under_the_name_of_an_invalid_ruc_has_no_reason(
    cache: APICacheService, memcached: Memcached
) -> None:
    cache.add_invalid_ruc("20999999999")
    memcached.ask(f"set {cache.wire_prefix}migo:invalid_20999999998 0 0 1\r\nx")
    memcached.ask(f"set {cache.wire_prefix}migo:invalid_20999999997 {JSON_FLAG} 0 1\r\n{{")
    track_keys()
    assert reasons_of_last_run() == {"complete": True, "reasons": {"NO_EXISTE_SUNAT": 1}}


def test_reasons_that_are_not_read_in_time_are_not_kept_as_if_they_were_all(
    cache: APICacheService, memcached: Memcached, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.add_invalid_ruc("20999999999")
    monkeypatch.setattr(invalid_reasons, "READ_SECONDS", 0.0)
    assert track_keys()["state"] == "done"
    assert reasons_of_last_run() == {}
    assert not OperationReads.objects.exists()
    assert "took longer than allowed" in caplog.text


def test_reasons_that_the_database_does_not_take_fail_no_inventory_and_hide_no_error_of_one(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: object) -> None:
        raise DatabaseError("the database is read-only")

    def stumble(*_args: object) -> None:
        raise RuntimeError("the listing stumbled")

    cache.set("migo:ruc_1", 1)
    monkeypatch.setattr(invalid_reasons, "count", refuse)
    assert track_keys()["state"] == "done"
    assert "the database is read-only" in caplog.text
    monkeypatch.setattr(key_table, "record", stumble)
    with pytest.raises(RuntimeError, match="the listing stumbled"):
        track_keys()


def test_a_thousand_different_reasons_are_kept_as_the_most_frequent_and_the_rest() -> None:
    counted = Counter({f"reason {number}": number for number in range(1, 31)})
    kept = invalid_reasons.shortened(counted)
    assert len(kept) == 21
    assert kept["reason 30"] == 30
    assert kept["(others)"] == sum(range(1, 11))
