"""Template tags of the admin."""

from __future__ import annotations

from typing import Any

from django import template

from api_service.admin.dashboard.views import now_context

register = template.Library()


@register.simple_tag(takes_context=True)
def dashboard_now(context: template.Context) -> dict[str, Any]:
    """What the first page of the admin shows from the beginning."""
    return now_context(context["request"])
