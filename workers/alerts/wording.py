"""Words that alerts are made of, in the active language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

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
COUNTS: dict[Event, Promise] = {
    Event.OPENED: gettext_lazy("%(count)d new"),
    Event.WORSE: gettext_lazy("%(count)d worse"),
    Event.BETTER: gettext_lazy("%(count)d better"),
    Event.ESCALATED: gettext_lazy("%(count)d not taken on"),
    Event.REMINDED: gettext_lazy("%(count)d still open"),
    Event.ACKNOWLEDGED: gettext_lazy("%(count)d taken on"),
    Event.MUTED: gettext_lazy("%(count)d muted"),
    Event.UNMUTED: gettext_lazy("%(count)d no longer muted"),
    Event.FLAPPING: gettext_lazy("%(count)d that come and go"),
    Event.SETTLED: gettext_lazy("%(count)d settled"),
    Event.RESOLVED: gettext_lazy("%(count)d over"),
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
    place = nodes[0] if len(nodes) == 1 else _("%(count)d places") % {"count": len(nodes)}
    return capfirst(str(TITLES[group.event]) % {"what": f"{what} ({place})" if nodes else what})


def counts(groups: Sequence[Group]) -> str:
    """The title of a message about several things: "Cache: 3 new, 2 over"."""
    numbers: dict[Event, int] = {}
    for group in groups:
        numbers[group.event] = numbers.get(group.event, 0) + len(group.steps)
    return _("Cache: %(what)s") % {"what": ", ".join(str(COUNTS[one]) % {"count": n} for one, n in numbers.items())}


def listed(names: Sequence[str]) -> str:
    """The first ten: "a, b and 90 more"."""
    shown = ", ".join(names[:FIRST])
    left = len(names) - FIRST
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
