"""Mutes that outlive their incident: muted for eight hours is the trouble, however often it is over meanwhile."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from api_service.models import Incident


def still_on(at: datetime) -> QuerySet[Incident]:
    """Incidents that are over and whose mute waits for the next of their kind.

    The newest of a code and node tells: there the mute of an older one may have been taken back.
    """
    newer = Incident.objects.filter(code=OuterRef("code"), node=OuterRef("node"), pk__gt=OuterRef("pk"))
    return Incident.objects.filter(~Exists(newer), resolved_at__isnull=False, muted_until__gt=at)


def can_be_taken_back(at: datetime) -> QuerySet[Incident]:
    """Muted incidents: the open ones, and those of `still_on`."""
    open_ones = Q(resolved_at__isnull=True, muted_until__gt=at)
    return Incident.objects.filter(open_ones | Q(pk__in=still_on(at).values("pk")))
