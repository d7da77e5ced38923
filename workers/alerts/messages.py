"""The text of an alert, from its facts, in the language of ALERT_LANGUAGE. Channels only lay it out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext, pgettext_lazy

from api_service.models import Delivery, Incident
from workers.alerts.explanations import explain
from workers.alerts.facts import Facts, FindingFacts

RUNBOOK = "docs/runbook.md"

TITLES = {
    "opened": gettext_lazy("Cache: trouble found"),
    "worse": gettext_lazy("Cache: the trouble has become worse"),
    "recovered": gettext_lazy("Cache: everything works again"),
    "test": gettext_lazy("TEST: this is not an incident"),
}
# With a context: these words are also labels elsewhere, where another translation may suit better
SEVERITIES = {
    "healthy": pgettext_lazy("alert", "healthy"),
    "warning": pgettext_lazy("alert", "warning"),
    "unhealthy": pgettext_lazy("alert", "unhealthy"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """`meaning` and `next_step` are empty once it is over."""

    code: str
    node: str
    what: str
    meaning: str
    next_step: str
    runbook: str

    def lines(self) -> list[str]:
        return [
            self.what,
            *([self.meaning] if self.meaning else []),
            *([f"→ {self.next_step}"] if self.next_step else []),
        ]


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is the same however often the message is sent: an addressee that knows it drops the second one."""

    id: str
    event: str
    severity: str
    backend: str
    at: datetime
    title: str
    summary: str
    details: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]
    link: str
    link_text: str

    @property
    def text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (self.title, self.summary, "")
        yield from (f"{name}: {value}" for name, value in self.details)
        for problem in self.problems:
            yield from ("", *problem.lines(), problem.runbook)
        yield from ("", f"{self.link_text}: {self.link}")


def of_delivery(delivery: Delivery) -> Message:
    """The message of an outbox row: its facts only, whatever the incident has become since."""
    facts: Facts = delivery.facts
    with translation.override(settings.ALERT_LANGUAGE):
        return Message(
            id=message_id(delivery.channel, delivery.pk, delivery.created_at.isoformat()),
            event=facts["event"],
            severity=facts["severity"],
            backend=facts["backend"],
            at=datetime.fromisoformat(facts["at"]),
            title=str(TITLES[facts["event"]]),
            summary=_summary(facts),
            details=tuple(_details(facts, delivery.incident_id)),
            problems=tuple(_problem(finding, is_over=facts["event"] == "recovered") for finding in facts["findings"]),
            link=_incident_url(delivery.incident_id),
            link_text=_("Incident in the admin"),
        )


def test_message(channel: str, now: datetime) -> Message:
    """What `send_test_alert` sends: nobody can take it for an incident."""
    with translation.override(settings.ALERT_LANGUAGE):
        return Message(
            id=message_id(channel, "test", now.isoformat()),
            event="test",
            severity="healthy",
            backend="-",
            at=now,
            title=str(TITLES["test"]),
            summary=_("Somebody checks that alerts arrive here. Nothing is wrong and nothing is to be done."),
            details=((pgettext("alert", "Sent"), local_time(now)),),
            problems=(),
            link=settings.PUBLIC_URL + reverse("admin:index"),
            link_text=pgettext("alert", "Admin"),
        )


def message_id(*parts: object) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))).hex


def _summary(facts: Facts) -> str:
    if facts["event"] == "recovered":
        return _("The cache answers normally. It was %(previous)s for %(duration)s; nothing is to be done now.") % {
            "previous": SEVERITIES[facts["previous"]],
            "duration": duration(facts["duration_seconds"] or 0.0),
        }
    if facts["severity"] == "unhealthy":
        return _("Look-ups keep working, but some or all go past the cache: those are slower, and paid.")
    return _("The cache works, but something about it needs attention.")


def _details(facts: Facts, incident: int) -> Iterator[tuple[str, str]]:
    severity, previous = SEVERITIES[facts["severity"]], SEVERITIES[facts["previous"]]
    yield pgettext("alert", "Status"), _("%(now)s (was %(before)s)") % {"now": severity, "before": previous}
    yield pgettext("alert", "Since"), local_time(datetime.fromisoformat(facts["opened_at"]))
    if facts["resolved_at"]:
        yield pgettext("alert", "Until"), local_time(datetime.fromisoformat(facts["resolved_at"]))
    elif facts["event"] == "worse":
        yield pgettext("alert", "Worse since"), local_time(datetime.fromisoformat(facts["at"]))
    if facts["nodes_total"]:
        reachable = {"reachable": facts["nodes_reachable"], "total": facts["nodes_total"]}
        yield pgettext("alert", "Nodes that answer"), _("%(reachable)d of %(total)d") % reachable
    yield pgettext("alert", "Cache"), facts["backend"]
    yield pgettext("alert", "Incident"), f"#{incident}"


def _problem(finding: FindingFacts, *, is_over: bool) -> Problem:
    """What is over needs no explanation and nothing to be done."""
    what, meaning, next_step = explain(finding)
    if is_over:
        what, meaning, next_step = _("Over: %(what)s") % {"what": what}, "", ""
    return Problem(finding["code"], finding["node"], what, meaning, next_step, runbook_url(finding["code"]))


def runbook_url(code: str) -> str:
    return f"{settings.RUNBOOK_URL or RUNBOOK}#{code}"


def _incident_url(pk: int) -> str:
    admin_name = f"admin:{Incident._meta.app_label}_{Incident._meta.model_name}_change"
    return settings.PUBLIC_URL + reverse(admin_name, args=[pk])


def local_time(moment: datetime) -> str:
    local = timezone.localtime(moment, timezone.get_default_timezone())
    return _("%(time)s, Lima time") % {"time": f"{local:%Y-%m-%d %H:%M}"}


def duration(seconds: float) -> str:
    """The two largest units: "3 h 5 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return _("less than a minute")
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        text = ngettext("%(days)d day %(hours)d h", "%(days)d days %(hours)d h", days)
        return text % {"days": days, "hours": hours}
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
