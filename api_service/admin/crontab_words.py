"""When a crontab is due, in words of the reader's language: django-celery-beat says it in the one of the process.

Its describer has no names of days and months but those of the process either, and in Spanish forgets morning and
afternoon: hours go to 24.
"""

from __future__ import annotations

import calendar
import re
from typing import Final

from celery.schedules import ParseException, crontab
from cron_descriptor import FormatException, MissingFieldException, Options, WrongArgumentException, get_description
from django.utils.translation import get_language, gettext
from django_celery_beat.models import CrontabSchedule, cronexp

LOCALES: Final = {"es": "es_ES"}
_NAMES: Final = re.compile(rf"\b(?:{'|'.join([*calendar.day_name, *calendar.month_name[1:]])})\b")


def in_words(row: CrontabSchedule) -> str:
    """With its time zone; an expression that has no words is shown as it is."""
    return f"{_described(expression(row))} {row.timezone}"


def expression(row: CrontabSchedule) -> str:
    """Minute, hour, day of the month, month, day of the week, as cron has them."""
    parts = (row.minute, row.hour, row.day_of_month, row.month_of_year, _days(row.day_of_week))
    return " ".join(cronexp(part) for part in parts)


def _days(said: str) -> str:
    """As numbers: Celery takes names and other orders than the describer does. All of them are no condition."""
    try:
        days = sorted(crontab(day_of_week=said).day_of_week)  # type: ignore[attr-defined]  # the stubs lack it
    except (ParseException, ValueError):
        return said
    return "*" if len(days) == 7 else ",".join(map(str, days))


def _described(cron: str) -> str:
    options = Options()
    options.locale_code = LOCALES.get((get_language() or "").partition("-")[0], "en_US")
    options.use_24hour_time_format = True
    try:
        text = get_description(cron, options)
    except (MissingFieldException, FormatException, WrongArgumentException):
        return cron
    return _NAMES.sub(lambda name: gettext(name[0]), text)
