"""The Celery tasks: thin. Each loads nothing itself, calls a service and returns a small JSON summary.

All may be called from Beat, code, the admin and Flower, with JSON keyword arguments. `typing=False` lets a call with
wrong arguments reach `checked`, whose one line the caller can read; Celery's own check ends in an empty 500 of Flower.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown
from django.conf import settings
from django.utils import timezone

from api_service.services import (
    account,
    answers,
    billing_runs,
    clearing,
    copy_target,
    database_watch,
    finding_states,
    group_commit,
    incidents,
    key_tracking,
    lookup,
    monitoring,
    refill,
    retention,
    task_sending,
    track_runs,
    tracking,
    warming,
)
from api_service.services.cache_service import APICacheService
from api_service.services.copy_checks import CannotCopy
from api_service.services.copying import CopyUnderWay
from api_service.services.leases import LeaseLost, renewed_lock
from api_service.services.locks import run_lock
from api_service.services.redaction import redact
from workers.alerts import channel_states, dispatch, telling, trial
from workers.alerts.channels import configured
from workers.arguments import checked

logger = logging.getLogger(__name__)

Summary: TypeAlias = dict[str, Any]

# In a row: a node that answers every other time must not keep a worker busy
CONFIRMATIONS = 3
# Seconds that a monitor which was killed keeps the next one away: less than HEALTH_CONFIRM_SECONDS by default
MONITOR_LEASE = 15
ALREADY_RUNNING: Summary = {"state": "already_running", "next_step": "another run holds the lock: look at its result"}


@shared_task(typing=False, soft_time_limit=45, time_limit=60)
@checked
def monitor_cache_health(confirming: int = 0) -> Summary:
    """Check every node and the alias, store the sample, open or end incidents, send what is due.

    `confirming`: how many runs before this one, in a row, were started by a run that contradicts what is known.
    """

    def run() -> Summary:
        sample = monitoring.run_health_check()
        incidents.apply(sample, timezone.now())
        incidents.tick(timezone.now())
        return {
            "state": "done",
            "sample": sample.pk,
            "status": str(sample.status),
            "checks": sample.checks,
            "findings": [f"{f['code']} {f['node']}".strip() for f in sample.findings],
        }

    database_watch.must_answer(settings.HEALTH_AROUND_SECONDS)
    with renewed_lock("monitor_cache_health", MONITOR_LEASE) as held:
        summary = run() if held else ALREADY_RUNNING
    taken = _send_soon()
    if taken and summary["state"] == "done" and finding_states.is_anything_doubtful():
        _confirm_soon(confirming + 1)
    return summary


@shared_task(typing=False, soft_time_limit=45, time_limit=60)
@checked
def deliver_alerts() -> Summary:
    """Remind, escalate, tell what has changed and was not told yet, and send the messages that are due.

    Fails once all of that is done when every channel is off: then only who watches the schedules can say so.
    """
    summary = _deliver()
    channel_states.somebody_must_hear()
    return summary


@shared_task(typing=False, soft_time_limit=100, time_limit=120)
@checked
def send_test_alert(channels: list[str] | None = None) -> Summary:
    """Send a marked test message now. `channels`: only these, by name ("slack", "email:2"); without it all."""
    return {"state": "done", "channels": trial.send(channels or configured(), timezone.now())}


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def warm_frequent_rucs(
    limit: int | None = None,
    budget: int | None = None,
    rucs: list[str] | None = None,
    dry_run: bool = False,
    requested_by: str = "",
) -> Summary:
    """Load frequent RUCs again before they expire.

    `limit`: RUCs at most; `budget`: paid queries at most; `rucs`: these instead of the most frequent ones;
    `dry_run`: only say what would be done; `requested_by`: a person's name.
    """
    by_hand = (limit, budget, rucs, dry_run, requested_by) != (None, None, None, False, "")
    # Nobody waits for the run of the schedule
    spread = 0.0 if by_hand else min(settings.WARM_SPREAD, settings.WARM_PERIOD / 2)
    asked = warming.request(limit, budget, rucs, dry_run=dry_run, spread=spread, requested_by=requested_by)
    try:
        summary = warming.run(asked)
    except LeaseLost as error:
        return {**ALREADY_RUNNING, "error": str(error)}
    if summary is None and requested_by:
        delivery = warm_frequent_rucs.request.delivery_info or {}
        warming.record_refused(asked, again=bool(delivery.get("redelivered")))
    return dict(summary or ALREADY_RUNNING)


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def track_keys() -> Summary:
    """Record every active key of every node."""
    with renewed_lock(track_runs.LOCK, track_runs.LEASE_SECONDS) as held:
        return dict(key_tracking.track_keys()) if held else ALREADY_RUNNING


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def track_node(run: int, node: str) -> Summary:
    """One node of an inventory that `track_keys` began: sent by it, so that several workers list side by side."""
    return dict(key_tracking.track_node(run, node))


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def clear_service_cache(
    service: str,
    kind: str = "",
    pattern: str = "",
    dry_run: bool = True,
    with_answers: bool = False,
    run: int | None = None,
) -> Summary:
    """Remove one service's keys, or one kind of them, or those whose identifier matches the pattern (* and ?).

    Only counts unless `dry_run` is false. `with_answers`: stored answers too, which would be served again for free;
    `run`: the clearing of exactly this that is on record already: it begins, or goes on where its worker was killed.
    One that has failed is only told: who wants it resumed says so in the admin, by HTTP or with clear_cache --resume.
    """
    asked = clearing.request(service, kind, pattern, via="task", dry_run=dry_run, with_answers=with_answers)
    try:
        if run is None:
            return dict(clearing.clear(asked, patience=clearing.PATIENCE))
        recorded = clearing.of_request(run, asked)
        return dict(clearing.carry_out(recorded, patience=clearing.PATIENCE, revive=False))
    except (clearing.ClearingUnderWay, LeaseLost) as error:
        return {**ALREADY_RUNNING, "error": str(error)}


@shared_task(typing=False, soft_time_limit=100, time_limit=120)
@checked
def refresh_answers(service: str, kind: str, identifiers: list[str]) -> Summary:
    """Fetch anew what somebody was just shown an old answer of; what is fresh meanwhile is left alone and not paid."""
    return dict(lookup.refresh_many(service, kind, identifiers))


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def refill_node(node: str, run: int | None = None, requested_by: str = "") -> Summary:
    """Write the stored answers that belong to a node into it, for nothing: hottest first, nothing replaced.

    `run`: the refill that a health run asked for; without it this is one by hand, for `requested_by`.
    """
    try:
        return dict(refill.refill(node, run, requested_by, patience=refill.PATIENCE))
    except LeaseLost as error:
        return {**ALREADY_RUNNING, "error": str(error)}


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def copy_cache(replace: bool = False, requested_by: str = "") -> Summary:
    """Copy every live key to the cache of COPY_CACHE_URL and prove it; an interrupted copy goes on.

    `replace`: overwrite what is there, also newer answers.
    """
    try:
        return dict(copy_target.copy(replace=replace, requested_by=requested_by))
    except CannotCopy as error:
        return {"state": "refused", "error": redact(str(error))}
    except (CopyUnderWay, LeaseLost) as error:
        return {**ALREADY_RUNNING, "error": str(error)}


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def check_billing(run: int) -> Summary:
    """Go on with a billing run that somebody has confirmed, for a minute; then it is sent again, behind what waits.

    `run`: its number. One that is done, paused or cancelled is only told.
    """
    try:
        summary = billing_runs.take_turn(billing_runs.find(run))
    except (billing_runs.BillingUnderWay, LeaseLost) as error:
        return {**ALREADY_RUNNING, "error": str(error)}
    return dict(summary)


@shared_task(typing=False, soft_time_limit=45, time_limit=60)
@checked
def read_account() -> Summary:
    """Ask APIMIGO, for nothing and at most once an hour, how many queries the account has left."""
    return account.read_and_tell(timezone.now())


@shared_task(typing=False, soft_time_limit=280, time_limit=300)
@checked
def clean_up() -> Summary:
    """Drop what outlived its retention, in the cache and in the database."""

    def run() -> Summary:
        now = timezone.now()
        return {
            "state": "done",
            "cache": APICacheService().cleanup_expired(),
            "answers": answers.prune(now),
            "clearings": clearing.prune(now),
            **retention.prune(now),
        }

    return _exclusively("clean_up", 320, run)


def _exclusively(name: str, seconds: float, run: Callable[[], Summary]) -> Summary:
    with run_lock(name, seconds) as held:
        return run() if held else ALREADY_RUNNING


def _send_soon() -> bool:
    """Whether the broker takes tasks: while it is down none would come, Beat's neither, and alerts are sent here."""
    try:
        task_sending.send(str(deliver_alerts.name), {}, expires=50)
    except task_sending.BrokerDown as error:
        logger.warning("alerts are sent by the monitor itself, the broker did not take the task: %s", error)
        _deliver()
        return False
    return True


def _deliver() -> Summary:
    now = timezone.now()
    incidents.tick(now)
    channel_states.note_configured()
    written = telling.tell(now)
    return {"written": len(written), **dispatch.deliver_due(now)}


def _confirm_soon(number: int) -> None:
    """One more run, before the schedule's: what it says of an outage is known in seconds. The broker's trouble is not
    ours: the schedule runs anyway."""
    seconds = settings.HEALTH_CONFIRM_SECONDS
    if not seconds or number > CONFIRMATIONS:
        return
    kwargs = {"confirming": number}
    try:
        task_sending.send(str(monitor_cache_health.name), kwargs, countdown=seconds, expires=seconds + 60)
    except task_sending.BrokerDown as error:
        logger.warning("the next health run is that of the schedule, the broker did not take the task: %s", error)


@worker_process_shutdown.connect
@worker_shutdown.connect
def write_read_counts(**_kwargs: object) -> None:
    """Pool processes end without atexit: what they counted, and what still waits for the database, is written here."""
    group_commit.close_all()
    tracking.flush_at_end()
