"""Sends what the outbox holds: each channel in a thread of its own, the database in the caller's.

At least once: a sender killed between the send and the mark is followed by another after the lease.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict

from django.db import transaction

from api_service.models import Delivery
from api_service.services.redaction import redact
from workers.alerts import channel_states, messages, outbox
from workers.alerts.backoff import gives_up, next_attempt
from workers.alerts.channels import ChannelError, channel

logger = logging.getLogger(__name__)

# Its task ends after 45 s, and may have begun with a health run of 8 s; what is left is for the next one
BEGUN_WITHIN = 20.0


class DeliverySummary(TypedDict):
    """`sent`, `retried` and `failed` of this run; `waiting` is what stays pending."""

    sent: int
    retried: int
    failed: int
    waiting: int


@dataclass
class _Round:
    """One run of `deliver_due`. `clock` gives the present; `left` is how many rows may still be claimed."""

    clock: Callable[[], datetime]
    ends_at: datetime
    left: int
    summary: DeliverySummary = field(default_factory=lambda: DeliverySummary(sent=0, retried=0, failed=0, waiting=0))

    def claim(self, name: str) -> Delivery | None:
        if self.left <= 0 or self.clock() >= self.ends_at:
            return None
        delivery = outbox.claim_next(self.clock(), name)
        self.left -= delivery is not None
        return delivery


def deliver_due(now: datetime, limit: int = 50, deadline: float = BEGUN_WITHIN) -> DeliverySummary:
    """Sends what is due. Nothing new is begun after `deadline` seconds; what is on its way then is waited for."""
    failed = channel_states.give_up_waiting(now)
    names = sorted(set(outbox.due(now).order_by().values_list("channel", flat=True)))
    round_ = _Round(_clock_from(now), now + timedelta(seconds=deadline), limit)
    round_.summary["failed"] += failed
    if names:
        with ThreadPoolExecutor(max_workers=len(names), thread_name_prefix="alerts") as pool:
            _run(round_, names, pool)
    round_.summary["waiting"] = Delivery.objects.filter(state=Delivery.State.PENDING).count()
    return round_.summary


def _clock_from(now: datetime) -> Callable[[], datetime]:
    started = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - started)


def _run(round_: _Round, names: list[str], pool: ThreadPoolExecutor) -> None:
    """One message of each channel on its way at a time; a channel that fails has its next turn in the next run."""
    on_the_way: dict[Future[None], Delivery] = {}
    for name in names:
        _start(round_, name, pool, on_the_way)
    while on_the_way:
        for future in wait(on_the_way, return_when=FIRST_COMPLETED).done:
            delivery = on_the_way.pop(future)
            if _settle(round_, delivery, future):
                _start(round_, delivery.channel, pool, on_the_way)


def _start(round_: _Round, name: str, pool: ThreadPoolExecutor, on_the_way: dict[Future[None], Delivery]) -> None:
    delivery = round_.claim(name)
    if delivery is not None:
        on_the_way[pool.submit(_send, delivery)] = delivery


def _send(delivery: Delivery) -> None:
    """Runs in a thread of the channel: no query in here."""
    addressee = channel(delivery.channel)
    message = messages.of_delivery(delivery)
    addressee.send(message)


def _settle(round_: _Round, delivery: Delivery, future: Future[None]) -> bool:
    """Writes how the send ended; whether the channel may have its next message now."""
    now = round_.clock()
    try:
        future.result()
    except ChannelError as error:
        return _refused(round_, delivery, error, now)
    except Exception as error:
        # One message that cannot be written must not stop the others
        logger.exception("Delivery %d to %s could not be sent", delivery.pk, delivery.channel)
        _refused(round_, delivery, ChannelError(f"{type(error).__name__}: {error}"), now)
        return True
    channel_states.succeeded(delivery.channel, now)
    if outbox.mark_sent(delivery, now):
        logger.info("Delivery %d arrived at %s", delivery.pk, delivery.channel)
        round_.summary["sent"] += 1
    return True


def _refused(round_: _Round, delivery: Delivery, error: ChannelError, now: datetime) -> bool:
    """Whether the channel may have its next message."""
    text = redact(str(error))
    if error.arrived:
        outbox.note_arrived(delivery, error.arrived)
    if error.permanent:
        round_.summary["failed"] += _switched_off(delivery, text, now)
        return False
    if gives_up(delivery.created_at, now):
        logger.error("Delivery %d to %s failed for good: %s", delivery.pk, delivery.channel, text)
        round_.summary["failed"] += outbox.mark_failed(delivery, text)
        return True
    _try_later(round_, delivery, error, text, now)
    return False


def _switched_off(delivery: Delivery, text: str, now: datetime) -> bool:
    """One transaction: killed in the middle, the delivery is due again and the channel refuses again."""
    with transaction.atomic():
        ended = outbox.mark_failed(delivery, text)
        if ended:
            channel_states.switch_off(delivery.channel, text, now)
    logger.error("Delivery %d to %s failed for good: %s", delivery.pk, delivery.channel, text)
    return ended


def _try_later(round_: _Round, delivery: Delivery, error: ChannelError, text: str, now: datetime) -> None:
    due_at = next_attempt(delivery.attempts, error.retry_after, now, chance=random.random())  # noqa: S311 - jitter
    logger.warning("Delivery %d to %s is tried again at %s: %s", delivery.pk, delivery.channel, due_at, text)
    round_.summary["retried"] += outbox.put_back(delivery, due_at, text)
    if error.retry_after is None:
        channel_states.failed(delivery.channel, text, now)
    else:
        channel_states.rest(delivery.channel, error.retry_after, now, text)
