"""Look-ups added up in bounded memory until they are written: by outcome, by time taken, by identifier. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Final

from api_service.services import latencies
from api_service.services.latencies import Way
from api_service.services.outcomes import Outcome

# Distinct identifiers between two flushes; more are counted by outcome only. While one batch is written another fills
MAX_IDENTIFIERS = 50_000
# Services, kinds and outcomes are few; a caller that makes them up is counted under "(others)"
MAX_OUTCOMES = 1_000
OTHERS: Final = "(others)"
# Of the tables: what is longer would keep its whole batch from being written
LONGEST_NAME, LONGEST_IDENTIFIER = 50, 250

Identity = tuple[str, str, str]  # service, kind, identifier
Entry = tuple[str, str, str, Outcome, float, float | None]  # one look-up, its Unix time, and what it took if timed
OutcomeKey = tuple[str, str, Outcome]
OUTCOME_OF: Final = itemgetter(0, 1, 3)  # the key of an entry
Timed = tuple[str, Way, float]  # the service, how one look-up came by its end, and the seconds until then
TimeKey = tuple[str, Way, int]  # the last is the step that the time is in


def times_of(entries: Iterable[Entry]) -> dict[OutcomeKey, list[float]]:
    """What those took that were timed, from the shortest to the longest."""
    found: defaultdict[OutcomeKey, list[float]] = defaultdict(list)
    for entry in entries:
        if (seconds := entry[5]) is not None:
            found[OUTCOME_OF(entry)].append(seconds)
    for times in found.values():
        times.sort()
    return found


def by_way(timed: Iterable[Timed]) -> dict[tuple[str, Way], list[float]]:
    """What they took, by service and way: to find the steps of many times at once costs little more than of one."""
    found: defaultdict[tuple[str, Way], list[float]] = defaultdict(list)
    for service, way, seconds in timed:
        found[service, way].append(seconds)
    return found


@dataclass
class Batch:
    """What was counted since the last flush. Everything in it can be written."""

    reads: dict[Identity, int] = field(default_factory=dict)
    last_read: dict[Identity, float] = field(default_factory=dict)
    outcomes: Counter[OutcomeKey] = field(default_factory=Counter)
    times: Counter[TimeKey] = field(default_factory=Counter)
    dropped: int = 0

    def fold(self, entries: Iterable[Entry]) -> None:
        """Add look-ups up. On the path of a look-up at times: no calls for what is as usual."""
        reads, last_read, outcomes = self.reads, self.last_read, self.outcomes
        for service, kind, identifier, outcome, at, _seconds in entries:
            identity, key = (service, kind, identifier), (service, kind, outcome)
            if key in outcomes:
                outcomes[key] += 1
            else:
                outcomes[self._known(key)] += 1
            if identity in reads:
                reads[identity] += 1
                last_read[identity] = at
            else:
                self._add(identity, 1, at)

    def fold_times(self, service: str, way: Way, seconds: Iterable[float]) -> None:
        for bound, number in latencies.counted(seconds).items():
            self._add_times(service, way, bound, number)

    def absorb(self, older: Batch) -> None:
        """Take back what could not be written."""
        for (service, way, bound), number in older.times.items():
            self._add_times(service, way, bound, number)
        for key, number in older.outcomes.items():
            self.outcomes[self._known(key)] += number
        for identity, reads in older.reads.items():
            self._add(identity, reads, older.last_read[identity])
        self.dropped += older.dropped

    def parts(self, size: int) -> Iterator[Batch]:
        """Batches of at most `size` identifiers; the first one has the outcomes and the times."""
        first = Batch(outcomes=self.outcomes, times=self.times, dropped=self.dropped)
        identities = iter(self.reads)
        while (names := list(islice(identities, size))) or first.outcomes or first.times:
            first.reads = {name: self.reads[name] for name in names}
            first.last_read = {name: self.last_read[name] for name in names}
            yield first
            first = Batch()

    def _add(self, identity: Identity, reads: int, at: float) -> None:
        if identity in self.reads:
            self.reads[identity] += reads
            self.last_read[identity] = max(at, self.last_read[identity])
        elif len(self.reads) < MAX_IDENTIFIERS and _can_be_written(identity):
            self.reads[identity], self.last_read[identity] = reads, at
        else:
            self.dropped += reads

    def _add_times(self, service: str, way: Way, bound: int, number: int) -> None:
        key = (_name(service), way, bound)
        if key not in self.times and len(self.times) >= MAX_OUTCOMES:
            key = (OTHERS, way, bound)
        self.times[key] += number

    def _known(self, key: OutcomeKey) -> OutcomeKey:
        """The key to count under: no table takes a long name, no memory endless ones."""
        service, kind, outcome = _name(key[0]), _name(key[1]), key[2]
        if (service, kind, outcome) in self.outcomes or len(self.outcomes) < MAX_OUTCOMES:
            return service, kind, outcome
        return OTHERS, OTHERS, outcome


def _can_be_written(identity: Identity) -> bool:
    service, kind, identifier = identity
    fits = len(identifier) <= LONGEST_IDENTIFIER and identifier.isprintable()
    return fits and service == _name(service) and kind == _name(kind)


def _name(text: str) -> str:
    """What PostgreSQL refuses, a NUL or half a surrogate pair, is not printable either."""
    return text[:LONGEST_NAME] if text.isprintable() else OTHERS
