import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import DailyReads, RefillRun, RunLock, StoredAnswer, TrackedKey
from api_service.services import clearing, refill, refill_order
from api_service.services.backends import Deadline, Item, Written
from api_service.services.backends.memcached import MemcachedAdapter
from api_service.services.cache_service import APICacheService
from api_service.services.leases import LeaseLost
from api_service.services.locks import run_lock
from api_service.services.migo_service import MigoAPIService
from api_service.services.outcomes import Outcome
from api_service.services.subjects import Subject
from tests.conftest import UseCacheUrl
from tests.integration.services.conftest import RunPython, url_of
from tests.rucs import record, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.servers import Memcached, Redis
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

MINUTE, HOUR = 60.0, 3600.0


def keep(
    identifiers: Iterable[str], *, age: float = MINUTE, service: str = "migo", kind: str = "ruc", text: str = ""
) -> None:
    """Answers of that age in the store."""
    born = timezone.now() - timedelta(seconds=age)
    StoredAnswer.objects.bulk_create(
        StoredAnswer(
            service=service,
            kind=kind,
            identifier=name,
            data=text or orjson.dumps(record(name)).decode(),
            born_at=born,
        )
        for name in identifiers
    )


def asked(identifier: str, reads: int, days_ago: int = 0) -> None:
    DailyReads.objects.create(
        service="migo",
        kind="ruc",
        identifier=identifier,
        day=timezone.localdate() - timedelta(days=days_ago),
        reads=reads,
        last_read_at=timezone.now(),
    )


def node_of(cache: APICacheService) -> str:
    (node,) = cache.adapter.nodes()
    return node


def filled(cache: APICacheService) -> refill.RefillSummary:
    return refill.refill(node_of(cache))


def hits(cache: APICacheService, keys: Iterable[str]) -> set[str]:
    return {key for key, read in cache.read_many(keys).items() if read.outcome is Outcome.HIT}


def in_order(belongs: refill_order.Belongs | None = None) -> list[str]:
    found = refill_order.candidates(timezone.now(), timezone.localdate() - timedelta(days=6), belongs)
    identifiers = dict(StoredAnswer.objects.values_list("pk", "identifier"))
    return [identifiers[number] for number in found.others]


