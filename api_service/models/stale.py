"""Old answers that were shown instead of newer ones."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _


class StaleServed(models.Model):
    """Answers past their life that callers were shown in five minutes, by why no newer one came.

    `reason` is "refreshing" while one was being fetched, else the code of the failure.
    """

    since = models.DateTimeField(_("since"))
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    reason = models.CharField(_("reason"), max_length=50)
    answers = models.PositiveBigIntegerField(_("answers shown"))
    oldest_seconds = models.FloatField(_("age of the oldest, in seconds"))

    class Meta:
        verbose_name = _("old answers shown")
        verbose_name_plural = _("old answers shown")
        constraints = [
            models.UniqueConstraint(fields=["since", "service", "kind", "reason"], name="one_row_per_stale_reason")
        ]

    def __str__(self) -> str:
        return f"{localtime(self.since):%Y-%m-%d %H:%M} {self.service} {self.reason} × {self.answers}"
