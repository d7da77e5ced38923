"""Words that alerts are made of, in the active language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy, pgettext_lazy

from api_service.services.incident_facts import Event
from workers.alerts.grouping import Group

# Names that a message shows; the rest are counted
FIRST = 10

TITLES: dict[Event, Promise] = {
    Event.OPENED: gettext_lazy("Trouble: %(what)s"),
    Event.WORSE: gettext_lazy("Worse: %(what)s"),
    Event.BETTER: gettext_lazy("Better: %(what)s"),
    Event.ESCALATED: gettext_lazy("Nobody has taken this on: %(what)s"),
    Event.REMINDED: gettext_lazy("Still open: %(what)s"),
    Event.ACKNOWLEDGED: gettext_lazy("Taken on: %(what)s"),
    Event.MUTED: gettext_lazy("Muted: %(what)s"),
    Event.UNMUTED: gettext_lazy("No longer muted: %(what)s"),
    Event.FLAPPING: gettext_lazy("Comes and goes: %(what)s"),
    Event.SETTLED: gettext_lazy("Has settled: %(what)s"),
    Event.RESOLVED: gettext_lazy("Over: %(what)s"),
}
UNJUDGED = gettext_lazy("No longer judged: %(what)s")
# English has one form for both; other languages have two
COUNTS: dict[Event, Promise] = {
    Event.OPENED: ngettext_lazy("%(count)d new", "%(count)d new", "count"),
    Event.WORSE: ngettext_lazy("%(count)d worse", "%(count)d worse", "count"),
    Event.BETTER: ngettext_lazy("%(count)d better", "%(count)d better", "count"),
    Event.ESCALATED: ngettext_lazy("%(count)d not taken on", "%(count)d not taken on", "count"),
    Event.REMINDED: ngettext_lazy("%(count)d still open", "%(count)d still open", "count"),
    Event.ACKNOWLEDGED: ngettext_lazy("%(count)d taken on", "%(count)d taken on", "count"),
    Event.MUTED: ngettext_lazy("%(count)d muted", "%(count)d muted", "count"),
    Event.UNMUTED: ngettext_lazy("%(count)d no longer muted", "%(count)d no longer muted", "count"),
    Event.FLAPPING: ngettext_lazy("%(count)d that come and go", "%(count)d that come and go", "count"),
    Event.SETTLED: ngettext_lazy("%(count)d settled", "%(count)d settled", "count"),
    Event.RESOLVED: ngettext_lazy("%(count)d over", "%(count)d over", "count"),
}
# With a context: these words are also labels elsewhere, where another translation may suit better
SEVERITIES = {
    "healthy": pgettext_lazy("alert", "healthy"),
    "warning": pgettext_lazy("alert", "warning"),
    "unhealthy": pgettext_lazy("alert", "unhealthy"),
}


def title(group: Group, what: str) -> str:
    """`what` is the finding in a few words; where it is stands behind it in brackets."""
    nodes = group.nodes
    text = UNJUDGED if group.is_unjudged else TITLES[group.event]
    return capfirst(str(text) % {"what": f"{what} ({listed(nodes, 1)})" if nodes else what})


def counts(groups: Sequence[Group]) -> str:
    """The title of a message about several things: "Cache: 3 new, 2 over"."""
    numbers: dict[Event, int] = {}
    for group in groups:
        numbers[group.event] = numbers.get(group.event, 0) + len(group.steps)
    return _("Cache: %(what)s") % {"what": ", ".join(COUNTS[one] % {"count": n} for one, n in numbers.items())}


def listed(names: Sequence[str], first: int = FIRST) -> str:
    """The first ones: "a, b and 90 more"."""
    shown = ", ".join(names[:first])
    left = len(names) - first
    if left <= 0:
        return shown
    return _("%(names)s and %(left)d more") % {"names": shown, "left": left}


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
