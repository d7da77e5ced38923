"""Whether a copy arrived: every key is looked for in a new list of the target, a sample of values is compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import time

from api_service.services.backends import Adapter, Deadline, InventoryError
from api_service.services.copy_checks import Job
from api_service.services.copy_plan import Marks, Sample, Verdict, compare
from api_service.services.inventory import batches

LIST_SECONDS = 3600.0
COMPARED_AT_ONCE = 200  # values may have a megabyte each
RENEW_EVERY = 10_000


@dataclass(slots=True)
class Proof:
    """`missing`: copied, not there, and its end has not come. `unproved`: node → why it could not be asked."""

    missing: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    unproved: dict[str, str] = field(default_factory=dict)

    @property
    def checked(self) -> int:
        return sum(self.verdicts.values())

    @property
    def differing(self) -> int:
        return self.verdicts[Verdict.DIFFERS] + self.verdicts[Verdict.MISSING]


def prove(job: Job, copied: Marks, sample: Sample, started: float, proof: Proof, alive: Callable[[], None]) -> None:
    """Fill in `proof`. `started`: Unix seconds; `alive` is called while it goes on."""
    proof.missing = copied.missing_from(_listed(job, proof, alive), time())
    for names in batches(sample.keys(), COMPARED_AT_ONCE):
        alive()
        source, target = _values(job.source, names, proof), _values(job.target, names, proof)
        now = time()
        for name in names:
            if name in source.unasked or name in target.unasked:
                continue
            proof.verdicts[compare(source.values.get(name), target.values.get(name), started, now)] += 1


def _listed(job: Job, proof: Proof, alive: Callable[[], None]) -> Marks:
    """Keys on the target where it looks for them; those of a node that cannot be listed will be missing."""
    there = Marks()
    for node in job.target.nodes():
        try:
            entries = job.target.scan(node, job.wire_prefix, Deadline.after(LIST_SECONDS))
            for number, entry in enumerate(entries):
                if job.target.node_for(entry.key) == node:
                    there.add(entry.key, entry.expires_at)
                if number % RENEW_EVERY == 0:
                    alive()
        except InventoryError as error:
            proof.unproved[node] = error.reason
    return there


@dataclass(frozen=True, slots=True)
class _Values:
    values: Mapping[str, bytes]
    unasked: frozenset[str]


def _values(adapter: Adapter, names: Iterable[str], proof: Proof) -> _Values:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        places[adapter.node_for(name)].append(name)
    values: dict[str, bytes] = {}
    unasked: set[str] = set()
    for node, wanted in places.items():
        try:
            values |= adapter.read(node, wanted).values
        except InventoryError as error:
            proof.unproved[node] = error.reason
            unasked.update(wanted)
    return _Values(values, frozenset(unasked))
