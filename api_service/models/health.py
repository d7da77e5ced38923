"""What the health runs saw."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    HEALTHY = "healthy", _("healthy")
    WARNING = "warning", _("warning")
    UNHEALTHY = "unhealthy", _("unhealthy")


class HealthSample(models.Model):
    """One run of `monitor_cache_health`."""

    taken_at = models.DateTimeField(_("taken"), db_index=True)
    status = models.CharField(_("status"), max_length=10, choices=Status)
    backend = models.CharField(_("backend"), max_length=20)
    duration_ms = models.FloatField(_("duration (ms)"))
    # {"connection": "✅ OK", …}: the texts of get_health()
    checks = models.JSONField(_("checks"), default=dict)
    # [{"code", "severity", "node", "value", "limit", "since", "counts"}, …]; `status` follows from those that count
    findings = models.JSONField(_("findings"), default=list)
    # What could be judged neither way: [{"code", "node"}, …], node "*" for every one; null: that was not kept yet
    unknown = models.JSONField(_("not judged"), null=True)
    # What was read beside the nodes: {"broker": {…}, "workers": {…}, "beat": {…}, "migo": {…}, …}
    around = models.JSONField(_("around the cache"), default=dict)
    # Kept for HEALTH_RETENTION_DAYS: one an hour, the worst of it; the others go after two days
    hourly = models.BooleanField(_("kept of its hour"), default=False)
    # Each sample is judged once, and none after a newer one; null is "not yet"
    judged_at = models.DateTimeField(_("judged by the alert rules"), null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = _("health sample")
        verbose_name_plural = _("health samples")

    def __str__(self) -> str:
        return f"{localtime(self.taken_at):%Y-%m-%d %H:%M:%S} {self.get_status_display()}"


class NodeSample(models.Model):
    """One node as seen by one health run; counters are since the node's boot, null when it did not answer."""

    sample = models.ForeignKey(HealthSample, models.CASCADE, related_name="nodes", verbose_name=_("sample"))
    node = models.CharField(_("node"), max_length=255)
    reachable = models.BooleanField(_("reachable"))
    error = models.CharField(_("error"), max_length=300, blank=True)
    # Median and worst of several round trips
    latency_ms = models.FloatField(_("latency (ms)"), null=True)
    latency_worst_ms = models.FloatField(_("worst latency (ms)"), null=True)
    version = models.CharField(_("version"), max_length=50, blank=True)
    pid = models.PositiveBigIntegerField(_("process id"), null=True)
    booted_at = models.DateTimeField(_("booted"), null=True)
    items = models.PositiveBigIntegerField(_("items"), null=True)
    bytes_used = models.PositiveBigIntegerField(_("bytes used"), null=True)
    bytes_limit = models.PositiveBigIntegerField(_("bytes limit"), null=True)
    evictions = models.PositiveBigIntegerField(_("evictions"), null=True)
    hits = models.PositiveBigIntegerField(_("hits"), null=True)
    misses = models.PositiveBigIntegerField(_("misses"), null=True)
    connections = models.PositiveIntegerField(_("connections"), null=True)
    max_connections = models.PositiveIntegerField(_("maximum connections"), null=True)
    # Of connections that the node had no room for
    rejected_connections = models.PositiveBigIntegerField(_("rejected connections"), null=True)
    expired_unfetched = models.PositiveBigIntegerField(_("expired unread"), null=True)
    # Since the run before; null for the first run and after a restart
    hit_ratio = models.FloatField(_("hit ratio"), null=True)
    evictions_per_minute = models.FloatField(_("evictions a minute"), null=True)
    expired_unfetched_per_minute = models.FloatField(_("expired unread a minute"), null=True)
    # Of Redis: {"maxmemory_policy", "fragmentation", "role", "link"}
    details = models.JSONField(_("details"), default=dict)
    restarted = models.BooleanField(_("restarted"), default=False)

    class Meta:
        verbose_name = _("node sample")
        verbose_name_plural = _("node samples")
        indexes = [models.Index(fields=["node", "-id"])]

    def __str__(self) -> str:
        return f"{self.node}: {_('reachable') if self.reachable else self.error}"


class OperationReads(models.Model):
    """What one operation of ours read on one node, which counts it among the hits and misses of look-ups."""

    class Operation(models.TextChoices):
        INVENTORY = "inventory", _("key inventory")
        REASONS = "reasons", _("reasons of invalid RUCs")
        WARM_RUN = "warm_run", _("warm run")
        CLEAN_UP = "clean_up", _("nightly clean-up")
        COPY = "copy", _("copy")
        STATISTICS = "statistics", _("statistics")

    node = models.CharField(_("node"), max_length=255)
    operation = models.CharField(_("operation"), max_length=20, choices=Operation)
    began_at = models.DateTimeField(_("began"))
    # When they ended. While they go on, by when they will have unless this is renewed: after a kill nobody says more
    over_by = models.DateTimeField(_("over by"), db_index=True)
    # The node's count before the first read and after the last one; null where it did not say, or not yet
    hits_before = models.PositiveBigIntegerField(_("hits before"), null=True)
    hits_after = models.PositiveBigIntegerField(_("hits after"), null=True)
    # Of those in between, the operation's own; null is "not known": the reads go on, or failed amid
    hits = models.PositiveBigIntegerField(_("own hits"), null=True)
    misses = models.PositiveBigIntegerField(_("own misses"), null=True)

    class Meta:
        verbose_name = _("own reads")
        verbose_name_plural = _("own reads")

    def __str__(self) -> str:
        return f"{self.node}: {self.get_operation_display()}"
