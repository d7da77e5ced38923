"""What a finding is, and the verdict that follows from those that count: pure. The rules of nodes: `node_rules.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """The verdict's scale, best first."""

    HEALTHY = "healthy"
    WARNING = "warning"
    UNHEALTHY = "unhealthy"


RANK = {Severity.HEALTHY: 0, Severity.WARNING: 1, Severity.UNHEALTHY: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is stable: the runbook has an entry for each.

    `since` is the first run in a row that saw it; `counts` is false until enough of the last runs did.
    """

    code: str
    severity: Severity
    node: str = ""
    value: float | str = ""
    limit: float | str = ""
    since: datetime | None = None
    counts: bool = True

    def as_json(self) -> dict[str, Any]:
        since = self.since.isoformat() if self.since else None
        return {**asdict(self), "severity": self.severity.value, "since": since}


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: (-RANK[finding.severity], finding.code, finding.node))


def upstream_refused(service: str, said: str) -> Finding:
    """The provider takes neither token nor plan: what is cached is served, everything else fails."""
    return Finding("upstream_refused", Severity.WARNING, service, said)


def stale_served(service: str, said: str) -> Finding:
    """Callers were shown answers past their life, as no newer ones could be had; `said`: how many, how old, and why."""
    return Finding("stale_served", Severity.WARNING, service, said)


def reading_blind(what: str, why: str) -> Finding:
    """Nobody can say how it stands: `what` is the name of a reading around the cache, or a node without statistics."""
    return Finding("reading_blind", Severity.WARNING, what, why)


def verdict(found: Iterable[Finding]) -> Severity:
    """Of the findings that count."""
    counting = (finding.severity for finding in found if finding.counts)
    return max(counting, key=RANK.__getitem__, default=Severity.HEALTHY)
