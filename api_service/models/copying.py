"""Copies: live keys carried to another cache, or to their new places among other nodes."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from api_service.models.runs import Run


class CopyRun(Run):
    """One copy with its proof; an interrupted one is gone on with from here."""

    class Purpose(models.TextChoices):
        COPY = "copy", _("copy to another cache")
        MOVE = "move", _("other nodes")

    purpose = models.CharField(_("purpose"), max_length=10, choices=Purpose)
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    # Node names, never URLs: those may hold passwords
    source = models.CharField(_("from"), max_length=300)
    target = models.CharField(_("to"), max_length=300)
    # Of the source, as copy_plan.NodeJSON: {"127.0.0.1:11211": {"state": "copied", "found": 3, "copied": 3, …}, …}
    nodes = models.JSONField(_("nodes"), default=dict)
    found = models.PositiveBigIntegerField(_("found"), default=0)
    copied = models.PositiveBigIntegerField(_("copied"), default=0)
    already_there = models.PositiveBigIntegerField(_("already there"), default=0)
    # {"expired": 2, "too_large": 1, …}: why which number was not copied
    skipped = models.JSONField(_("not copied"), default=dict)
    # Of what was copied, by a new list of the target
    missing = models.PositiveBigIntegerField(_("not there afterwards"), default=0)
    checked = models.PositiveBigIntegerField(_("values compared"), default=0)
    differing = models.PositiveBigIntegerField(_("values that differ"), default=0)

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("copy")
        verbose_name_plural = _("copies")
