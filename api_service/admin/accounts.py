"""Users and groups of Django in the look of the other tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.contrib.admin.filters import RelatedFieldListFilter
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api_service.admin import display, words
from api_service.admin.row_names import NamedRows
from api_service.services.roles import RANKS

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
    _UserAdmin = UserAdmin[User]
    _GroupAdmin = GroupAdmin
else:
    _Base = object
    # unfold has no types
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    class _UserAdmin(UserAdmin, ModelAdmin):
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class _GroupAdmin(GroupAdmin, ModelAdmin): ...


admin.site.unregister([User, Group])

# What makes a superuser, or goes past the roles: for superusers
BEYOND_ROLES = {"is_superuser", "user_permissions"}


def _table_name(permission: Permission) -> str:
    model = permission.content_type.model_class()
    return capfirst(str(model._meta.verbose_name_plural)) if model else permission.content_type.model


def group_text(group: Group) -> str:
    return words.word(words.ROLES, group.name)


def permission_text(permission: Permission) -> str:
    """Django keeps names of its own, in English, in the table."""
    action = permission.codename.partition("_")[0]
    return f"{_table_name(permission)}: {words.ALLOWED.get(action, permission.name)}"


# What is chosen in a form, by its field
LABELS: Mapping[str, Callable[[Any], str]] = {
    "groups": group_text,
    "permissions": permission_text,
    "user_permissions": permission_text,
}


class Labelled(_Base):
    """Mix-in: what is chosen is named in the language of the page."""

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.label_from_instance = LABELS[db_field.name]
        return field


class ByRole(RelatedFieldListFilter):
    """The roles by their names in the reader's language."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        choices = super().field_choices(field, request, model_admin)
        return [(pk, words.word(words.ROLES, str(name))) for pk, name in choices]


@admin.register(User)
class PersonAdmin(Labelled, _UserAdmin):
    list_fullwidth = True
    # The two boxes of Django's widget have labels that a screen reader does not read
    filter_horizontal = ()
    list_display = ("username", "roles_text", "is_active", "last_login")
    list_filter = ("is_active", ("groups", ByRole))
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("username", "usable_password", "password1", "password2", "groups"),
            },
        ),
    )

    # -- who may

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Of whoever is in the audit log each entry would have to go: it is told by name, and what to do instead."""
        logged = LogEntry.objects.filter(user__in=[person.pk for person in objs])
        kept = User.objects.filter(pk__in=logged.values("user"))
        if not kept:
            return super().get_deleted_objects(objs, request)
        return [], {}, set(), [_why_kept(person) for person in kept]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """An administrator is none that makes superusers."""
        fieldsets = super().get_fieldsets(request, obj)
        if getattr(request.user, "is_superuser", False):
            return fieldsets
        return [
            (name, {**options, "fields": tuple(field for field in options["fields"] if field not in BEYOND_ROLES)})
            for name, options in fieldsets
        ]

    # -- roles

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """A role without the admin would be none."""
        super().save_related(request, form, formsets, change)
        person: User = form.instance
        if not person.is_staff and person.groups.filter(name__in=RANKS).exists():
            person.is_staff = True
            person.save(update_fields=["is_staff"])

    @admin.display(description=_("roles"))
    def roles_text(self, row: User) -> str:
        names = [str(_("Superuser"))] if row.is_superuser else []
        return ", ".join([*names, *map(group_text, row.groups.all())]) or display.NOTHING


@admin.register(Group)
class RoleAdmin(NamedRows, Labelled, _GroupAdmin):
    """Those of the roles are what the code says after each `migrate`: to change one here would not last."""

    list_fullwidth = True
    filter_horizontal = ()
    list_display = ("group_name",)

    def row_name(self, row: Group) -> str:
        return group_text(row)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_role(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_role(obj)

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """Of a role in words: its permissions by their names fill a page."""
        return ("group_name", "may_table") if _is_role(obj) else super().get_fields(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:  # noqa: ARG002 - Django's
        return ("group_name", "may_table") if _is_role(obj) else ()

    @admin.display(description=_("group"), ordering="name")
    def group_name(self, row: Group) -> str:
        return group_text(row)

    @admin.display(description=_("may"))
    def may_table(self, row: Group) -> SafeString | str:
        tables: dict[str, set[str]] = {}
        for permission in row.permissions.select_related("content_type"):
            tables.setdefault(_table_name(permission), set()).add(permission.codename.partition("_")[0])
        rows = [(name, _in_words(actions)) for name, actions in sorted(tables.items())]
        return display.table((_("table"), _("may")), rows)


def own_password(request: HttpRequest) -> HttpResponseBase:
    """unfold's page, for the URLs; neither it nor Django logs what it did."""
    return admin.site.admin_view(_own_password, cacheable=True)(request)


def _own_password(request: HttpRequest) -> HttpResponse:
    response = admin.site.password_change(request)
    if isinstance(response, HttpResponseRedirect):
        # As Django logs the password that an administrator gives to somebody
        person = cast(User, request.user)
        admin.site.get_model_admin(User).log_change(request, person, [{"changed": {"fields": ["password"]}}])
    return response


def _in_words(actions: set[str]) -> str:
    """To see comes first."""
    return ", ".join(str(text) for action, text in words.ALLOWED.items() if action in actions)


def _why_kept(person: User) -> SafeString:
    """Continues Django's sentence about what would have to be deleted, too."""
    url = reverse("admin:auth_user_change", args=[person.pk])
    link = format_html('<a href="{}">{}</a>', url, person.get_username())
    why = gettext(
        "what {person} did, in the audit log. Deactivate the account instead: nobody can log in with it any more."
    )
    return format_html(why, person=link)


def _is_role(group: Group | None) -> bool:
    return group is not None and group.name in words.ROLES


def _may_touch(request: HttpRequest, person: User | None) -> bool:
    """Whoever could set a superuser's password would be one."""
    return person is None or not person.is_superuser or bool(getattr(request.user, "is_superuser", False))
