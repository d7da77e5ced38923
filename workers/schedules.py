"""When each periodic task runs: one row each. Code owns the timing, operators own on and off.

django-celery-beat writes these rows into its tables at every start of Beat and leaves `enabled` as it finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery.schedules import crontab


@dataclass(frozen=True)
class Schedule:
    """A periodic task: `expires` seconds after its time a run that did not start is dropped.

    The rest is for Sentry Crons, times in whole minutes: a run may begin `margin` late, and last `max_runtime`;
    `failures` in a row make an issue.
    """

    task: str
    when: crontab
    expires: int
    queue: str
    # Beyond `expires`: until then a run that waits for a worker may still begin
    margin: int
    # Beyond the hard time limit of the task: what is killed by it never checks in again
    max_runtime: int
    # One of a frequent task may fail, as the next one makes good for it
    failures: int = 2


# Own queues: a long warm-up never delays a health check or an alert
TABLE: dict[str, Schedule] = {
    "monitor-cache-health": Schedule(
        "workers.tasks.monitor_cache_health", crontab(minute="*/5"), 240, "health", margin=5, max_runtime=2
    ),
    "deliver-alerts": Schedule(
        "workers.tasks.deliver_alerts", crontab(), 50, "health", margin=2, max_runtime=2, failures=3
    ),
    "warm-frequent-rucs": Schedule(
        "workers.tasks.warm_frequent_rucs", crontab(minute="2-59/5"), 240, "warming", margin=5, max_runtime=6
    ),
    # Just after a health check, which leaves out what an inventory reads on a node: it is over before the next one
    "track-keys": Schedule(
        "workers.tasks.track_keys", crontab(minute="1-59/10"), 480, "tracking", margin=9, max_runtime=6
    ),
    "read-account": Schedule(
        "workers.tasks.read_account", crontab(minute=9), 600, "tracking", margin=11, max_runtime=2
    ),
    "clean-up": Schedule(
        "workers.tasks.clean_up", crontab(hour=3, minute=17), 3600, "tracking", margin=61, max_runtime=6, failures=1
    ),
}
# Tasks that others start, or people: their queues
UNSCHEDULED: dict[str, str] = {
    "workers.tasks.send_test_alert": "health",
    "workers.tasks.track_node": "tracking",
    "workers.tasks.clear_service_cache": "tracking",
    "workers.tasks.refill_node": "warming",
    "workers.tasks.copy_cache": "tracking",
    # In turns of a minute: neither an inventory nor the renewal of an old answer waits for a whole list
    "workers.tasks.check_billing": "tracking",
    # Somebody was just shown an old answer: this waits behind no warm-up
    "workers.tasks.refresh_answers": "default",
}
QUEUES = ("health", "warming", "tracking", "default")

EVERY_MINUTE = "fast"


def task_routes() -> dict[str, dict[str, str]]:
    queues = {row.task: row.queue for row in TABLE.values()} | UNSCHEDULED
    return {task: {"queue": queue} for task, queue in queues.items()}


def beat_schedule(profile: str) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule`. `expire_seconds`, not `expires`: django-celery-beat drops the latter silently."""
    return {
        name: {
            "task": row.task,
            "schedule": crontab() if profile == EVERY_MINUTE else row.when,
            "options": {"queue": row.queue, "expire_seconds": 50 if profile == EVERY_MINUTE else row.expires},
        }
        for name, row in TABLE.items()
    }
