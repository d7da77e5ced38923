"""What an alert says, from its facts, in the language of ALERT_LANGUAGE. Channels only lay it out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from api_service.models import ChannelState, Delivery
from api_service.services.health_rules import RANK, Severity
from api_service.services.translated import translated
from workers.alerts import wording
from workers.alerts.facts import ChannelOffFacts, Facts, IncidentsFacts, StepFacts
from workers.alerts.grouping import Group, grouped
from workers.alerts.plain import plain
from workers.alerts.problems import Problem, admin_url, list_url, problem_of

TEST_TITLE = gettext_lazy("TEST: this is not an incident")
SEVERAL = "several"
MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Message:
    """`id` is the same however often the message is sent: an addressee that knows it drops the second one.

    `event` is what happened, "several" when it is not one thing, "test" or "channel_off". `thread` names the incident
    where the message is about a single one, else it is empty. `severity` is how it stands now. `arrived`: parts of it
    that earlier attempts brought to this addressee, by the channel's own names.
    """

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
    thread: str = ""
    arrived: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (self.title, self.summary, "")
        yield from (f"{name}: {value}" for name, value in self.details)
        for problem in self.problems:
            yield from ("", problem.title, *problem.lines(), problem.link, problem.runbook)
        yield from ("", f"{self.link_text}: {self.link}")


def of_delivery(delivery: Delivery) -> Message:
    """The message of an outbox row: its facts only, whatever the incidents have become since."""
    facts: Facts = delivery.facts
    identity = message_id(delivery.channel, delivery.pk, delivery.created_at.isoformat())
    with translation.override(settings.ALERT_LANGUAGE):
        message = _of_channel(identity, facts) if facts["kind"] == "channel_off" else _of_incidents(identity, facts)
    return replace(message, arrived=frozenset(facts.get("arrived", ())))


def message_id(*parts: object) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))).hex


def _of_incidents(identity: str, facts: IncidentsFacts) -> Message:
    at = datetime.fromisoformat(facts["at"])
    groups = grouped(facts["steps"])
    problems = tuple(problem_of(group, at) for group in groups)
    single = groups[0].steps[0] if len(groups) == 1 and len(groups[0].steps) == 1 else None
    return Message(
        id=identity,
        event=groups[0].event.value if len({group.event for group in groups}) == 1 else SEVERAL,
        severity=_worst(groups).value,
        backend=_backend(groups),
        at=at,
        title=problems[0].title if len(problems) == 1 else wording.counts(groups),
        summary=_summary(groups, problems),
        details=tuple(_details(groups, at)),
        problems=problems,
        link=admin_url("incident", single["incident"]) if single else list_url(),
        link_text=_("Incident in the admin") if single else _("Incidents in the admin"),
        thread=f"incident-{single['incident']}" if single else "",
    )


def _summary(groups: list[Group], problems: tuple[Problem, ...]) -> str:
    if all(group.is_unjudged for group in groups):
        return _("Over, as nobody can say whether it is well.")
    if all(group.is_over for group in groups):
        return _("Over. Nothing is to be done now.")
    if len(problems) == 1 and problems[0].meaning:
        return problems[0].meaning
    return " · ".join(problem.title for problem in problems[:5]) if len(problems) > 1 else problems[0].what[0]


def _details(groups: list[Group], at: datetime) -> Iterator[tuple[str, str]]:
    newest = _newest(groups)
    yield pgettext("alert", "Status"), str(wording.SEVERITIES[_worst(groups)])
    yield pgettext("alert", "Time"), wording.local_time(at)
    if newest["nodes_total"]:
        reachable = {"reachable": newest["nodes_reachable"], "total": newest["nodes_total"]}
        yield pgettext("alert", "Nodes that answer"), _("%(reachable)d of %(total)d") % reachable
    if newest["backend"]:
        yield pgettext("alert", "Cache"), newest["backend"]
    incidents = sorted({step["incident"] for group in groups for step in group.steps})
    yield pgettext("alert", "Incident"), wording.listed([f"#{pk}" for pk in incidents])


def _worst(groups: list[Group]) -> Severity:
    return max((group.severity for group in groups), key=RANK.__getitem__)


def _newest(groups: list[Group]) -> StepFacts:
    """The step whose health sample is the newest: what people do writes none."""
    return max((step for group in groups for step in group.steps), key=lambda step: step["at"])


def _backend(groups: list[Group]) -> str:
    return _newest(groups)["backend"] or "-"


def _of_channel(identity: str, facts: ChannelOffFacts) -> Message:
    at = datetime.fromisoformat(facts["at"])
    reason = plain(translated(facts["reason"]), MAX_REASON)
    summary = _(
        "Channel %(channel)s refused for good: %(reason)s. Nothing is sent to it any more: mend it, then turn it on "
        "again in the admin or with send_test_alert."
    )
    return Message(
        id=identity,
        event="channel_off",
        severity=Severity.WARNING.value,
        backend="-",
        at=at,
        title=_("Alert channel %(channel)s is off") % {"channel": facts["channel"]},
        summary=summary % {"channel": facts["channel"], "reason": reason},
        details=((pgettext("alert", "Time"), wording.local_time(at)),),
        problems=(),
        link=settings.PUBLIC_URL + reverse(f"admin:{ChannelState._meta.label_lower.replace('.', '_')}_changelist"),
        link_text=_("Alert channels in the admin"),
    )


def test_message(addressee: str, now: datetime) -> Message:
    """What `send_test_alert` sends: nobody can take it for an incident."""
    with translation.override(settings.ALERT_LANGUAGE):
        return Message(
            id=message_id(addressee, "test", now.isoformat()),
            event="test",
            severity=Severity.HEALTHY.value,
            backend="-",
            at=now,
            title=str(TEST_TITLE),
            summary=_("Somebody checks that alerts arrive here. Nothing is wrong and nothing is to be done."),
            details=((pgettext("alert", "Sent"), wording.local_time(now)),),
            problems=(),
            link=settings.PUBLIC_URL + reverse("admin:index"),
            link_text=pgettext("alert", "Admin"),
        )
