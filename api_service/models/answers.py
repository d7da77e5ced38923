"""Answers that were paid for, and what was paid."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _


class StoredAnswer(models.Model):
    """The last good answer of a provider: free to serve again while it is inside its life time."""

    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    # Text, not JSONField: the bytes go to the cache as they are, and jsonb would re-serialise them
    data = models.TextField(_("answer"))
    born_at = models.DateTimeField(_("answered"), db_index=True)

    class Meta:
        verbose_name = _("stored answer")
        verbose_name_plural = _("stored answers")
        constraints = [
            models.UniqueConstraint(fields=["service", "kind", "identifier"], name="one_answer_per_identifier")
        ]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier}"


class SpendHour(models.Model):
    """Paid queries of one hour, counted before each call: it never shows less than was spent."""

    hour = models.DateTimeField(_("hour"))
    service = models.CharField(_("service"), max_length=50)
    purpose = models.CharField(_("purpose"), max_length=20)
    queries = models.PositiveBigIntegerField(_("queries"))

    class Meta:
        verbose_name = _("paid queries of an hour")
        verbose_name_plural = _("paid queries by hour")
        constraints = [models.UniqueConstraint(fields=["hour", "service", "purpose"], name="one_row_per_purpose_hour")]

    def __str__(self) -> str:
        return f"{localtime(self.hour):%Y-%m-%d %H:00} {self.service} {self.purpose}: {self.queries}"
