"""The groups of the roles in the database: made by `migrate`, repaired by the next one, the others left alone."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api_service.services import role_groups
from api_service.services.roles import RANKS, RIGHTS, Role, permissions_of

pytestmark = pytest.mark.django_db

# What no role may, because nothing asks for it: rows that the machine keeps are changed by nobody
MACHINE_KEPT = {"add", "change", "delete"}
# And tables that no page shows
UNSEEN = {
    "contenttypes.contenttype",
    "sessions.session",
    "auth.permission",
    "django_celery_beat.periodictasks",
}


def names_of(group: Group) -> set[str]:
    rows = group.permissions.values_list("content_type__app_label", "codename")
    return {f"{label}.{codename}" for label, codename in rows}


def all_permissions() -> dict[str, Permission]:
    rows = Permission.objects.select_related("content_type")
    return {f"{row.content_type.app_label}.{row.codename}": row for row in rows}


@pytest.mark.parametrize("role", RANKS)
def test_migrate_has_made_the_group_with_all_that_the_table_says(role: Role) -> None:
    assert names_of(Group.objects.get(name=role)) == permissions_of(role)


def test_every_permission_of_the_table_exists() -> None:
    assert {right.permission for right in RIGHTS} - set(all_permissions()) == set()


def test_every_permission_is_somebodys_or_nothing_asks_for_it() -> None:
    """A new table, or a permission of its own, has a place in `roles.py` before it is on a page."""
    given = {right.permission for right in RIGHTS}
    forgotten = []
    for name, row in all_permissions().items():
        table = f"{row.content_type.app_label}.{row.content_type.model}"
        if name not in given and table not in UNSEEN and row.codename.partition("_")[0] not in MACHINE_KEPT:
            forgotten.append(name)
    assert forgotten == []
    assert {f"{model._meta.label_lower}" for model in apps.get_models()} >= UNSEEN


def test_the_next_migrate_repairs_what_was_changed_meanwhile() -> None:
    viewer, operator = Group.objects.get(name=Role.VIEWER), Group.objects.get(name=Role.OPERATOR)
    viewer.permissions.add(all_permissions()["api_service.add_apitoken"])
    viewer.permissions.remove(all_permissions()["api_service.view_incident"])
    operator.permissions.clear()
    Group.objects.get(name=Role.ADMINISTRATOR).delete()
    call_command("migrate", verbosity=0)
    for role in RANKS:
        assert names_of(Group.objects.get(name=role)) == permissions_of(role)


def test_other_groups_and_who_is_in_which_are_left_alone() -> None:
    own = Group.objects.create(name="accounting")
    own.permissions.add(all_permissions()["api_service.add_billingrun"])
    user = User.objects.create_user("mirona")
    user.groups.add(own, Group.objects.get(name=Role.VIEWER))
    role_groups.repair()
    assert names_of(own) == {"api_service.add_billingrun"}
    assert set(user.groups.values_list("name", flat=True)) == {"accounting", "viewer"}


def test_where_nothing_is_wrong_nothing_is_written() -> None:
    with CaptureQueriesContext(connection) as queries:
        role_groups.repair()
    written = [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "DELETE", "UPDATE"))]
    assert written == []
    assert len(queries) <= 6


def test_a_role_replaces_the_other_and_lets_into_the_admin() -> None:
    user = User.objects.create_user("mirona")
    for role in RANKS:
        role_groups.give(user, role)
        assert list(user.groups.values_list("name", flat=True)) == [role]
        assert User.objects.get(pk=user.pk).is_staff
