"""The groups of the roles, kept as `roles.py` says: after each `migrate`, whatever was changed meanwhile.

Other groups, and who is in which, are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission, User
from django.db import connections, router, transaction

from api_service.services.roles import RANKS, Role, permissions_of


def after_migrate(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """Once, after the last app: permissions of every app are there then.

    Django makes those of the last one in a receiver that may come after this one.
    """
    if sender is not _last_app() or not router.allow_migrate_model(using, Group) or not _has_tables(using):
        return
    create_permissions(sender, verbosity=0, using=using, apps=kwargs.get("apps", apps))
    repair(using)


def repair(using: str = "default") -> None:
    """Idempotent, and no write where nothing is wrong. A permission that is not there yet waits for the next time."""
    with transaction.atomic(using=using):
        groups = _groups(using)
        ids = _permission_ids(using)
        wanted = {groups[role]: {ids[name] for name in permissions_of(role) if name in ids} for role in RANKS}
        _write(wanted, using)


def give(user: User, role: Role) -> None:
    """That role and no other of the three; the user's other groups stay. The admin is for staff only."""
    others = [str(other) for other in RANKS if other is not role]
    with transaction.atomic():
        user.groups.remove(*user.groups.filter(name__in=others))
        user.groups.add(Group.objects.get(name=role))
        user.is_staff = True
        user.save(update_fields=["is_staff"])


def _last_app() -> AppConfig:
    """Django tells those only that have models."""
    return [config for config in apps.get_app_configs() if config.models_module is not None][-1]


def _has_tables(using: str) -> bool:
    """Not after `migrate auth zero`."""
    return Group._meta.db_table in connections[using].introspection.table_names()


def _groups(using: str) -> dict[Role, int]:
    rows = Group.objects.using(using)
    known = dict(rows.filter(name__in=RANKS).values_list("name", "pk"))
    missing = [Group(name=role) for role in RANKS if role not in known]
    if missing:
        # Another process may have made them meanwhile
        rows.bulk_create(missing, ignore_conflicts=True)
        known = dict(rows.filter(name__in=RANKS).values_list("name", "pk"))
    return {role: known[role] for role in RANKS}


def _permission_ids(using: str) -> dict[str, int]:
    labels = {name.partition(".")[0] for role in RANKS for name in permissions_of(role)}
    rows = Permission.objects.using(using).filter(content_type__app_label__in=labels)
    found = rows.values_list("content_type__app_label", "codename", "pk")
    return {f"{label}.{codename}": pk for label, codename, pk in found}


def _write(wanted: Mapping[int, Iterable[int]], using: str) -> None:
    """Only what differs."""
    links = Group.permissions.through.objects.using(using)
    there = set(links.filter(group__in=wanted).values_list("group_id", "permission_id"))
    right = {(group, permission) for group, permissions in wanted.items() for permission in permissions}
    for group in wanted:
        if extra := [permission for owner, permission in there - right if owner == group]:
            links.filter(group=group, permission__in=extra).delete()
    link = Group.permissions.through
    links.bulk_create(
        (link(group_id=group, permission_id=permission) for group, permission in sorted(right - there)),
        ignore_conflicts=True,
    )
