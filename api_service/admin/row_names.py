"""What a page calls its row, where the model's own name is made of codes: those are for logs, and in English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    Base = object


class NamedRows(Base):
    """Mix-in: the title of a row's page, in the browser's tab and in its head, is what `row_name` says."""

    def row_name(self, row: Any) -> str:
        raise NotImplementedError

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        named = {**context, "subtitle": self.row_name(row)} if row is not None else context
        return super().render_change_form(request, named, *args, **kwargs)


def row_name(title: object) -> str:
    """Words begin with a capital; the name of a row, which may be a key or an account, is left as it is."""
    if not isinstance(title, Model):
        return capfirst(str(title))
    table = admin.site.get_model_admin(type(title)) if admin.site.is_registered(type(title)) else None
    return table.row_name(title) if isinstance(table, NamedRows) else str(title)
