"""Tables whose rows are of one identifier each."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from api_service.admin.ruc_links import linked
from api_service.services import providers
from api_service.services.cache_service import MIGO
from api_service.services.keys import KINDS

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Any]
else:
    Base = object

OF_A_RUC = {"ruc", "invalid"}


class LinkedIdentifier(Base):
    """Mix-in of a ModelAdmin: a column that leads to the page of its RUC."""

    @admin.display(description=_("identifier"))
    def identifier_link(self, row: Any) -> SafeString | str:
        is_ruc = row.service == MIGO and row.kind in OF_A_RUC
        return linked(row.identifier) if is_ruc else row.identifier


class FoundByIdentifier(LinkedIdentifier):
    """And a search for the whole of it. Services and kinds are named because the unique index begins with them."""

    search_fields = ("identifier",)
    search_help_text = _("The whole RUC or other identifier")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        named = {"service__in": list(providers.TABLE), "kind__in": KINDS, "identifier": term}
        return (queryset.filter(**named) if term else queryset), False
