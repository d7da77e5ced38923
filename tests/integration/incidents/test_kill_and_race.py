"""Workers that are killed at every step, and workers that do the same at the same time, on SQLite and PostgreSQL."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from typing import Any, NoReturn, TypeVar

import pytest
from django.db import connection, connections

from api_service.models import FindingState, HealthSample, Incident, Transition
from api_service.services import bounded, finding_states, incident_acts, incidents, refill_watch
from tests.integration.incidents.conftest import NODES, at, budget, down, is_told, outage, run, stored, words

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 8
T = TypeVar("T")


def die(*_arguments: object, **_named: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def killed(owner: Any, step: str, work: Callable[[], object]) -> None:
    """A process of its own does the work, and is killed with -9 where it would take that step."""
    bounded.stop_threads(10)
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            setattr(owner, step, die)
            work()
        finally:
            # Only if the step was never taken: the test then sees no kill
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    wait_for_the_end_of_its_session()


def wait_for_the_end_of_its_session() -> None:
    """PostgreSQL learns of the death a moment later; until then the locks of the dead are held."""
    if connection.vendor != "postgresql":
        return
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = monotonic() + 10
    with connection.cursor() as cursor:
        while cursor.execute(others) and cursor.fetchone() != (0,):
            assert monotonic() < deadline


def side_by_side(work: Callable[[int], T]) -> list[T]:
    """All of them begin at once."""
    barrier = Barrier(THREADS)

    def begin(number: int) -> T:
        try:
            barrier.wait()
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


# -- killed ----------------------------------------------------------------------------------------------------------


def test_a_run_killed_while_it_stores_has_not_counted() -> None:
    stored(0, down())
    killed(refill_watch, "note", lambda: run(5, down()))
    assert HealthSample.objects.count() == 1
    assert FindingState.objects.get().recent == "1"
    assert run(6, down()) == [f"opened node_down {NODES[0]}"]


def test_a_run_killed_before_it_judged_is_made_up_for() -> None:
    stored(0, down())
    killed(incidents, "apply", lambda: run(5, down()))
    assert HealthSample.objects.filter(judged_at=None).count() == 2
    assert not Incident.objects.exists()
    assert run(10, down()) == [f"opened node_down {NODES[0]}"]
    assert Incident.objects.get().since == at(0)


@pytest.mark.parametrize("step", ["moment_of", "_steps", "new_transition"])
def test_a_run_killed_while_it_judges_leaves_nothing_half_done(step: str) -> None:
    stored(0, down())
    sample = stored(5, down())
    killed(incidents, step, lambda: incidents.apply(sample, at(6)))
    assert not Incident.objects.exists()
    assert not Transition.objects.exists()
    # Taken up again, or overtaken by the next run
    assert words(incidents.apply(sample, at(7))) == [f"opened node_down {NODES[0]}"]
    assert run(10, down()) == []


def test_the_end_of_an_incident_survives_a_kill() -> None:
    outage()
    run(10)
    killed(incidents, "new_transition", lambda: run(15))
    assert Incident.objects.get().resolved_at is None
    assert run(20) == [f"resolved node_down {NODES[0]}"]


def test_an_escalation_killed_half_way_is_made_by_the_next_minute() -> None:
    outage()
    killed(incidents, "new_transition", lambda: incidents.tick(at(40)))
    assert Incident.objects.get().escalated_at is None
    assert words(incidents.tick(at(41))) == [f"escalated node_down {NODES[0]}"]


def test_an_acknowledgement_killed_half_way_is_none() -> None:
    incident = outage()
    killed(incident_acts, "new_transition", lambda: incident_acts.acknowledge(incident.pk, "ana", "", at(6)))
    assert Incident.objects.get().acknowledged_at is None
    assert incident_acts.acknowledge(incident.pk, "ana", "", at(7)) is not None


# -- at the same time ------------------------------------------------------------------------------------------------


def test_workers_that_judge_at_the_same_time_open_one_incident() -> None:
    stored(0, budget())
    samples = [stored(1 + number, budget()) for number in range(THREADS)]
    steps = side_by_side(lambda number: words(incidents.apply(samples[number], at(20))))
    assert [step for each in steps for step in each] == ["opened budget_low migo/day"]
    assert (Incident.objects.count(), Transition.objects.count()) == (1, 1)


def test_workers_that_judge_the_same_sample_end_an_incident_once() -> None:
    run(0, budget())
    sample = stored(5)
    steps = side_by_side(lambda _number: words(incidents.apply(sample, at(6))))
    assert [step for each in steps for step in each] == ["resolved budget_low migo/day"]


def test_runs_that_store_at_the_same_time_are_each_counted_once() -> None:
    # A code whose runs in quick succession count, of which eight are needed to be sure that none was lost
    samples = side_by_side(lambda number: stored(number, down(), budget()))
    assert len(samples) == HealthSample.objects.count() == THREADS
    assert FindingState.objects.count() == 2
    # Runs that came late are older than the last one and say nothing: what is counted went up in order
    assert {row.counts for row in FindingState.objects.filter(code="budget_low")} == {True}
    assert finding_states.state_of(FindingState.objects.get(code="node_down")).seen_at == at(THREADS - 1)


def test_time_passes_once_however_many_look_at_the_clock() -> None:
    outage()
    steps = side_by_side(lambda _number: words(incidents.tick(at(40))))
    assert [step for each in steps for step in each] == [f"escalated node_down {NODES[0]}"]


def test_of_people_who_acknowledge_at_the_same_time_one_has_it() -> None:
    incident = outage()
    steps = side_by_side(lambda number: incident_acts.acknowledge(incident.pk, f"person {number}", "", at(6)))
    assert [step.by for step in steps if step] == [Incident.objects.get().acknowledged_by]


def test_a_mute_and_a_run_at_the_same_time_lose_neither() -> None:
    incident = outage()
    sample = stored(10, down(), budget())

    def act(number: int) -> None:
        if number % 2:
            incidents.apply(sample, at(11))
        else:
            incident_acts.mute(incident.pk, "ana", at(60 + number), "", at(11))

    side_by_side(act)
    incident.refresh_from_db()
    assert incident.muted_by == "ana"
    assert incident.muted_until in {at(60), at(62), at(64), at(66)}
    assert Transition.objects.filter(event="muted").count() == THREADS / 2
    assert Incident.objects.filter(code="budget_low").count() == 1
    is_told(11)
