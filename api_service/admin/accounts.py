"""Users and groups of Django in the look of the other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
    _GroupAdmin = GroupAdmin
else:
    # unfold has no types
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    class _UserAdmin(UserAdmin, ModelAdmin):
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class _GroupAdmin(GroupAdmin, ModelAdmin): ...


admin.site.unregister([User, Group])


@admin.register(User)
class PersonAdmin(_UserAdmin):
    list_fullwidth = True
    # The two boxes of Django's widget have labels that a screen reader does not read
    filter_horizontal = ()


@admin.register(Group)
class RoleAdmin(_GroupAdmin):
    list_fullwidth = True
    filter_horizontal = ()
