"""Who lists which node of an inventory. Every step is one conditional UPDATE; a claim is a lease that is renewed.

A worker that dies leaves a lease that ends by itself: the node is then anybody's. What a worker does after it lost its
claim does not count.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from socket import gethostname
from threading import Event, Thread

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from api_service.models import NodeListing, TrackRun
from api_service.services.backends.base import Deadline

logger = logging.getLogger(__name__)

State = TrackRun.State
UNFINISHED = (State.WAITING, State.RUNNING)
# Long enough for a renewal that waits for another's transaction on SQLite (20 s), and for one that failed
LEASE = timedelta(seconds=60)
RENEW_SECONDS = 2.0
ERROR_LENGTH = NodeListing._meta.get_field("error").max_length or 300


def unfinished(run: int) -> QuerySet[NodeListing]:
    return NodeListing.objects.filter(run=run, state__in=UNFINISHED)


def claim_next(run: int, now: datetime) -> NodeListing | None:
    """A node of the run that nobody lists, now leased to the caller; those that another takes first are passed over."""
    for pk in _free(now).filter(run=run).order_by("pk").values_list("pk", flat=True):
        if listing := _claim(pk, now):
            return listing
    return None


def claim(run: int, node: str, now: datetime) -> NodeListing | None:
    """That node, unless another worker lists it or has listed it, or the run is closed."""
    pk = _free(now).filter(run=run, node=node).values_list("pk", flat=True).first()
    return _claim(pk, now) if pk is not None else None


def _free(now: datetime) -> QuerySet[NodeListing]:
    """No join: PostgreSQL checks conditions again only on the row itself when two claim it at the same moment."""
    lapsed = Q(state=State.RUNNING, leased_until__lte=now)
    open_runs = TrackRun.objects.filter(state=State.RUNNING).values("pk")
    return NodeListing.objects.filter(Q(state=State.WAITING) | lapsed, run_id__in=open_runs)


def _claim(pk: int, now: datetime) -> NodeListing | None:
    taken = (
        _free(now)
        .filter(pk=pk)
        .update(
            state=State.RUNNING,
            worker=f"{gethostname()}:{os.getpid()}"[:100],
            attempts=F("attempts") + 1,
            leased_until=now + LEASE,
            listed_at=now,
            keys=0,
        )
    )
    return NodeListing.objects.get(pk=pk) if taken else None


@contextmanager
def renewed(listing: NodeListing, keys: Callable[[], int], deadline: Deadline) -> Iterator[None]:
    """While the work lasts: renew the lease, and write how many `keys` were read so far."""
    done = Event()

    def renew() -> None:
        try:
            while not done.wait(RENEW_SECONDS) and deadline.left():
                _renew(listing, keys(), timezone.now())
        finally:
            connections.close_all()

    thread = Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(RENEW_SECONDS)


def _renew(listing: NodeListing, keys: int, now: datetime) -> None:
    try:
        _own(listing).update(leased_until=now + LEASE, keys=keys)
    except (DatabaseError, InterfaceError) as error:
        # There is time for more tries, and nothing is lost but the claim
        logger.warning("the claim on %s could not be renewed: %s", listing.node, error)


def finish(listing: NodeListing, **values: object) -> bool:
    """False when the claim was lost, to another worker or with the run."""
    return _own(listing).update(leased_until=None, **values) == 1


def give_up(run: int, error: str, now: datetime) -> list[str]:
    """End what is still unfinished; the names of these nodes."""
    ended = {"state": State.FAILED, "leased_until": None, "finished_at": now, "error": error}
    return [row.node for row in unfinished(run) if unfinished(run).filter(pk=row.pk).update(**ended)]


def _own(listing: NodeListing) -> QuerySet[NodeListing]:
    return NodeListing.objects.filter(pk=listing.pk, state=State.RUNNING, attempts=listing.attempts)
