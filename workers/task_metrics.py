"""Tasks in the metrics: how they ended, what they took, how long they had waited in their queue."""

from __future__ import annotations

from time import monotonic, time
from typing import Any, Final

from celery.signals import (
    task_failure,
    task_postrun,
    task_prerun,
    task_retry,
    task_revoked,
    task_success,
)
from prometheus_client import Counter, Histogram

from api_service.services import metrics
from api_service.services.task_sending import SENT_AT
from workers.schedules import QUEUES, TABLE, UNSCHEDULED

OUTCOMES: Final = ("success", "failure", "retry", "revoked")
OTHER_QUEUES: Final = "(others)"

TASKS = Counter(
    "cache_worker_tasks_total",
    "Runs of tasks by how they ended; revoked are those that came too late to begin.",
    ("task", "outcome"),
    registry=metrics.REGISTRY,
)
TASK_SECONDS = Histogram(
    "cache_worker_task_duration_seconds",
    "Runs of tasks, whatever their end.",
    ("task",),
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
    registry=metrics.REGISTRY,
)
QUEUE_SECONDS = Histogram(
    "cache_worker_queue_wait_seconds",
    "From the sending of a task to its begin, by the clocks of two machines.",
    ("queue",),
    buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600),
    registry=metrics.REGISTRY,
)

_started: dict[str, float] = {}


def begin() -> None:
    for task in (*(row.task for row in TABLE.values()), *UNSCHEDULED):
        TASK_SECONDS.labels(task)
        for outcome in OUTCOMES:
            TASKS.labels(task, outcome)
    for queue in QUEUES:
        QUEUE_SECONDS.labels(queue)


metrics.at_start(begin)


@task_prerun.connect
def _starts(sender: Any, task_id: str, **_facts: object) -> None:
    _started[task_id] = monotonic()
    sent_at = getattr(sender.request, SENT_AT, None)
    # One with a countdown waits because it was told to
    if isinstance(sent_at, float) and sender.request.eta is None:
        QUEUE_SECONDS.labels(_queue_of(sender.request)).observe(max(0.0, time() - sent_at))


def _queue_of(request: Any) -> str:
    name = (request.delivery_info or {}).get("routing_key")
    return name if name in QUEUES else OTHER_QUEUES


@task_postrun.connect
def _ends(sender: Any, task_id: str, **_facts: object) -> None:
    started = _started.pop(task_id, None)
    if started is not None:
        TASK_SECONDS.labels(sender.name).observe(monotonic() - started)


@task_success.connect
def _succeeded(sender: Any, **_facts: object) -> None:
    TASKS.labels(sender.name, "success").inc()


@task_failure.connect
def _failed(sender: Any, **_facts: object) -> None:
    TASKS.labels(sender.name, "failure").inc()


@task_retry.connect
def _retried(sender: Any, **_facts: object) -> None:
    TASKS.labels(sender.name, "retry").inc()


@task_revoked.connect
def _revoked(sender: Any, **_facts: object) -> None:
    TASKS.labels(sender.name, "revoked").inc()
