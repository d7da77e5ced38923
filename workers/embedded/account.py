"""The first account of the admin, with a password nobody chose."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password

USERNAME = "admin"


@dataclass(frozen=True)
class Password:
    text: str
    hashed: str


def draw_password() -> Password:
    """Half a second of computing, on purpose; it needs no database."""
    text = secrets.token_urlsafe(12)
    return Password(text, make_password(text))


def create_first_admin(draw: Callable[[], Password] = draw_password) -> str | None:
    """The password, at the first run only: afterwards it is known to nobody but who read it."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists() or users.filter(username=USERNAME).exists():
        return None
    password = draw()
    users.create(username=USERNAME, password=password.hashed, is_staff=True, is_superuser=True)
    return password.text
