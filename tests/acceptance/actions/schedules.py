"""Periodic tasks in their list: off, on, the other way round, run now; and the lock of a run that died, released."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django_celery_beat.models import PeriodicTask

from api_service.models import RunLock, TrackRun
from tests.acceptance.actions.person import Person
from tests.acceptance.actions.records import table
from tests.waiting import wait_until

# At night, and once a day
SWITCHED, RUN = "clean-up", "track-keys"
SWITCHES = (
    ("Disable selected tasks", "{0} task was successfully disabled", False),
    ("Enable selected tasks", "{0} task was successfully enabled", True),
    ("Toggle activity of selected tasks", "{0} task was successfully toggled", False),
    ("Enable selected tasks", "{0} task was successfully enabled", True),
)


def switch(person: Person) -> None:
    for action, said, is_on in SWITCHES:
        row = person.world.records.get(PeriodicTask, name=SWITCHED)
        person.opens(PeriodicTask)
        person.chooses(action, [row["id"]])
        person.reads_as_it_is(person.counted(said, said.replace("task was", "tasks were"), 1).format(1))
        assert bool(person.world.records.get(PeriodicTask, name=SWITCHED)["enabled"]) is is_on
        person.is_on_record(SWITCHED, f"enabled={is_on}", object_id=str(row["id"]))


def run_now(person: Person) -> None:
    newest = person.world.records.newest(TrackRun)
    row = person.world.records.get(PeriodicTask, name=RUN)
    person.opens(PeriodicTask)
    person.chooses("Run selected tasks", [row["id"]])
    person.reads_as_it_is(person.counted("%(count)s task is in its queue.", "%(count)s tasks are in their queues.", 1))
    wait_until(lambda: person.world.records.newest(TrackRun) > newest, 30, message="an inventory")
    person.is_on_record(row["task"], object_id=str(row["id"]))


def release_a_lock(person: Person) -> None:
    """As a worker leaves it that was killed."""
    name, ends = "clean_up", datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
    said = "ON CONFLICT (name) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at"
    insert = f"INSERT INTO {table(RunLock)} (name, token, expires_at) VALUES (?, ?, ?) {said}"
    person.world.records.rows(insert, name, "of-a-worker-that-died", str(ends))
    row = person.world.records.get(RunLock, name=name)
    person.opens(RunLock)
    person.chooses("Release the lock of a run that died", [row["id"]])
    person.presses("Release")
    person.reads_as_it_is(person.counted("%(count)s lock was released.", "%(count)s locks were released.", 1))
    assert person.world.records.get(RunLock, name=name)["token"] == ""
    person.is_on_record(name, object_id=str(row["id"]))
