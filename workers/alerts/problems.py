"""One group of steps as people read it: what, where, since when, what users notice, why, what to do, where to look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from api_service.admin import words
from api_service.models import Incident
from api_service.services.incident_facts import Event
from workers.alerts import wording
from workers.alerts.explanations import Explained, explain
from workers.alerts.facts import StepFacts
from workers.alerts.grouping import Group

RUNBOOK = "docs/runbook.md"
# Somebody is to do something
EXPLAINED = frozenset({Event.OPENED, Event.WORSE, Event.ESCALATED, Event.REMINDED, Event.FLAPPING, Event.UNMUTED})


@dataclass(frozen=True, slots=True)
class Problem:
    """`is_unjudged`: over without being well. `what` has a line for each fact. `meaning`, `cause` and `next_step` are
    empty when there is nothing to do; `advice` has a labelled line for each of them that is not.
    """

    code: str
    event: str
    severity: str
    is_unjudged: bool
    title: str
    what: tuple[str, ...]
    meaning: str
    cause: str
    next_step: str
    advice: tuple[str, ...]
    runbook: str
    link: str
    steps: tuple[StepFacts, ...]

    def lines(self) -> tuple[str, ...]:
        return (*self.what, *self.advice)


def problem_of(group: Group, at: datetime) -> Problem:
    """`at` is when the message was written."""
    first = group.steps[0]
    explained = explain(first)
    # What is over or taken care of needs no advice
    known = explained if group.event in EXPLAINED else Explained(explained.what, "", "", "")
    return Problem(
        code=group.code,
        event=group.event.value,
        severity=group.severity.value,
        is_unjudged=group.is_unjudged,
        title=wording.title(group, words.word(words.FINDINGS, group.code)),
        what=tuple(_facts(group, explained.what, at)),
        meaning=known.meaning,
        cause=known.cause,
        next_step=known.next_step,
        advice=tuple(_advice(known)),
        runbook=runbook_url(group.code),
        link=admin_url("incident", first["incident"]) if len(group.steps) == 1 else list_url(),
        steps=group.steps,
    )


def _advice(known: Explained) -> Iterator[str]:
    if known.meaning:
        yield _("What users notice: %(text)s") % {"text": known.meaning}
    if known.cause:
        yield _("Likely cause: %(text)s") % {"text": known.cause}
    if known.next_step:
        yield _("What to do: %(text)s") % {"text": known.next_step}


def _facts(group: Group, what: str, at: datetime) -> Iterator[str]:
    if len(group.steps) == 1:
        yield what
    elif group.nodes:
        yield wording.listed(group.nodes)
    yield from _times(group, at)
    if group.event is Event.WORSE or group.event is Event.BETTER:
        yield _change(group.steps[0])
    if windows := sorted({step["began_in"] for step in group.steps if step["began_in"]}):
        yield _("Began during the maintenance «%(names)s»") % {"names": ", ".join(windows)}
    yield from _people(group.steps)


def _times(group: Group, at: datetime) -> Iterator[str]:
    """Of several incidents the first one's beginning; what is over is told by the longest."""
    since = min(group.steps, key=lambda step: step["since"])["since"]
    begun = datetime.fromisoformat(since)
    start = wording.local_time(begun)
    if group.is_unjudged:
        yield _("Since %(start)s") % {"start": start}
        yield _(
            "For too long it could not be judged (too little traffic, or its node is down). It is told again if it is "
            "seen again."
        )
    elif group.is_over:
        longest = max(step["duration_seconds"] or 0.0 for step in group.steps)
        yield _("It lasted %(duration)s, since %(start)s") % {"duration": wording.duration(longest), "start": start}
    elif group.event in {Event.REMINDED, Event.ESCALATED}:
        lasted = wording.duration((at - begun).total_seconds())
        yield _("Open for %(duration)s, since %(start)s") % {"duration": lasted, "start": start}
    else:
        yield _("Since %(start)s") % {"start": start}
    if group.event is Event.FLAPPING:
        flaps = max(step["flaps"] for step in group.steps)
        yield _("It came or went %(flaps)d times lately; no more is told until it keeps still.") % {"flaps": flaps}


def _change(step: StepFacts) -> str:
    severities = {"now": wording.SEVERITIES[step["severity"]], "before": wording.SEVERITIES[step["previous"]]}
    return _("Now «%(now)s», was «%(before)s»") % severities


def _people(steps: Sequence[StepFacts]) -> Iterator[str]:
    """Several may have done the same to incidents of one group: none of them speaks for all."""
    if names := _each(step["by"] for step in steps):
        yield _("By %(name)s") % {"name": wording.listed(names)}
    if notes := _each(step["note"] for step in steps):
        yield _("Note: %(note)s") % {"note": wording.listed(notes)}
    if times := _each(step["muted_until"] or "" for step in steps if step["event"] == Event.MUTED):
        told = [wording.local_time(datetime.fromisoformat(time)) for time in sorted(times)]
        yield _("Until %(time)s") % {"time": wording.listed(told)}


def _each(texts: Iterable[str]) -> list[str]:
    """Without the empty ones, none twice."""
    return [text for text in dict.fromkeys(texts) if text]


def runbook_url(code: str) -> str:
    return f"{settings.RUNBOOK_URL or RUNBOOK}#{code}"


def admin_url(model: str, pk: int) -> str:
    return settings.PUBLIC_URL + reverse(f"admin:{Incident._meta.app_label}_{model}_change", args=[pk])


def list_url() -> str:
    return settings.PUBLIC_URL + reverse(f"admin:{Incident._meta.app_label}_incident_changelist")