def test_stored_answers_are_cache_hits_again_and_nothing_is_paid(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    rucs = valid_rucs(50)
    keep(rucs)
    summary = filled(cache)

    assert (summary["state"], summary["candidates"], summary["written"], summary["error"]) == ("done", 50, 50, "")
    answer = MigoAPIService().consultar_ruc(rucs[7])
    assert (answer["success"], answer["cache"]["outcome"], answer["cache"]["source"]) == (True, "hit", "cache")
    assert cache.get_ruc(rucs[7]) == record(rucs[7])
    assert vendor.log == []


def test_the_life_that_is_left_is_kept_and_the_birth_is_the_true_one(cache: APICacheService) -> None:
    rucs = valid_rucs(40)
    keep(rucs, age=40 * MINUTE)
    filled(cache)
    now = time.time()
    reads = [cache.read_ruc(ruc) for ruc in rucs]

    left = [(read.expires_at or 0.0) - now for read in reads]
    assert all(0.9 * 20 * MINUTE - MINUTE < seconds <= 20 * MINUTE for seconds in left)
    assert len({round(seconds) for seconds in left}) > 5, "they would all end together"
    assert all(read.born_at == pytest.approx(now - 40 * MINUTE, abs=MINUTE) for read in reads)


def test_what_is_stale_or_nearly_so_stays_out(cache: APICacheService, settings: Settings) -> None:
    fresh, ended, ending = valid_rucs(3)
    keep([fresh], age=settings.CACHE_TTL_RUC - 60)
    keep([ended], age=settings.CACHE_TTL_RUC + 1)
    keep([ending], age=settings.CACHE_TTL_RUC - 3)

    assert filled(cache)["candidates"] == 1
    assert cache.get_ruc(fresh)
    assert cache.get_ruc(ended) is cache.get_ruc(ending) is None


def test_past_its_life_it_is_there_to_be_shown_while_a_newer_one_is_fetched(
    cache: APICacheService, settings: Settings
) -> None:
    (ruc,) = valid_rucs(1)
    keep([ruc], age=settings.CACHE_TTL_RUC - 60)
    filled(cache)
    read = cache.read_ruc(ruc)
    gone_at = next(e.expires_at or 0.0 for e in cache.adapter.scan(node_of(cache), "", Deadline.after(10)))

    assert gone_at == pytest.approx((read.expires_at or 0.0) + settings.STALE_WHILE_REVALIDATE, abs=4)


def test_each_kind_has_its_own_life_and_each_service_its_own_keys(cache: APICacheService) -> None:
    keep(["12345678"], age=20 * HOUR, kind="dni")
    keep(["20100038146"], age=20 * HOUR, kind="representantes")
    keep(["20100038146"], age=20 * HOUR, kind="ruc")
    keep(["2026-01-28"], age=20 * HOUR, kind="tipo_cambio")
    keep(["latest"], age=2 * HOUR, kind="tipo_cambio")
    keep(["F001-1"], age=MINUTE, service="nubefact", kind="factura")
    keep(["F001-2"], age=2 * HOUR, service="nubefact", kind="factura")

    assert filled(cache)["written"] == 4
    wanted = {"migo:dni_12345678", "migo:representantes_20100038146", "migo:tipo_cambio_2026-01-28"}
    unwanted = {"migo:ruc_20100038146", "migo:tipo_cambio_latest", "nubefact:factura_F001-2"}
    assert hits(cache, wanted | unwanted | {"nubefact:factura_F001-1"}) == wanted | {"nubefact:factura_F001-1"}


def test_the_hottest_come_first_then_the_newest(cache: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill_order, "HOTTEST", 3)
    hot, warm, cold_and_new, cold, long_ago = valid_rucs(5)
    keep([cold, long_ago], age=30 * MINUTE)
    keep([cold_and_new], age=MINUTE)
    keep([hot, warm], age=50 * MINUTE)
    asked(warm, 5)
    asked(hot, 3)
    asked(hot, 4, days_ago=6)
    asked(long_ago, 1000, days_ago=7)

    assert in_order()[:3] == [hot, warm, cold_and_new]
    assert set(in_order()[3:]) == {cold, long_ago}


def test_what_is_not_among_the_hottest_follows(cache: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill_order, "HOTTEST", 3)
    rucs = valid_rucs(20)
    keep(rucs)
    for reads, ruc in enumerate(rucs[10:14], start=1):
        asked(ruc, reads)

    assert in_order() == [rucs[13], rucs[12], rucs[11], *rucs[:11], *rucs[14:]]
    assert filled(cache)["written"] == 20


def test_what_lies_in_the_cache_is_alike_whatever_made_it(cache: APICacheService, settings: Settings) -> None:
    """On PostgreSQL the database makes the writes, but not of a long answer, of an odd name, or of a rate."""
    settings.CACHE_TTL_RUC = 60 * 24 * 3600
    (ruc,) = valid_rucs(1)
    long = orjson.dumps({"x": "ñ" * 30_000}).decode()
    keep([ruc], age=HOUR)
    keep(["1' || '%s~"], age=HOUR, kind="odd")
    keep(["a b\r\nflush_all", "é{0}"], age=HOUR, kind="odd", text='{"x":"\\\\ %s {y}"}')
    keep(["12345678"], age=HOUR, kind="dni", text=long)
    keep(["2026-01-28"], age=HOUR, kind="tipo_cambio", text='{"x":1.5}')
    born = {f"migo:{row.kind}_{row.identifier}": row.born_at.timestamp() for row in StoredAnswer.objects.all()}
    summary, now = filled(cache), time.time()

    assert (summary["written"], summary["refused"], summary["error"]) == (6, 0, "")
    ends = {e.key: e.expires_at or 0.0 for e in cache.adapter.scan(node_of(cache), "", Deadline.after(10))}
    for row in StoredAnswer.objects.all():
        name = f"migo:{row.kind}_{row.identifier}"
        subject = Subject("migo", row.kind, row.identifier)
        read, life = cache.read_many([name])[name], subject.life(born[name])
        assert (read.outcome, read.value) == (Outcome.HIT, orjson.loads(row.data))
        assert read.born_at == round(born[name], 3)
        assert 0.9 * (life - HOUR) - 5 < (read.expires_at or 0.0) - now <= life - HOUR + 1
        gone_at = (read.expires_at or 0.0) + subject.stale_while_revalidate
        assert ends[cache.wire_prefix + cache._normalize_key(name)] == pytest.approx(gone_at, abs=5)


def test_a_newer_answer_is_never_replaced(cache: APICacheService) -> None:
    old, other = valid_rucs(2)
    keep([old, other], age=30 * MINUTE)
    cache.set_ruc(old, {"ruc": old, "estado": "newer"})
    summary = filled(cache)

    assert (summary["written"], summary["already_there"]) == (1, 1)
    assert cache.get_ruc(old) == {"ruc": old, "estado": "newer"}


def test_a_ruc_that_is_listed_as_invalid_stays_so(cache: APICacheService) -> None:
    listed, good = valid_rucs(2)
    keep([listed, good])
    cache.add_invalid_ruc(listed, "BAJA_DE_OFICIO")
    now = timezone.now()
    TrackedKey.objects.create(
        key=f"migo:invalid_{listed}",
        service="migo",
        kind="invalid",
        identifier=listed,
        node=node_of(cache),
        state=TrackedKey.State.ACTIVE,
        created_at=now,
        seen_at=now,
    )

    assert filled(cache)["written"] == 1
    assert (cache.get_ruc(listed), cache.is_ruc_invalid(listed)) == (None, True)


def test_each_node_gets_exactly_what_the_client_looks_for_there(cluster_cache: APICacheService) -> None:
    rucs = valid_rucs(300)
    keep(rucs)
    places = {ruc: cluster_cache.adapter.node_for(f"{cluster_cache.wire_prefix}migo:ruc_{ruc}") for ruc in rucs}
    first, second, third = cluster_cache.adapter.nodes()
    summary = refill.refill(second)

    its_own = {ruc for ruc, node in places.items() if node == second}
    assert 50 < len(its_own) < 150
    assert summary["candidates"] == summary["written"] == len(its_own)
    assert hits(cluster_cache, [f"migo:ruc_{ruc}" for ruc in rucs]) == {f"migo:ruc_{ruc}" for ruc in its_own}
    assert refill.refill(first)["written"] + refill.refill(third)["written"] == len(rucs) - len(its_own)
    assert len(hits(cluster_cache, [f"migo:ruc_{ruc}" for ruc in rucs])) == len(rucs)


def test_what_the_node_refuses_is_counted_and_named(cache: APICacheService) -> None:
    small, large = valid_rucs(2)
    keep([small])
    keep([large], text=orjson.dumps({"ruc": large, "x": "x" * 1_100_000}).decode())
    summary = filled(cache)

    assert (summary["state"], summary["written"], summary["refused"]) == ("done", 1, 1)
    assert large in summary["error"]
    assert "large" in summary["error"]


def test_many_slices_are_as_good_as_one(cache: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill, "SLICE", 7)
    monkeypatch.setattr(refill, "PROGRESS_SECONDS", 0.0)
    rucs = valid_rucs(100)
    keep(rucs)

    assert filled(cache)["written"] == 100
    assert len(hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs])) == 100
    assert filled(cache) | {"run": 0, "written": 0} == filled(cache) | {"run": 0}


