"""What a reading is: one look at something around the cache, with the codes of the findings that it can make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from api_service.services.health_rules import Finding, reading_blind

JSONDict: TypeAlias = dict[str, Any]
# Code and node of a finding that could be judged neither way; ANY is every node of that code
Unjudged: TypeAlias = tuple[str, str]
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Moment:
    """When a run reads, and where: `own_queue` is that of the task which runs it, "" outside of a worker."""

    now: datetime
    own_queue: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reading saw. What is in neither `findings` nor `unknown` is well."""

    facts: JSONDict
    findings: Sequence[Finding] = ()
    unknown: frozenset[Unjudged] = field(default_factory=frozenset)


Look: TypeAlias = Callable[[Moment], Seen]


@dataclass(frozen=True, slots=True)
class Reading:
    """Looks; when it could not, says that nobody sees there, and which codes are unknown."""

    codes: tuple[str, ...]
    look: Look

    def __call__(self, moment: Moment) -> Seen:
        return self.look(moment)

    def blind(self, name: str, why: str) -> Seen:
        return Seen({"error": why}, [reading_blind(name, why)], unjudged(*self.codes))


def judges(*codes: str) -> Callable[[Look], Reading]:
    """Marks a function as a reading that makes findings of these codes."""
    return lambda look: Reading(codes, look)


def unjudged(*codes: str) -> frozenset[Unjudged]:
    return frozenset((code, ANY) for code in codes)
