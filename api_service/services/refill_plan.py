"""What of a stored answer goes back to the cache, for how long, and what a node's counters say of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from api_service.services import keys
from api_service.services.backends.base import GETS_BESIDE, ROUND_TRIPS, Item
from api_service.services.envelope import VERSION
from api_service.services.node_facts import NodeFacts, OwnReads, increase, own_between, restarted

# What ends sooner would be gone before somebody asks for it
LEAST_LEFT = 5.0
# Answers that were written together must not end together
JITTER = 0.1
# A health run asks a node this often itself. A refill probes twice.
GETS_OF_A_HEALTH_RUN = ROUND_TRIPS + GETS_BESIDE

_FORM = b'{"v":%d,"t":%%.3f,"e":%%.3f,"d":%%b}' % VERSION


# (kind, name of the key, JSON in UTF-8, birth in Unix seconds)
Row: TypeAlias = tuple[str, str, bytes, float]
# Seconds that an answer of that kind holds, by its key's name and its birth
LifeOf: TypeAlias = Callable[[str, float], float]


def items(
    rows: Iterable[Row],
    prefix: str,
    lives: Mapping[str, float | LifeOf],
    stale: Mapping[str, float],
    now: float,
    chance: Callable[[], float],
) -> Iterator[Item]:
    """What to write of these answers: under the wire key, with the true birth, for what is left of their life.

    A copy ends with the answer at the latest, up to 10 % of what is left earlier as `chance` (0 to 1) has it; with too
    little left there is none. Past its end it stays for the `stale` seconds of its kind. An answer of a clock that runs
    ahead gets no longer life. The bytes are what `envelope.wrap` and the serializer make of the data, without parsing
    its JSON.

    All in one loop, as a hundred thousand pass: calls and named tuples made the usual way would take twice as long.
    """
    room, new = keys.MAX_KEY_BYTES - len(prefix), tuple.__new__
    for kind, name, data, born in rows:
        life = lives[kind]
        allowed = life(name, born) if callable(life) else life
        left = born + allowed - now
        if left < LEAST_LEFT:
            continue
        ends = now + min(allowed, left) * (1 - JITTER * chance())
        # What `normalize` leaves as it is; a name with a tilde is for that to decide
        plain = name.isascii() and name.isprintable() and " " not in name and "~" not in name and len(name) <= room
        key = name if plain else keys.normalize(name, len(prefix))
        yield new(Item, (prefix + key, _FORM % (born, ends, data), ends + stale[kind]))


def other_boot(now: NodeFacts, pid: int | None, booted_at: float | None) -> bool:
    """Whether the node is another process by now than the one with that id and boot time."""
    return restarted(now, NodeFacts(now.node, reachable=True, pid=pid, booted_at=booted_at))


def ratio_between(
    now: NodeFacts, before: NodeFacts | None, health_runs: int, own: Iterable[OwnReads] = ()
) -> float | None:
    """Hits over gets of the node since `before`, since its boot without one; None where nobody asked.

    Nor is there one where an operation of ours read on the node when one of the two was made.
    `health_runs` that looked at the node meanwhile asked as well: that few gets are nobody's. Nor are those in `own`.
    """
    hits, misses = _since(before, now)
    if (ours := own_between(own, (now.hits or 0) - hits, now.hits or 0)) is None:
        return None
    hits, misses = hits - ours.hits, max(0, misses - ours.misses)
    if hits + misses <= GETS_OF_A_HEALTH_RUN * (health_runs + 1):
        return None
    # Their round trips are all hits, and nobody's
    hits = max(0, hits - ROUND_TRIPS * health_runs)
    return hits / (hits + misses)


def _since(before: NodeFacts | None, now: NodeFacts) -> tuple[int, int]:
    """Hits and misses, since boot where the counters began anew meanwhile."""
    hits, misses = now.hits or 0, now.misses or 0
    if before is None or restarted(now, before):
        return hits, misses
    more_hits, more_misses = increase(hits, before.hits or 0), increase(misses, before.misses or 0)
    # Counters can be set back without a restart
    return (hits, misses) if more_hits is None or more_misses is None else (more_hits, more_misses)
