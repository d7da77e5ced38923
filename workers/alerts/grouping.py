"""A hundred nodes that fail together are one thing to say: steps of the same event and code. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event
from workers.alerts.facts import StepFacts
from workers.alerts.plain import plain

# Of each text from elsewhere: an address of 500 characters is cut, the admin has all of it
LIMITS = {"code": 50, "node": 100, "value": 300, "limit": 100, "by": 100, "note": 300, "backend": 20, "began_in": 100}
# What is worth reading first; of the same, the worse and the more
ORDER = (
    *(Event.ESCALATED, Event.OPENED, Event.WORSE, Event.FLAPPING, Event.REMINDED, Event.BETTER),
    *(Event.ACKNOWLEDGED, Event.MUTED, Event.UNMUTED, Event.SETTLED, Event.RESOLVED),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Never empty; `severity` is the worst that the steps lead to."""

    event: Event
    code: str
    severity: Severity
    steps: tuple[StepFacts, ...]

    @property
    def is_over(self) -> bool:
        return self.event is Event.RESOLVED

    @property
    def is_unjudged(self) -> bool:
        """Over without being well: it could not be judged any more."""
        return self.is_over and self.steps[0].get("unjudged", False)

    @property
    def nodes(self) -> list[str]:
        return [step["node"] for step in self.steps if step["node"]]


def grouped(steps: Iterable[StepFacts]) -> list[Group]:
    """Harmless and in the order of reading; nodes by name."""
    places: dict[tuple[Event, str, bool], list[StepFacts]] = {}
    for step in map(cleaned, steps):
        # What is well again and what nobody can judge are two things to say
        kind = Event(step["event"]), step["code"], step.get("unjudged", False)
        places.setdefault(kind, []).append(step)
    groups = [_group(event, code, found) for (event, code, _unjudged), found in places.items()]
    return sorted(groups, key=_place)


def cleaned(step: StepFacts) -> StepFacts:
    """The same with every text from elsewhere as one short line without control characters."""
    texts = {name: plain(step[name], limit) for name, limit in LIMITS.items() if isinstance(step[name], str)}  # type: ignore[literal-required]
    return {**step, **texts}  # type: ignore[typeddict-item]


def _group(event: Event, code: str, steps: list[StepFacts]) -> Group:
    worst = max((Severity(step["severity"]) for step in steps), key=RANK.__getitem__)
    return Group(event, code, worst, tuple(sorted(steps, key=lambda step: step["node"])))


def _place(group: Group) -> tuple[int, int, int, str]:
    return ORDER.index(group.event), -RANK[group.severity], -len(group.steps), group.code
