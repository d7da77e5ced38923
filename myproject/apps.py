"""Django's admin on the site of this project."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class OperationsAdminConfig(AdminConfig):
    default_site = "api_service.admin_site.OperationsSite"
