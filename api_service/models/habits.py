"""When each identifier is asked for: the sums that warming expects its next reads by, and what became of its warms."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from api_service.models.runs import WarmRun


class ReadHabit(models.Model):
    """Visits of one identifier, recent ones counting more. Reads closer together than an answer's life are one visit.

    `fast` and `slow` are sums in the units of `services/warm_statistics.py`, which grow with time, so that adding a
    visit is an addition and nothing ever has to be decayed.
    """

    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    fast = models.FloatField(_("recent visits"))
    fast_era = models.IntegerField(_("era of the recent visits"))
    slow = models.FloatField(_("visits of weeks"))
    # Unix seconds, as the database computes with them
    visited_at = models.FloatField(_("last visit"))

    class Meta:
        verbose_name = _("reading habit")
        verbose_name_plural = _("reading habits")
        constraints = [
            models.UniqueConstraint(fields=["service", "kind", "identifier"], name="one_habit_per_identifier")
        ]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier}"


class ReadHabitBin(models.Model):
    """Visits of one identifier in one half hour of weekdays, or of weekends."""

    habit = models.ForeignKey(ReadHabit, models.CASCADE, db_index=False, verbose_name=_("reading habit"))
    bin = models.PositiveSmallIntegerField(_("half hour"))
    visits = models.FloatField(_("visits of weeks"))

    class Meta:
        verbose_name = _("reading habit by time")
        verbose_name_plural = _("reading habits by time")
        constraints = [models.UniqueConstraint(fields=["habit", "bin"], name="one_row_per_habit_bin")]
        # A plan asks for some half hours, of all identifiers
        indexes = [models.Index(fields=["bin"])]

    def __str__(self) -> str:
        return f"{self.habit_id}: {self.bin}"


class WarmedAnswer(models.Model):
    """One answer that a warm run loaded, and whether somebody read it before it ended."""

    run = models.ForeignKey(WarmRun, models.CASCADE, verbose_name=_("warm run"), related_name="warmed")
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    # The chance of a read that the policy saw; null for one that was asked for by name
    chance = models.FloatField(_("chance of a read"), null=True)
    warmed_at = models.DateTimeField(_("loaded"))
    ends_at = models.DateTimeField(_("ends"))
    read_at = models.DateTimeField(_("read"), null=True, blank=True)

    class Meta:
        verbose_name = _("loaded answer")
        verbose_name_plural = _("loaded answers")
        indexes = [
            # What a read is looked for in: those that nobody has read yet
            models.Index(
                fields=["identifier", "service", "kind"],
                name="warmed_and_unread",
                condition=models.Q(read_at__isnull=True),
            ),
            models.Index(fields=["ends_at"]),
            # "When was this one last loaded, and was it read?"
            models.Index(fields=["identifier", "warmed_at"], name="warms_of_identifier"),
        ]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier}"
