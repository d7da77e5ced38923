"""The page of one RUC: its codes in the operator's language."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api_service.services import warm_outlook
from api_service.services.beat_rules import ByItself
from api_service.services.ruc_rules import Next

NEXT_LOOKUP: Mapping[str, Promise] = {
    Next.CACHED: _("The cache answers the next look-up, for free."),
    Next.STALE: _("The next look-up is shown the old answer, and a newer one is fetched behind it: one paid query."),
    Next.NEGATIVE: _("The next look-up is told that there is no such record, for free."),
    Next.STORED: _("The answer store answers the next look-up, for free."),
    Next.PAID: _("The next look-up asks APIMIGO: one paid query."),
    Next.IMPOSSIBLE: _("The next look-up is told that there can be no such number, for free."),
}
# What lies under a key, or does not
LIES_THERE: Mapping[str, Promise] = {
    "hit": _("there"),
    "stale": _("there, past its life"),
    "miss": _("nothing there"),
    "outage": _("its node does not answer"),
}
# What the next warm run that looks at it does, or why it leaves it alone
FORECASTS: Mapping[str, Promise] = {
    warm_outlook.DUE: _("yes, as far as limit and budget allow"),
    warm_outlook.UNREAD: _("no: nobody has asked for it"),
    "below_break_even": _("no: too few reads expected"),
    "fresh": _("no: still fresh"),
    "known_invalid": _("no: known not to exist"),
}
# Why there will be no such run
NOT_BY_ITSELF: Mapping[str, Promise] = {
    ByItself.OFF: _("not by itself: its schedule is switched off"),
    ByItself.MISSING: _("not by itself: it has no schedule; Beat writes one when it starts"),
    ByItself.NOT_SENT: _("not by itself: its schedule is not sent in time"),
    ByItself.NOT_RUN: _("perhaps not: its schedule is sent, and no run succeeds"),
}
