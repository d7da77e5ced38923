"""What of a stored answer goes back to the cache, for how long, and what a node's counters say of it. Pure."""

from __future__ import annotations

from api_service.services.envelope import VERSION
from api_service.services.health_rules import NodeFacts, Since, hit_ratio, restarted

# What ends sooner would be gone before somebody asks for it
LEAST_LEFT = 5.0
# Answers that were written together must not end together
JITTER = 0.1
# A health run asks a node this often itself: probe, the application's path, refusals. A refill probes twice.
GETS_OF_A_HEALTH_RUN = 3

_FORM = b'{"v":%d,"t":%%.3f,"e":%%.3f,"d":%%b}' % VERSION


def ends_at(born_at: float, life: float, now: float, chance: float) -> float | None:
    """When the copy ends (Unix seconds): at most with the answer, up to 10 % of what is left earlier.

    None when too little is left. `chance` is from 0 to 1. An answer of a clock that runs ahead gets no longer life.
    """
    left = min(life, born_at + life - now)
    return None if left < LEAST_LEFT else now + left * (1 - JITTER * chance)


def enveloped(data: bytes, born_at: float, ends: float) -> bytes:
    """What `envelope.wrap` and the serializer make of the data, without parsing its JSON."""
    return _FORM % (born_at, ends, data)


def other_boot(now: NodeFacts, pid: int | None, booted_at: float | None) -> bool:
    """Whether the node is another process by now than the one with that id and boot time."""
    return restarted(now, NodeFacts(now.node, reachable=True, pid=pid, booted_at=booted_at))


def ratio_between(now: NodeFacts, before: NodeFacts | None, health_runs: int) -> float | None:
    """Hits over gets of the node since `before`, since its boot without one; None where nobody asked.

    `health_runs` that looked at the node meanwhile asked as well: that few gets are nobody's.
    """
    since = None if before is None else Since(before, 0.0)
    return hit_ratio(now, since) if _gets(now, before) > GETS_OF_A_HEALTH_RUN * (health_runs + 1) else None


def _gets(now: NodeFacts, before: NodeFacts | None) -> int:
    total = (now.hits or 0) + (now.misses or 0)
    earlier = 0 if before is None or restarted(now, before) else (before.hits or 0) + (before.misses or 0)
    # Counters can be set back without a restart
    return total - earlier if total >= earlier else total