def test_redis_is_refilled_alike(redis_server: Redis, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(redis_server.url)
    cache = APICacheService()
    rucs = valid_rucs(20)
    keep(rucs, age=40 * MINUTE)
    summary = filled(cache)

    assert (summary["state"], summary["written"]) == ("done", 20)
    read = cache.read_ruc(rucs[3])
    assert read.value == record(rucs[3])
    assert 17 * MINUTE < (read.expires_at or 0) - time.time() <= 20 * MINUTE


def test_an_unknown_node_is_answered_with_those_there_are(cache: APICacheService, use_cache_url: UseCacheUrl) -> None:
    with pytest.raises(ValueError, match=f"no node 'cache9:11211'; CACHE_URL has: {node_of(cache)}"):
        refill.refill("cache9:11211")
    assert not RefillRun.objects.exists()
    assert not RunLock.objects.exists()
    with use_cache_url("locmem://"), pytest.raises(ValueError, match="local memory"):
        refill.refill("locmem")


def test_one_refill_of_a_node_at_a_time(cache: APICacheService) -> None:
    node = node_of(cache)
    with run_lock(refill.lock_of(node), 60):
        assert refill.refill(node)["state"] == "already_running"
    assert not RefillRun.objects.exists()
    assert refill.refill(node)["state"] == "done"


# --- Runs that a health run asked for -------------------------------------------------------------------------------


def asked_for(cache: APICacheService, *, booted_ago: float | None = None) -> RefillRun:
    """A waiting run for the boot that the node has, or had that long ago."""
    facts = cache.adapter.probe(node_of(cache))
    booted = time.time() - booted_ago if booted_ago is not None else facts.booted_at or 0.0
    return RefillRun.objects.create(
        node=node_of(cache),
        reason=RefillRun.Reason.RESTARTED,
        state=RefillRun.State.WAITING,
        started_at=timezone.now(),
        booted_at=datetime.fromtimestamp(booted, UTC),
        pid=facts.pid,
    )


def test_a_run_is_done_once_however_often_its_message_comes(cache: APICacheService) -> None:
    keep(valid_rucs(3))
    row = asked_for(cache)
    first, second = refill.refill(row.node, row.pk), refill.refill(row.node, row.pk)

    assert first == second
    assert (first["run"], first["state"], first["written"]) == (row.pk, "done", 3)
    with pytest.raises(ValueError, match="no refill 999999 of node"):
        refill.refill(row.node, 999_999)


def test_a_run_of_an_earlier_boot_leaves_the_node_to_the_later_one(cache: APICacheService) -> None:
    keep(valid_rucs(3))
    row = asked_for(cache, booted_ago=7 * 24 * HOUR)
    summary = refill.refill(row.node, row.pk)

    assert (summary["state"], summary["written"]) == ("failed", 0)
    assert "booted again" in summary["error"]


def test_a_node_that_is_down_again_fails_the_run_with_a_clear_text(
    own_memcached: Memcached, use_cache_url: UseCacheUrl
) -> None:
    use_cache_url(url_of(own_memcached))
    row = asked_for(APICacheService())
    own_memcached.kill()
    summary = refill.refill(row.node, row.pk)

    assert summary["state"] == "failed"
    assert f"{row.node} does not answer" in summary["error"]
    assert "next boot is refilled" in summary["error"]


def test_a_node_that_left_the_settings_fails_the_run(cache: APICacheService, use_cache_url: UseCacheUrl) -> None:
    row = asked_for(cache)
    use_cache_url("memcached://127.0.0.1:1")

    summary = refill.refill(row.node, row.pk)
    assert (summary["state"], "no node" in summary["error"]) == ("failed", True)


@pytest.mark.django_db(transaction=True)
def test_a_node_that_dies_in_the_middle_fails_the_run_and_a_refill_of_its_next_boot_mends(
    own_memcached: Memcached, use_cache_url: UseCacheUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cache_url(url_of(own_memcached))
    monkeypatch.setattr(refill, "SLICE", 20)
    cache, rucs = APICacheService(), valid_rucs(100)
    keep(rucs)
    row = asked_for(cache)
    calls, write = [], MemcachedAdapter.write

    def killing(self: MemcachedAdapter, node: str, items: Iterable[Item], *, replace: bool) -> Written:
        calls.append(node)
        if len(calls) == 3:
            own_memcached.kill()
        return write(self, node, items, replace=replace)

    monkeypatch.setattr(MemcachedAdapter, "write", killing)
    failed = refill.refill(row.node, row.pk)
    assert (failed["state"], failed["written"], failed["candidates"]) == ("failed", 40, 100)
    assert row.node in failed["error"]

    own_memcached.restart()
    again = asked_for(cache)
    assert refill.refill(again.node, again.pk)["written"] == 100
    cache.cache.retry_now()
    assert len(hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs])) == 100


