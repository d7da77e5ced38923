"""The first account of the admin, with a password nobody chose."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model

USERNAME = "admin"


def create_first_admin() -> str | None:
    """The password, at the first run only: afterwards it is known to nobody but who read it."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists() or users.filter(username=USERNAME).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username=USERNAME, password=password)
    return password
