"""Runs that a killed process left open end before anybody sees them: nobody may wait for what will not come."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from api_service.services.leases import close_seen

if TYPE_CHECKING:
    from api_service.admin.run_by_hand import RunByHand as Base
else:
    Base = object


class ClosesAbandoned(Base):
    """Mix-in of the ModelAdmin of a run, the first one: the pages of the others read the row that this one ends."""

    def close_abandoned(self, now: datetime) -> None:
        raise NotImplementedError

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self._before_it_is_seen(request)
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._before_it_is_seen(request)
        return super().change_view(request, object_id, form_url, extra_context)

    def wait_view(self, request: HttpRequest) -> HttpResponse:
        self._before_it_is_seen(request)
        return super().wait_view(request)

    def _before_it_is_seen(self, request: HttpRequest) -> None:
        if self.has_view_permission(request):
            close_seen(self.close_abandoned, timezone.now())