STUCK = """
import time
from api_service.services import refill
from api_service.services.backends.memcached import MemcachedAdapter
refill.SLICE, refill.PROGRESS_SECONDS = 50, 0.0
write, calls = MemcachedAdapter.write, []
def stuck(*args, **options):
    calls.append(1)
    if len(calls) == 4:
        time.sleep(60)
    return write(*args, **options)
MemcachedAdapter.write = stuck
refill.refill(sys.argv[1], int(sys.argv[2]))
"""


def test_a_run_killed_in_the_middle_is_completed_by_the_next_and_nothing_is_doubled(
    own_memcached: Memcached, use_cache_url: UseCacheUrl, run_python: RunPython
) -> None:
    use_cache_url(url_of(own_memcached))
    cache, rucs = APICacheService(), valid_rucs(300)
    keep(rucs)
    row = asked_for(cache)
    code = STUCK.replace("sys.argv[1]", repr(row.node)).replace("sys.argv[2]", str(row.pk))
    process = run_python(code, CACHE_URL=url_of(own_memcached))
    wait_until(lambda: RefillRun.objects.get(pk=row.pk).written == 150, 60)
    process.kill()
    process.wait(10)

    assert refill.refill(row.node, row.pk)["state"] == "already_running", "the lock of the dead holds for a while"
    RunLock.objects.update(expires_at=timezone.now())
    summary = refill.refill(row.node, row.pk)
    assert (summary["state"], summary["candidates"]) == ("done", 300)
    assert (summary["written"], summary["already_there"]) == (300, 0)
    assert len(hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs])) == 300
    assert int(own_memcached.stats()["total_items"]) < 300 + 10, "each was written once; the rest are probes"
    assert RefillRun.objects.count() == 1


