"""From what was read around the cache to findings: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from api_service.services.health_rules import Finding, Severity

ANSWERED: Final = "answered"


# -- broker and workers


@dataclass(frozen=True, slots=True)
class Queue:
    """Messages that wait; seconds since the oldest was sent, None where it does not say or there is none."""

    length: int
    oldest_seconds: float | None = None


def broker_down(error: str) -> Finding:
    """No task is started any more, neither by schedule nor by people."""
    return Finding("broker_down", Severity.UNHEALTHY, value=error)


def of_queues(queues: Mapping[str, Queue], most: int, oldest_seconds: float) -> Iterator[Finding]:
    for name, queue in queues.items():
        if queue.length > most:
            yield Finding("queue_long", Severity.WARNING, name, queue.length, most)
        if queue.oldest_seconds is not None and queue.oldest_seconds > oldest_seconds:
            yield Finding("queue_old", Severity.WARNING, name, round(queue.oldest_seconds), oldest_seconds)


def without_worker(
    queues: Collection[str], answered: Mapping[str, Collection[str]], own_queue: str
) -> tuple[list[str], list[str]]:
    """Queues that nobody serves, and those of which nobody can say.

    `answered`: queues by worker. When none answered this worker, which lives, the answers did not arrive at all.
    """
    served = {queue for of_worker in answered.values() for queue in of_worker} | {own_queue}
    rest = [queue for queue in queues if queue not in served]
    return ([], rest) if own_queue and not answered else (rest, [])


def workers_missing(queue: str, monitors_queue: str) -> Finding:
    """Without the monitor's own queue nothing is checked and no alert is sent."""
    severity = Severity.UNHEALTHY if queue == monitors_queue else Severity.WARNING
    return Finding("workers_missing", severity, queue)


# -- providers


@dataclass(frozen=True, slots=True)
class Calls:
    """Attempts of some minutes that ended in an answer, and those that ended without."""

    answered: int = 0
    failed: int = 0

    @property
    def error_share(self) -> float | None:
        total = self.answered + self.failed
        return self.failed / total if total else None

    @property
    def answering(self) -> bool | None:
        """None when nobody asked: nothing is known then."""
        return self.answered > 0 if self.answered + self.failed else None


def calls_of(by_outcome: Mapping[str, int]) -> Calls:
    return Calls(
        answered=by_outcome.get(ANSWERED, 0),
        failed=sum(number for outcome, number in by_outcome.items() if outcome != ANSWERED),
    )


def of_calls(service: str, calls: Calls, most_share: float, least_calls: int) -> Iterator[Finding]:
    """A failure of two calls is no share worth waking anybody for."""
    share = calls.error_share
    if share is not None and calls.answered + calls.failed >= least_calls and share > most_share:
        yield Finding("upstream_errors", Severity.WARNING, service, round(share, 3), most_share)


# -- database, inventories, old answers


def of_database(round_trip_ms: float, most_ms: float) -> Iterator[Finding]:
    if round_trip_ms > most_ms:
        yield Finding("database_slow", Severity.WARNING, value=round(round_trip_ms, 1), limit=most_ms)


def of_store(read_ms: float, limit_ms: float, tripped: Iterable[str]) -> Iterator[Finding]:
    """`tripped`: what this process has stopped waiting for. A limit of 0 waits as long as it takes."""
    names = sorted(tripped)
    if names:
        yield Finding("answer_store_off", Severity.WARNING, value=", ".join(names))
    elif limit_ms and read_ms > limit_ms:
        yield Finding("answer_store_off", Severity.WARNING, value=f"{read_ms:.0f} ms > {limit_ms:.0f} ms")


def read_counts_waiting() -> Finding:
    """By the process that runs the check: others may be well."""
    return Finding("read_counts_waiting", Severity.WARNING)


def of_inventories(ages: Mapping[str, float | None], most_seconds: float) -> Iterator[Finding]:
    """`ages`: seconds since each node's last complete listing; None where no inventory was ever begun."""
    for node, age in ages.items():
        if age is not None and age > most_seconds:
            yield Finding("tracking_old", Severity.WARNING, node, round(age), most_seconds)


def share_of(part: int, whole: int | None) -> float | None:
    """None where the whole is not known. Counted at two places, the part may be ahead of the whole for a moment."""
    return None if not whole else min(1.0, part / whole)
