"""What was paid of each limit that is set: said where somebody is about to pay."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from api_service.admin import display
from api_service.services import budget, budget_rules
from api_service.services.cache_service import MIGO

PERIODS: Mapping[str, Promise] = {
    "hour": gettext_lazy("this hour"),
    "day": gettext_lazy("today"),
    "month": gettext_lazy("this month"),
}


def lines() -> list[str]:
    """A sentence a limit, the shortest period first; none where no limit is set. One query at most."""
    periods = budget_rules.periods(budget.caps_in_force(), timezone.localtime(timezone.now()))
    paid = budget.spent_in(MIGO, periods)
    return [
        _("Paid %(period)s: %(paid)s of %(cap)s.")
        % {"period": PERIODS[one.name], "paid": display.number(paid[one.name]), "cap": display.number(one.cap)}
        for one in periods
    ]
