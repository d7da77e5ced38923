"""Template tags of the admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()


@register.simple_tag(takes_context=True)
def dashboard_now(context: template.Context) -> dict[str, Any]:
    """What the first page of the admin shows from the beginning."""
    # unfold draws a widget while it is imported, which loads all tags: before the tables of our admin can be made
    from api_service.admin.dashboard.views import now_context

    return now_context(context["request"])


@register.filter
def row_name(title: object) -> str:
    """A part of the head's path; see `api_service.admin.row_names`."""
    from api_service.admin import row_names

    return row_names.row_name(title)


@register.filter
def labelled(cell: SafeString, name: object = "") -> SafeString:
    """A cell of a list, as unfold drew it; its label, seen on a phone, is `name` or begins with a capital."""
    before, mark, after = cell.partition(' data-label="')
    label, quote, rest = after.partition('"')
    shown = escape(capfirst(str(name))) if name else capfirst(label)
    return mark_safe(f"{before}{mark}{shown}{quote}{rest}") if mark else cell  # noqa: S308
