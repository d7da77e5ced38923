"""What all tables of the service have in common: they are read, page by page, and never counted to the end."""

# ruff: noqa: ARG002 - the signatures are Django's

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=Model)

if TYPE_CHECKING:

    class _ModelAdmin(admin.ModelAdmin[M], Generic[M]): ...

    class _TabularInline(admin.TabularInline[M, P], Generic[M, P]): ...

    BasePaginator = Paginator[Any]
else:
    # unfold has no types, and Django's own classes take no type arguments at run time
    import unfold.admin

    class _ModelAdmin(unfold.admin.ModelAdmin, Generic[M]): ...

    class _TabularInline(unfold.admin.TabularInline, Generic[M, P]): ...

    BasePaginator = Paginator


class BoundedPaginator(BasePaginator):
    """Counts to `LIMIT` and no further: an exact count of a million rows costs more than the page itself."""

    LIMIT = 10_000
    template_name = "api_service/admin/pagination.html"

    @cached_property
    def count(self) -> int:
        return min(self._found, self.LIMIT)

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than the pages show."""
        return self._found > self.LIMIT

    @cached_property
    def _found(self) -> int:
        """In the order of the pages: without it SQLite reads the table, if all rows but a few fit the filter."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.values("pk")[: self.LIMIT + 1].count()


class ReadOnly:
    """Mix-in: who has the view permission sees the rows, nobody writes them here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Table(_ModelAdmin[M]):
    """A table that is read page by page."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    # Counts of each choice of each filter: as many scans of the table
    show_facets = admin.ShowFacets.NEVER
    # A click on a column without an index would sort the whole table
    sortable_by = ()
    # The tables are wide
    list_fullwidth = True
    # Parameter of a filter -> the order that the filter's index keeps; the first one that is used counts
    ordering_of_filter: ClassVar[Sequence[tuple[str, tuple[str, ...]]]] = ()

    def get_ordering(self, request: HttpRequest) -> list[str | Combinable] | tuple[str | Combinable, ...]:
        for parameter, ordering in self.ordering_of_filter:
            if request.GET.get(parameter):
                return ordering
        return super().get_ordering(request)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """PostgreSQL has no text with a NUL: such a filter is one that cannot be, as others are to Django."""
        if any("\0" in text for _name, texts in request.GET.lists() for text in texts):
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request, {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        )


class TableAdmin(ReadOnly, Table[M]):
    """A machine-kept table."""


class RowsInline(ReadOnly, _TabularInline[M, P]):
    """Rows that belong to the one on the page."""

    extra = 0
    can_delete = False
    # Its columns say what it is
    hide_title = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return tuple(self.fields or ())
