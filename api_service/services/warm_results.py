"""What became of the answers that warm runs loaded: read in time, or loaded for nobody. The next runs learn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Q, Sum

from api_service.models import WarmedAnswer, WarmRun
from api_service.services.bounded import DatabaseThread

Identity: TypeAlias = tuple[str, str, str]  # service, kind, identifier

AT_ONCE: Final = 1000
# Reads are counted in batches: the last of them arrive a little later than they happened
LATE: Final = timedelta(minutes=2)
KEPT: Final = timedelta(days=14)
# Seconds for one batch, a thousand rows
LONGEST_WAIT: Final = 20.0
# The policy is believed like this many warms that went exactly as it said
BELIEVED: Final = 200
LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Warmed:
    """`chance` of a read that the policy saw, None for what was asked for by name; times are Unix seconds."""

    identifier: str
    chance: float | None
    warmed_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Experience:
    """Of the warms that have ended: how many, how many of them the policy saw being read, how many were."""

    warms: int = 0
    foreseen: float = 0.0
    useful: int = 0


def calibration(seen: Experience) -> float:
    """What the policy's expectations are to be multiplied by, as the last weeks had it. Pure.

    Few warms say little: the policy's own word counts like BELIEVED of them. Never beyond a factor of four.
    """
    if seen.warms == 0 or seen.foreseen <= 0:
        return 1.0
    share = seen.foreseen / seen.warms
    factor = (seen.useful + BELIEVED * share) / (seen.foreseen + BELIEVED * share)
    return min(MOST_FACTOR, max(LEAST_FACTOR, factor))


_RECORD = """
INSERT INTO api_service_warmedanswer (run_id, service, kind, identifier, chance, warmed_at, ends_at)
SELECT %s, %s, %s, identifier, chance, warmed_at, ends_at FROM ({given}) AS given WHERE true
"""
_SUPERSEDE = """
UPDATE api_service_warmedanswer SET ends_at = given.warmed_at FROM ({given}) AS given
WHERE api_service_warmedanswer.identifier = given.identifier AND service = %s AND kind = %s
    AND read_at IS NULL AND api_service_warmedanswer.ends_at > given.warmed_at
"""


def record(run: WarmRun, service: str, kind: str, warmed: Sequence[Warmed]) -> None:
    """Note what a run loaded; one that is loaded again before anybody read it was for nobody."""
    rows = [(one.identifier, one.chance, one.warmed_at, one.ends_at) for one in warmed]
    given, common = orjson.dumps(rows).decode(), [service, kind]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_SUPERSEDE.format(given=_given()), [given, *common])
        cursor.execute(_RECORD.format(given=_given()), [run.pk, *common, given])


class Recorder:
    """Records what a run loads, batch by batch, on a thread of its own: meanwhile the run's next calls are made.

    A failure is raised by what is asked of it next. Inside a transaction, and where the answer store's limit is 0, all
    happens in the caller's own thread.
    """

    def __init__(self, run: WarmRun, service: str, kind: str) -> None:
        self._record = partial(record, run, service, kind)
        self._thread = DatabaseThread("warm-results")
        self._under_way: Future[None] | None = None

    def note(self, warmed: Sequence[Warmed]) -> None:
        if connection.in_atomic_block or settings.ANSWER_STORE_SECONDS <= 0:
            self._record(warmed)
            return
        self._wait()
        self._under_way = self._thread.submit(partial(self._record, warmed))

    def close(self) -> None:
        """All is recorded, or raised why not."""
        try:
            self._wait()
        finally:
            self._thread.stop(LONGEST_WAIT)

    def _wait(self) -> None:
        before, self._under_way = self._under_way, None
        if before is not None:
            before.result(LONGEST_WAIT)


def _given() -> str:
    """A SELECT of the rows, one JSON parameter: models and arrays cost the client ten times as much."""
    if connection.vendor == "postgresql":
        values = (
            "item->>0 AS identifier, (item->>1)::double precision AS chance, "
            "to_timestamp((item->>2)::double precision) AS warmed_at, "
            "to_timestamp((item->>3)::double precision) AS ends_at"
        )
        return f"SELECT {values} FROM json_array_elements(%s::json) AS items(item)"  # noqa: S608
    moment = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', value->>{}, 'unixepoch')"
    values = (
        f"value->>0 AS identifier, value->>1 AS chance, {moment.format(2)} AS warmed_at, {moment.format(3)} AS ends_at"
    )
    return f"SELECT {values} FROM json_each(%s)"  # noqa: S608


def note_reads(reads: Mapping[Identity, float]) -> None:
    """Mark the loaded answers that these reads (identity -> Unix seconds of the last one) were served by."""
    names = sorted(reads)
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        unread = WarmedAnswer.objects.filter(identifier__in=[name for _, _, name in part], read_at__isnull=True)
        for row in unread:
            at = reads.get((row.service, row.kind, row.identifier))
            if at is not None and row.warmed_at <= (moment := _moment(at)) < row.ends_at:
                WarmedAnswer.objects.filter(pk=row.pk).update(read_at=moment)


def settle(now: datetime) -> int:
    """Sum up the runs all of whose answers have ended; the number of runs. One that loaded nothing has no sum."""
    open_ones = WarmRun.objects.filter(useful__isnull=True, warmed__isnull=False).exclude(state=WarmRun.State.RUNNING)
    ended = open_ones.annotate(last=Max("warmed__ends_at"), loaded=Count("warmed"), read=Count("warmed__read_at"))
    runs = list(ended.filter(last__lt=now - LATE))
    for run in runs:
        run.useful, run.wasted = run.read, run.loaded - run.read
        run.save(update_fields=["useful", "wasted"])
    return len(runs)


def experience(now: datetime) -> Experience:
    """Of the last two weeks, of what the policy chose."""
    rows = WarmedAnswer.objects.filter(ends_at__lt=now - LATE, chance__isnull=False)
    sums = rows.aggregate(
        warms=Count("pk"), foreseen=Sum("chance"), useful=Count("pk", filter=Q(read_at__isnull=False))
    )
    return Experience(sums["warms"], sums["foreseen"] or 0.0, sums["useful"])


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
