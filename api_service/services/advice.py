"""What to do about a finding, in the active language. Whoever writes the alerts knows, and registers itself here.

So that the pages say the same as the message in Slack, without this package knowing who sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Advice:
    """`what` is the finding in a sentence, `runbook` the address of its entry, "" where none is set."""

    what: str
    meaning: str
    cause: str
    next_step: str
    runbook: str


# Code, node, value and limit of an incident
Adviser: TypeAlias = Callable[[str, str, float | str, float | str], Advice]

_advisers: list[Adviser] = []


def register(adviser: Adviser) -> None:
    """One that is registered later is asked instead of those before it."""
    _advisers.append(adviser)


def of(code: str, node: str, value: float | str, limit: float | str) -> Advice | None:
    """None where nobody is registered."""
    return _advisers[-1](code, node, value, limit) if _advisers else None
