"""Template tags of the admin."""

from __future__ import annotations

from django import template
from django.utils import timezone

from api_service.admin.panel import Panel, panel

register = template.Library()


@register.simple_tag
def status_panel() -> Panel:
    """The state of everything, now."""
    return panel(timezone.now())
