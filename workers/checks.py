"""System checks of the alerts' settings. Each id has an entry in docs/runbook.md."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's own name

from workers.alerts.channels import TABLE, addressees, configured, setting_of
from workers.alerts.telling import current_routing


@register(Tags.security, deploy=True)
def check_somebody_is_told(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if configured():
        return []
    settings = [setting_of(name) for name in TABLE]
    return [
        Warning(
            "No alert channel is configured: an unhealthy cache is seen in the admin only.",
            hint=f"Set {', '.join(settings[:-1])} or {settings[-1]}.",
            id="api_service.W002",
        )
    ]


@register()
def check_routes_lead_somewhere(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A route to a channel that cannot send: whoever wrote it believes that it does."""
    silent = sorted(name for name in current_routing().named() if not addressees(name))
    return [
        Warning(
            f"ALERT_ROUTES or ALERT_ESCALATE_TO names {name}, which is not configured: nothing is sent there.",
            hint=f"Set {setting_of(name)}, or take {name} out.",
            id="workers.W001",
        )
        for name in silent
    ]
