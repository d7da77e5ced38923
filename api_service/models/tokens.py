"""Tokens of the HTTP API. Of the secret only a hash is kept: who reads the table can use none of them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ApiToken(models.Model):
    """What a client may do until when. `prefix` is the readable part of its token and names it everywhere."""

    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("begins with"), max_length=8, unique=True)
    # SHA-256 in hex: the secret has 256 random bits, there is nothing for a slow hash to protect
    digest = models.CharField(_("hash"), max_length=64)
    # ["lookup", "operations:read", …]
    scopes = models.JSONField(_("scopes"), default=list)
    # 0 is no limit
    per_minute = models.PositiveIntegerField(_("requests a minute"))
    created_by = models.CharField(_("made by"), max_length=150)
    created_at = models.DateTimeField(_("made"))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    # Written at most once a minute
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    revoked_by = models.CharField(_("revoked by"), max_length=150, blank=True)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"
