"""Where a tile leads, and who may see what it sums up."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.db.models import Model
from django.urls import reverse

User = AbstractBaseUser | AnonymousUser


def list_of(model: type[Model], query: str = "") -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") + query


def page_of(model: type[Model], pk: int) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])


def may_see(user: User, model: type[Model]) -> bool:
    return isinstance(user, PermissionsMixin) and user.has_perm(
        f"{model._meta.app_label}.view_{model._meta.model_name}"
    )
