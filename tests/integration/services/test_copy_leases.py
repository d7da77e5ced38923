"""A copy that lives is told from one that was killed, however long its nodes take to be listed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone
from redis import Redis as RedisClient

from api_service.models import CopyRun, RunLock
from api_service.services import copying
from api_service.services.backends import Adapter, Deadline, Entry, adapter_for_url
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import Job
from api_service.services.copying import CopySummary
from api_service.services.leases import LeaseLost, lease
from tests.servers import Redis
from tests.waiting import wait_until

# A third of it passes between two renewals
LEASE = 1.5


class Halting:
    """An adapter whose listing stops after its first key until `on` is set."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.halted, self.on = Event(), Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def scan(self, node: str, prefix: str, deadline: Deadline) -> Iterator[Entry]:
        entries = self._adapter.scan(node, prefix, deadline)
        yield next(entries)
        self.halted.set()
        assert self.on.wait(30)
        yield from entries


@pytest.fixture
def work(cache: APICacheService, redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(copying, "LEASE_SECONDS", LEASE)
    assert cache.set_many({f"migo:ruc_{number}": number for number in range(30)}, 600) == []
    return Job(cache.adapter, adapter_for_url(redis_server.url, "--to"), cache.wire_prefix, sample=0)


def beside(act: Callable[[], CopySummary]) -> tuple[Thread, list[CopySummary | Exception]]:
    out: list[CopySummary | Exception] = []

    def run() -> None:
        try:
            out.append(act())
        except LeaseLost as error:
            out.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    return thread, out


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("again", [False, True], ids=["the first listing", "the listing of what was copied before"])
def test_a_copy_is_at_work_while_a_node_takes_longer_to_be_listed_than_its_lease_lasts(again: bool, work: Job) -> None:
    source: Any = Halting(work.source)
    if again:
        copying.copy(work, patience=0)
        CopyRun.objects.update(state="failed", finished_at=timezone.now())
    thread, out = beside(lambda: copying.copy(replace(work, source=source), patience=0))
    assert source.halted.wait(30)
    lock = RunLock.objects.filter(name=copying.LOCK)
    first_end = lock.get().expires_at
    assert first_end is not None
    wait_until(lambda: lock.filter(expires_at__gt=first_end).exists(), timeout=30)
    copying.close_abandoned(first_end)
    shown = CopyRun.objects.get()
    source.on.set()
    thread.join(30)

    assert (shown.state, shown.error) == ("running", "")
    (summary,) = out
    assert isinstance(summary, dict)
    assert (summary["state"], summary["resumed"], summary["missing"], summary["found"]) == ("done", again, 0, 30)


@pytest.mark.django_db(transaction=True)
def test_a_copy_whose_lease_was_taken_over_writes_nothing_more_to_the_target_or_into_its_row(
    work: Job, redis_server: Redis
) -> None:
    source: Any = Halting(work.source)
    thread, out = beside(lambda: copying.copy(replace(work, source=source), patience=0))
    assert source.halted.wait(30)
    RunLock.objects.filter(name=copying.LOCK).update(token="of another")
    CopyRun.objects.update(error="of another")
    source.on.set()
    thread.join(30)

    assert [type(one) for one in out] == [LeaseLost]
    assert RedisClient(port=redis_server.port).dbsize() == 0
    run = CopyRun.objects.get()
    assert (run.state, run.error, run.copied) == ("running", "of another", 0)


@pytest.mark.django_db
def test_a_copy_that_is_gone_on_with_at_the_moment_is_not_closed_as_abandoned() -> None:
    CopyRun.objects.create(purpose="copy", source="a", target="b", started_at=timezone.now())

    def go_on(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith('SELECT "api_service_runlock"') and not RunLock.objects.exists():
            RunLock.objects.create(name=copying.LOCK, token="mine", expires_at=timezone.now() + timedelta(minutes=1))
        return execute(sql, *rest)

    with connection.execute_wrapper(go_on):
        copying.close_abandoned(timezone.now())

    assert RunLock.objects.filter(token="mine").exists()
    assert CopyRun.objects.get().state == "running"


@pytest.mark.django_db(transaction=True)
def test_who_goes_on_with_a_copy_while_it_is_closed_waits_until_it_is() -> None:
    CopyRun.objects.create(purpose="copy", source="a", target="b", started_at=timezone.now())
    seen: list[str] = []

    def go_on() -> None:
        with lease(copying.LOCK, 30, 30) as held:
            assert held
            seen.append(CopyRun.objects.get().state)
        connections.close_all()

    thread = Thread(target=go_on)

    def amid(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith('UPDATE "api_service_copyrun"'):
            thread.start()
            # Long enough for one that does not wait
            thread.join(0.3)
        return execute(sql, *rest)

    with connection.execute_wrapper(amid):
        copying.close_abandoned(timezone.now())
    thread.join(30)

    assert seen == ["failed"]


@pytest.mark.django_db
def test_a_copy_whose_lock_nobody_holds_is_closed_as_abandoned() -> None:
    CopyRun.objects.create(purpose="copy", source="a", target="b", started_at=timezone.now())
    now = timezone.now()
    with lease(copying.LOCK, 30, 0):
        copying.close_abandoned(now)
        assert CopyRun.objects.get().state == "running"
    copying.close_abandoned(now)
    run = CopyRun.objects.get()
    assert (run.state, run.error, run.finished_at) == ("failed", copying.INTERRUPTED, now)
