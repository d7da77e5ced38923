"""The Django app of the cache domain."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ApiServiceConfig(AppConfig):
    name = "api_service"
    verbose_name = _("Cache operations")

    def ready(self) -> None:
        from api_service import checks  # noqa: F401 - registers the system checks
