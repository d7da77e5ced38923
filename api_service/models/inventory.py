"""Inventories of the cache: what each found on which node, and each service's history."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from api_service.models.runs import Run


class TrackRun(Run):
    """One inventory of every node. A node that failed is named in `nodes`; its rows became "unknown"."""

    keys_seen = models.PositiveBigIntegerField(_("keys"), default=0)
    # {"127.0.0.1:11211": {"ok": true, "keys": 3, "error": ""}, …}
    nodes = models.JSONField(_("nodes"), default=dict)
    # {"session": 12, …}: keys that are not ours, by prefix; never touched
    foreign = models.JSONField(_("foreign keys"), default=dict)
    # {"since": "2026-01-28T10:00:00+00:00", "services": {"migo": 12}}: look-ups of that hour and later, as counted
    # when this run was closed; the next run counts what came since. Empty in a run that was interrupted
    lookups = models.JSONField(_("look-ups counted"), default=dict)
    # {"complete": true, "reasons": {"NO_EXISTE_SUNAT": 12, …}}: why RUCs are listed as invalid. Empty where the run
    # did not come so far
    # The default of the database is for the workers of the release before, while they still run
    invalid_reasons = models.JSONField(_("invalid RUCs by reason"), default=dict, db_default={})

    class Meta(Run.Meta):
        abstract = False
        verbose_name = _("key inventory")
        verbose_name_plural = _("key inventories")


class NodeListing(models.Model):
    """One node's part of an inventory, claimed by one worker with a lease: more workers list side by side."""

    run = models.ForeignKey(TrackRun, models.CASCADE, related_name="listings", verbose_name=_("inventory"))
    node = models.CharField(_("node"), max_length=255)
    # Left CACHE_URL since the inventory before: nothing is listed, its keys become "removed"
    retired = models.BooleanField(_("no longer in CACHE_URL"), default=False)
    state = models.CharField(_("state"), max_length=10, choices=Run.State, default=Run.State.WAITING)
    # Host and process id
    worker = models.CharField(_("worker"), max_length=100, blank=True)
    # Each claim is one more: the result of a worker that lost its claim does not count
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    leased_until = models.DateTimeField(_("leased until"), null=True, blank=True)
    # When the node's answer began: what is active was last seen then
    listed_at = models.DateTimeField(_("listed"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    keys = models.PositiveBigIntegerField(_("keys"), default=0)
    # {"migo": {"keys": 3, "bytes": 2400, "created": 1, "removed": 0, "expired": 2, "expired_unread": 1, "lives": …}}
    services = models.JSONField(_("services"), default=dict)
    foreign = models.JSONField(_("foreign keys"), default=dict)
    error = models.CharField(_("error"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("listing of a node")
        verbose_name_plural = _("listings of nodes")
        constraints = [models.UniqueConstraint(fields=["run", "node"], name="one_listing_per_run_node")]
        indexes = [models.Index(fields=["node", "-listed_at"])]

    def __str__(self) -> str:
        return f"{self.node}: {self.get_state_display()}"


class ServiceSnapshot(models.Model):
    """One service at one inventory, and what happened since the one before. Thinned with age: flows are added up."""

    run = models.ForeignKey(TrackRun, models.CASCADE, related_name="services", verbose_name=_("inventory"))
    service = models.CharField(_("service"), max_length=50)
    keys = models.PositiveBigIntegerField(_("keys"))
    bytes = models.PositiveBigIntegerField(_("bytes"))
    # Look-ups counted since the inventory before
    reads = models.PositiveBigIntegerField(_("reads"), default=0)
    created = models.PositiveBigIntegerField(_("created"), default=0)
    removed = models.PositiveBigIntegerField(_("removed"), default=0)
    expired = models.PositiveBigIntegerField(_("expired"), default=0)
    expired_unread = models.PositiveBigIntegerField(_("expired unread"), default=0)
    # {"1min": 3, "5min": 0, …, "never": 1}: keys by the time they have left, each up to its bound
    lives = models.JSONField(_("time left"), default=dict)

    class Meta:
        verbose_name = _("service snapshot")
        verbose_name_plural = _("service snapshots")

    def __str__(self) -> str:
        return f"{self.service}: {self.keys}"
