from typing import Any

from celery import current_app
from celery.schedules import crontab

import workers.tasks
from workers.schedules import QUEUES, TABLE, UNSCHEDULED, beat_schedule, task_routes


def test_every_task_of_the_table_exists_and_every_task_has_a_row() -> None:
    assert workers.tasks.__name__ == "workers.tasks"
    ours = {name for name in current_app.tasks if name.startswith("workers.")}

    assert {row.task for row in TABLE.values()} | UNSCHEDULED.keys() == ours
    assert not {row.task for row in TABLE.values()} & UNSCHEDULED.keys()


def test_every_task_has_a_queue_that_a_worker_is_told_of() -> None:
    routes = task_routes()

    assert set(routes) == {row.task for row in TABLE.values()} | UNSCHEDULED.keys()
    assert {route["queue"] for route in routes.values()} <= set(QUEUES)


def test_a_long_warm_up_is_in_nobody_elses_way() -> None:
    routes = task_routes()
    warming = routes["workers.tasks.warm_frequent_rucs"]["queue"]

    filling = {name for name, route in routes.items() if route["queue"] == warming}
    assert filling == {"workers.tasks.warm_frequent_rucs", "workers.tasks.refill_node"}
    assert routes["workers.tasks.monitor_cache_health"]["queue"] != routes["workers.tasks.track_keys"]["queue"]


def test_health_is_checked_every_five_minutes() -> None:
    row = beat_schedule("standard")["monitor-cache-health"]

    assert row["schedule"] == crontab(minute="*/5")
    assert row["task"] == "workers.tasks.monitor_cache_health"


def test_a_late_run_is_dropped_before_the_next_is_due() -> None:
    """`expires` would be dropped by django-celery-beat without a word."""
    for profile in ("standard", "fast"):
        for name, row in beat_schedule(profile).items():
            period = min_seconds_between(row["schedule"])
            assert 0 < row["options"]["expire_seconds"] < period, (profile, name)
            assert "expires" not in row["options"]


def min_seconds_between(schedule: Any) -> int:
    minutes: list[int] = [hour * 60 + minute for hour in sorted(schedule.hour) for minute in sorted(schedule.minute)]
    following = [*minutes[1:], minutes[0] + 24 * 60]
    return min(60 * (later - earlier) for earlier, later in zip(minutes, following, strict=True))


def test_the_fast_profile_runs_everything_every_minute_on_the_same_queues() -> None:
    fast, standard = beat_schedule("fast"), beat_schedule("standard")

    assert set(fast) == set(standard)
    assert {str(row["schedule"]) for row in fast.values()} == {str(crontab())}
    assert [row["options"]["queue"] for row in fast.values()] == [row["options"]["queue"] for row in standard.values()]
