"""Which keys exist, and how often they are asked for."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class TrackedKey(models.Model):
    """One key of ours on one node as the last inventory saw it. Written by `track_keys` and by the read counter.

    Only what changed is written: an active key was last seen at its node's last complete listing, `seen_at` is of
    those that are gone.
    """

    class State(models.TextChoices):
        # With a context: Django's own "active" is that of an account, in another gender
        ACTIVE = "active", pgettext_lazy("key", "active")
        EXPIRED = "expired", _("expired")
        REMOVED = "removed", _("removed")
        UNKNOWN = "unknown", _("unknown")

    key = models.CharField(_("key"), max_length=250)
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    node = models.CharField(_("node"), max_length=255)
    size = models.PositiveIntegerField(_("bytes"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=State)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_at = models.DateTimeField(_("first seen"))
    seen_at = models.DateTimeField(_("last seen"))
    last_read_at = models.DateTimeField(_("last read"), null=True, blank=True)
    reads = models.PositiveBigIntegerField(_("reads"), default=0)
    # What the node says: read at least once since it was set; null where it does not say
    fetched = models.BooleanField(_("read according to the node"), null=True)

    class Meta:
        verbose_name = _("tracked key")
        verbose_name_plural = _("tracked keys")
        constraints = [models.UniqueConstraint(fields=["key", "node"], name="one_row_per_key_node")]
        # Lists are in the order of the keys, which each of the three keeps. On PostgreSQL the column compares byte by
        # byte (migration 0002), whatever the database's language: a prefix is a range of an index
        indexes = [models.Index(fields=["state", "key"]), models.Index(fields=["node", "state", "key"])]

    def __str__(self) -> str:
        return self.key


class DailyReads(models.Model):
    """How often one identifier was asked for in one day (Lima time), cached or not: what warming goes by."""

    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    identifier = models.CharField(_("identifier"), max_length=250)
    day = models.DateField(_("day"))
    reads = models.PositiveBigIntegerField(_("reads"))
    last_read_at = models.DateTimeField(_("last read"))

    class Meta:
        verbose_name = _("reads of a day")
        verbose_name_plural = _("reads by day")
        constraints = [
            models.UniqueConstraint(fields=["service", "kind", "identifier", "day"], name="one_row_per_identifier_day")
        ]
        # "Most read of the day" is a walk along it
        indexes = [models.Index(fields=["day", "reads", "id"])]

    def __str__(self) -> str:
        return f"{self.service}:{self.kind}_{self.identifier} {self.day} × {self.reads}"


class LookupHour(models.Model):
    """Look-ups of one hour by outcome (hit, stale, negative, miss, outage)."""

    hour = models.DateTimeField(_("hour"))
    service = models.CharField(_("service"), max_length=50)
    kind = models.CharField(_("kind"), max_length=50)
    outcome = models.CharField(_("outcome"), max_length=20)
    count = models.PositiveBigIntegerField(_("look-ups"))

    class Meta:
        verbose_name = _("look-ups of an hour")
        verbose_name_plural = _("look-ups by hour")
        constraints = [
            models.UniqueConstraint(fields=["hour", "service", "kind", "outcome"], name="one_row_per_outcome_hour")
        ]

    def __str__(self) -> str:
        return f"{localtime(self.hour):%Y-%m-%d %H:00} {self.service} {self.outcome} × {self.count}"


class LookupTime(models.Model):
    """How many look-ups of one hour took how long: `bound` is the end of a step in microseconds, beyond the one before.

    By how they came by their end (`latencies.Way`). Batches are not timed.
    """

    hour = models.DateTimeField(_("hour"))
    service = models.CharField(_("service"), max_length=50)
    way = models.CharField(_("answered by"), max_length=20)
    bound = models.PositiveIntegerField(_("within"))
    count = models.PositiveBigIntegerField(_("look-ups"))

    class Meta:
        verbose_name = _("time of look-ups")
        verbose_name_plural = _("times of look-ups")
        constraints = [
            models.UniqueConstraint(fields=["hour", "service", "way", "bound"], name="one_row_per_time_hour")
        ]

    def __str__(self) -> str:
        return f"{localtime(self.hour):%Y-%m-%d %H:00} {self.service} {self.way} ≤ {self.bound} µs × {self.count}"
