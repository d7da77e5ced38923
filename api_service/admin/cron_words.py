"""A crontab in words of the active language: django-celery-beat's own are those of the server's environment."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping

from cron_descriptor import FormatException, MissingFieldException, Options, WrongArgumentException, get_description
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.functional import Promise
from django.utils.translation import get_language
from django_celery_beat.models import CrontabSchedule, cronexp

_LOCALES = {"es": "es_ES", "en": "en_US"}
# The library takes these names from Python, where they are English whatever its own language is
_NAMES: Mapping[str, str | Promise] = {
    **{name: WEEKDAYS[number] for number, name in enumerate(calendar.day_name)},
    **{name: MONTHS[number] for number, name in enumerate(calendar.month_name) if name},
}
_NAME = re.compile(rf"\b({'|'.join(_NAMES)})\b")
_NOT_SAID = (FormatException, MissingFieldException, WrongArgumentException)


def in_words(row: CrontabSchedule) -> str:
    """`Cada 5 minutos (America/Lima)`; the expression itself where the library has no words for it."""
    fields = (row.minute, row.hour, row.day_of_month, row.month_of_year, row.day_of_week)
    return f"{_described(' '.join(map(cronexp, fields)))} ({row.timezone})"


def _described(expression: str) -> str:
    options = Options()
    options.locale_code = _LOCALES.get((get_language() or "en")[:2], "en_US")
    options.use_24hour_time_format = True
    try:
        text = str(get_description(expression, options))
    except _NOT_SAID:
        return expression
    return _NAME.sub(lambda found: str(_NAMES[found[0]]), text)
