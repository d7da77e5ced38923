"""The outbox table: which row is next, who has it, how it ended. Every step is one conditional UPDATE."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from api_service.models import ChannelState, Delivery, Transition
from workers.alerts.backoff import LONGEST_REST

# Longer than any send lasts: who takes a row over knows that the other sender is dead
LEASE = timedelta(seconds=120)
ERROR_LENGTH = Delivery._meta.get_field("error").max_length or 300


def due(now: datetime) -> QuerySet[Delivery]:
    """Rows to send now, oldest first.

    What tells more of an incident waits until what the channel is to hear of it before has arrived or been given up.
    Nothing goes to a channel that is off, or that asked to be left alone until later.
    """
    # By way of the incidents: pair by pair, a thousand that wait for a channel that is down took seconds
    of_same_incident = "incident__transitions__notice__deliveries"
    older = Transition.objects.filter(
        **{
            "notice": OuterRef("notice"),
            f"{of_same_incident}__channel": OuterRef("channel"),
            f"{of_same_incident}__state": Delivery.State.PENDING,
            f"{of_same_incident}__pk__lt": OuterRef("pk"),
        }
    )
    # One that ends later than any may was made by a clock that was ahead
    resting = Q(resting_until__gt=now, resting_until__lte=now + LONGEST_REST)
    quiet = ChannelState.objects.filter(Q(disabled_at__isnull=False) | resting, name=OuterRef("channel"))
    pending = Delivery.objects.filter(_is_free(now), state=Delivery.State.PENDING, due_at__lte=now)
    return pending.exclude(Exists(older)).exclude(Exists(quiet)).order_by("pk")


def _is_free(now: datetime) -> Q:
    return Q(leased_until__isnull=True) | Q(leased_until__lte=now)


def claim_next(now: datetime, addressee: str) -> Delivery | None:
    """The addressee's next row, leased to the caller; rows that another worker takes first are passed over."""
    for pk in due(now).filter(channel=addressee).values_list("pk", flat=True)[:50]:
        if _claim(pk, now):
            return Delivery.objects.get(pk=pk)
    return None


def _claim(pk: int, now: datetime) -> bool:
    return due(now).filter(pk=pk).order_by().update(leased_until=now + LEASE, attempts=F("attempts") + 1) == 1


def mark_sent(delivery: Delivery, now: datetime) -> bool:
    return _end(delivery, state=Delivery.State.SENT, sent_at=now, error="")


def mark_failed(delivery: Delivery, error: str) -> bool:
    return _end(delivery, state=Delivery.State.FAILED, error=error[:ERROR_LENGTH])


def put_back(delivery: Delivery, due_at: datetime, error: str) -> bool:
    return _end(delivery, due_at=due_at, error=error[:ERROR_LENGTH])


def note_arrived(delivery: Delivery, parts: Iterable[str]) -> None:
    """What of it arrived before the rest failed: the next attempt leaves it out."""
    known: list[str] = delivery.facts.get("arrived", [])
    _ours(delivery).update(facts={**delivery.facts, "arrived": [*known, *parts]})


def _end(delivery: Delivery, **values: object) -> bool:
    """False when the lease ran out and another worker claimed the row since: its outcome counts, not ours."""
    return _ours(delivery).update(leased_until=None, **values) == 1


def _ours(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PENDING, attempts=delivery.attempts)


def give_up_waiting(addressee: str, reason: str, now: datetime) -> int:
    """What waits for a channel that is off ends as failed, to be tried again by hand; what is on its way does not."""
    waiting = Delivery.objects.filter(_is_free(now), channel=addressee, state=Delivery.State.PENDING)
    return waiting.update(state=Delivery.State.FAILED, leased_until=None, error=reason[:ERROR_LENGTH])
