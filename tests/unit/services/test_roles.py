"""The table of the roles: each has what the one before it has, and each permission a reason."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from api_service.admin import words
from api_service.services.roles import RANKS, RIGHTS, Role, permissions_of


def test_each_role_may_what_the_one_before_it_may_and_more() -> None:
    for less, more in pairwise(RANKS):
        assert permissions_of(less) < permissions_of(more)
    assert set(RANKS) == set(Role)


def test_a_permission_is_given_once_with_a_reason() -> None:
    assert Counter(right.permission for right in RIGHTS).most_common(1)[0][1] == 1
    assert [right for right in RIGHTS if not right.reason] == []


def test_viewers_change_nothing() -> None:
    codenames = {name.partition(".")[2] for name in permissions_of(Role.VIEWER)}
    assert [name for name in codenames if not name.startswith("view_")] == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_administrators_see_tokens_and_accounts(role: Role) -> None:
    secret = {"api_service.view_apitoken", "auth.view_user", "auth.view_group"}
    assert permissions_of(role) & secret == set()
    assert permissions_of(Role.ADMINISTRATOR) >= secret


def test_every_kind_of_permission_has_a_word() -> None:
    kinds = {right.permission.partition(".")[2].partition("_")[0] for right in RIGHTS}
    assert kinds <= set(words.ALLOWED)
    assert set(words.ROLES) == set(Role)
