"""Refills: a node that lost its keys gets them back from the answer store."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from api_service.models.runs import Run


class RefillRun(Run):
    """One node filled again, for nothing: written when the loss is seen, then started, then closed."""

    class Reason(models.TextChoices):
        RESTARTED = "restarted", _("restarted")
        NEW = "new", _("new node")
        BY_HAND = "by_hand", _("by hand")

    node = models.CharField(_("node"), max_length=255)
    reason = models.CharField(_("reason"), max_length=10, choices=Reason)
    # Which boot: in a container every one has the same process id, and two within a second the same time
    booted_at = models.DateTimeField(_("node booted"), null=True, blank=True)
    pid = models.PositiveBigIntegerField(_("process id"), null=True, blank=True)
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    # Stored answers that belong to the node and are still inside their life time
    candidates = models.PositiveBigIntegerField(_("candidates"), default=0)
    written = models.PositiveBigIntegerField(_("written"), default=0)
    already_there = models.PositiveBigIntegerField(_("already there"), default=0)
    refused = models.PositiveBigIntegerField(_("refused by the node"), default=0)
    # The node's counters when the refill ended: what comes after is counted from here
    hits_at_end = models.PositiveBigIntegerField(_("hits at the end"), null=True, blank=True)
    misses_at_end = models.PositiveBigIntegerField(_("misses at the end"), null=True, blank=True)
    # The node's hits over gets: at the last sample before the loss, from the loss to the end of the refill, and after;
    # null where nobody asked
    hit_ratio_before = models.FloatField(_("hit ratio before"), null=True, blank=True)
    hit_ratio_during = models.FloatField(_("hit ratio during"), null=True, blank=True)
    hit_ratio_after = models.FloatField(_("hit ratio after"), null=True, blank=True)

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("refill")
        verbose_name_plural = _("refills")
        constraints = [
            models.UniqueConstraint(
                fields=["node", "booted_at", "pid"], condition=~Q(reason="by_hand"), name="one_refill_per_boot"
            )
        ]
