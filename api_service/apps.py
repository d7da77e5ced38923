"""The Django app of the cache domain."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ApiServiceConfig(AppConfig):
    name = "api_service"
    verbose_name = _("Cache operations")

    def ready(self) -> None:
        from api_service import checks  # noqa: F401 - registers the system checks
        from api_service.services import role_groups

        post_migrate.connect(role_groups.after_migrate, dispatch_uid="api_service.roles")
