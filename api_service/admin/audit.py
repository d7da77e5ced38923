"""Who did what by hand, with which arguments: Django's log of the admin, also of what is no row of a table."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from api_service.admin import display
from api_service.admin.base import TableAdmin
from api_service.admin.ruc_links import linked

RUC_PREFIX = "RUC "


def note(
    request: HttpRequest,
    what: str,
    arguments: Mapping[str, object] | str = "",
    model: type[Model] | None = None,
    row: int | None = None,
) -> None:
    """`what` is what it was done to, or the task that was started. Codes and numbers, whatever language is active.

    `model`: the table that it was done to, or that the result will be a row of; `row`: the primary key, where known.
    """
    from django.contrib.contenttypes.models import ContentType

    LogEntry.objects.create(
        user_id=user_id(request.user),
        content_type=ContentType.objects.get_for_model(model) if model else None,
        object_id=None if row is None else str(row),
        object_repr=what[:200],
        action_flag=CHANGE,
        change_message=arguments if isinstance(arguments, str) else in_words(arguments),
    )


def user_id(user: AbstractBaseUser | AnonymousUser) -> int:
    """The admin lets nobody in who has none."""
    assert user.pk is not None  # noqa: S101 - said to the type checker
    return int(user.pk)


def in_words(arguments: Mapping[str, object], longest: int = 500) -> str:
    """`limit=50 dry_run=True`; a long list of RUCs is cut."""
    text = " ".join(f"{name}={value}" for name, value in arguments.items())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


@admin.register(LogEntry)
class LogEntryAdmin(TableAdmin[LogEntry]):
    """What `note` and the admin itself have written down."""

    list_display = ("when", "user", "what", "message")
    list_select_related = ("user", "content_type")
    ordering = ("-pk",)
    fields = ("when", "user", "content_type", "what", "message")
    search_fields = ("object_repr__startswith",)
    search_help_text = _("The beginning of what it was done to: RUC 2010")

    @admin.display(description=_("time"))
    def when(self, row: LogEntry) -> SafeString | str:
        return display.age(row.action_time, timezone.now())

    @admin.display(description=_("what"))
    def what(self, row: LogEntry) -> SafeString | str:
        """With the way to the row that it was, or to the RUC."""
        number = row.object_repr.removeprefix(RUC_PREFIX)
        if row.content_type_id is None and number != row.object_repr:
            return linked(number, row.object_repr)
        url = row.get_admin_url()
        return format_html('<a href="{}">{}</a>', url, row.object_repr) if url else row.object_repr

    @admin.display(description=_("what was done"))
    def message(self, row: LogEntry) -> str:
        return row.get_change_message() or display.NOTHING
