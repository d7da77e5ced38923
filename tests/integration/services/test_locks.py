from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from threading import enumerate as threads

import pytest
from django.db import connection
from django.utils import timezone

from api_service.models import RunLock
from api_service.services.leases import renewed_lock
from api_service.services.locks import claim_for, run_lock
from tests.integration.services.conftest import RunPython, output_of
from tests.waiting import wait_until


@pytest.mark.django_db
def test_a_lock_has_one_holder_and_is_free_again_after_him() -> None:
    with run_lock("warm", 60) as first, run_lock("warm", 60) as second, run_lock("track", 60) as another:
        assert (first, second, another) == (True, False, True)
    with run_lock("warm", 60) as again:
        assert again


@pytest.mark.django_db
def test_who_was_refused_releases_nothing() -> None:
    with run_lock("warm", 60):
        with run_lock("warm", 60):
            pass
        with run_lock("warm", 60) as third:
            assert not third


@pytest.mark.django_db
def test_a_lock_taken_by_a_clock_that_was_a_year_ahead_blocks_nobody_for_a_year() -> None:
    a_year = timezone.now() + timedelta(days=365)
    RunLock.objects.create(name="read_account", token="of the future", expires_at=a_year)
    assert claim_for("read_account", 3600)
    assert not claim_for("read_account", 3600)


@pytest.mark.django_db
def test_a_holder_that_died_blocks_until_its_time_is_over() -> None:
    RunLock.objects.create(name="warm", token="of the dead", expires_at=timezone.now() + timedelta(seconds=60))
    with run_lock("warm", 60) as held:
        assert not held
    RunLock.objects.update(expires_at=timezone.now())
    with run_lock("warm", 60) as held:
        assert held


@pytest.mark.django_db
def test_a_holder_that_outlived_its_time_does_not_release_his_successors_lock() -> None:
    with run_lock("warm", 0) as slow:
        with run_lock("warm", 60) as successor:
            assert (slow, successor) == (True, True)
            mine = RunLock.objects.get().token
        RunLock.objects.update(token=mine, expires_at=timezone.now() + timedelta(seconds=60))

    assert RunLock.objects.get().token == mine


@pytest.mark.django_db
def test_an_exception_releases_the_lock() -> None:
    with pytest.raises(ZeroDivisionError), run_lock("warm", 60):
        raise ZeroDivisionError
    with run_lock("warm", 60) as held:
        assert held


@pytest.mark.django_db(transaction=True)
def test_of_sixteen_threads_one_holds_the_lock() -> None:
    ready, done = Barrier(16), Barrier(16)

    def claim() -> bool:
        try:
            ready.wait(30)
            with run_lock("warm", 60) as held:
                done.wait(60)
                return held
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        claims = [pool.submit(claim) for _ in range(16)]
    assert sum(claim.result() for claim in claims) == 1


CLAIM_AND_STAY = """
import time
from api_service.services.locks import run_lock
with run_lock("warm", 60) as held:
    print("held" if held else "refused", flush=True)
    time.sleep(60 if held else 0)
"""


@pytest.mark.django_db(transaction=True)
def test_of_four_processes_one_holds_the_lock_and_its_kill_keeps_it_taken(run_python: RunPython) -> None:
    processes = [run_python(CLAIM_AND_STAY) for _ in range(4)]
    wait_until(lambda: sum(process.poll() == 0 for process in processes) == 3, timeout=60)
    (holder,) = (process for process in processes if process.poll() is None)

    assert [output_of(process) for process in processes if process is not holder] == ["refused\n"] * 3
    holder.kill()
    assert holder.communicate()[0] == "held\n"
    with run_lock("warm", 60) as held:
        assert not held


HOLD_AND_WORK = """
import time
from api_service.services.leases import renewed_lock
with renewed_lock("monitor", 3) as held:
    print("held" if held else "refused", flush=True)
    time.sleep(60 if held else 0)
"""


def end_of_lease() -> datetime | None:
    return RunLock.objects.values_list("expires_at", flat=True).get(name="monitor")


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_is_renewed_stays_with_who_works_and_is_free_soon_after_his_kill(run_python: RunPython) -> None:
    worker = run_python(HOLD_AND_WORK)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "held\n"
    first = end_of_lease()
    # Past the end of the lease as it was taken
    wait_until(lambda: first is not None and timezone.now() > first, timeout=30)
    assert output_of(run_python(HOLD_AND_WORK)) == "refused\n"
    worker.kill()
    worker.wait(30)
    last = end_of_lease()
    assert last is not None
    assert last - timezone.now() <= timedelta(seconds=3)
    wait_until(lambda: timezone.now() > last, timeout=30)
    with renewed_lock("monitor", 60) as held:
        assert held


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_was_renewed_is_given_back_and_its_thread_ends() -> None:
    with renewed_lock("monitor", 3) as held, renewed_lock("monitor", 60) as other:
        assert (held, other) == (True, False)
        first = end_of_lease()
        wait_until(lambda: end_of_lease() != first, timeout=30)
    assert RunLock.objects.get().token == ""
    assert [thread.name for thread in threads() if thread.name == "lease"] == []


@pytest.mark.django_db(transaction=True)
def test_whose_lease_was_taken_over_takes_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    with renewed_lock("monitor", 0.3):
        RunLock.objects.update(token="of another")
        wait_until(lambda: "a lease was lost" in caplog.text, timeout=30)
    assert RunLock.objects.get().token == "of another"