def test_a_run_that_takes_too_long_ends_and_says_how_far_it_came(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "SECONDS", 0.0)
    keep(valid_rucs(3))
    summary = filled(cache)

    assert (summary["state"], summary["candidates"]) == ("failed", 3)
    assert "out of time after 0 of 3 answers" in summary["error"]


def test_an_unforeseen_error_is_recorded_and_raised(cache: APICacheService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill, "SLICE", "five")
    keep(valid_rucs(3))
    with pytest.raises(TypeError):
        filled(cache)

    row = RefillRun.objects.get()
    assert (row.state, row.error[:9]) == ("failed", "TypeError")
    assert row.finished_at is not None


def test_a_dry_run_counts_and_leaves_no_trace(cache: APICacheService) -> None:
    rucs = valid_rucs(4)
    keep(rucs)
    summary = refill.candidates(node_of(cache))

    assert (summary["state"], summary["candidates"], summary["run"]) == ("dry_run", 4, None)
    assert hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs]) == set()
    assert not RefillRun.objects.exists()


# --- What was taken back meanwhile -----------------------------------------------------------------------------------


def test_a_ruc_that_was_listed_as_invalid_since_the_last_inventory_stays_so(cache: APICacheService) -> None:
    rucs = valid_rucs(3)
    keep(rucs)
    cache.add_invalid_ruc(rucs[0], "BAJA")
    summary = filled(cache)

    assert hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs]) == {f"migo:ruc_{ruc}" for ruc in rucs[1:]}
    assert (summary["candidates"], summary["written"]) == (3, 2)


def test_answers_cleared_while_they_were_on_their_way_do_not_come_back(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rucs = valid_rucs(3)
    keep(rucs)
    write = MemcachedAdapter.write

    def late(adapter: MemcachedAdapter, node: str, items: Iterable[Item], *, replace: bool) -> Written:
        read = list(items)
        asked = clearing.request("migo", "ruc", rucs[0], via="command", with_answers=True)
        assert clearing.clear(asked)["answers_removed"] == 1
        return write(adapter, node, read, replace=replace)

    monkeypatch.setattr(MemcachedAdapter, "write", late)
    filled(cache)

    assert hits(cache, [f"migo:ruc_{ruc}" for ruc in rucs]) == {f"migo:ruc_{ruc}" for ruc in rucs[1:]}


def test_one_that_lost_its_lease_leaves_the_row_to_the_other(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(valid_rucs(3))
    monkeypatch.setattr(refill, "PROGRESS_SECONDS", 0.0)
    write = MemcachedAdapter.write

    def late(adapter: MemcachedAdapter, node: str, items: Iterable[Item], *, replace: bool) -> Written:
        RunLock.objects.update(token="another")
        return write(adapter, node, items, replace=replace)

    monkeypatch.setattr(MemcachedAdapter, "write", late)
    with pytest.raises(LeaseLost):
        filled(cache)

    assert RefillRun.objects.get().state == "running"
    assert RunLock.objects.get().token == "another"
