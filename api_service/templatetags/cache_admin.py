"""Template tags of the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import template
from django.utils import timezone

if TYPE_CHECKING:
    from api_service.admin.panel import Panel

register = template.Library()


@register.simple_tag
def status_panel() -> Panel:
    """The state of everything, now."""
    # unfold draws a widget while it is imported, which loads all tags: before the tables of our admin can be made
    from api_service.admin.panel import panel

    return panel(timezone.now())
