"""The login of the admin, which whoever guesses passwords has to wait for."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest
from django.utils.translation import ngettext

from api_service.services import login_limits

if TYPE_CHECKING:
    Base = AdminAuthenticationForm
else:
    # unfold has no types
    from unfold.forms import AuthenticationForm as Base

logger = logging.getLogger(__name__)


class LoginForm(Base):
    """`wait`: seconds that this attempt would have to wait; its password was not looked at then."""

    wait = 0.0

    def clean(self) -> dict[str, Any]:
        name, address = self.cleaned_data.get("username"), _address(self.request)
        if not name or not self.cleaned_data.get("password"):
            return super().clean()
        self.wait = login_limits.attempt(name, address)
        if self.wait:
            raise forms.ValidationError(_told(self.wait), code="too_many_attempts")
        try:
            data = super().clean()
        except forms.ValidationError:
            # Without the name: it may be a password that was typed one field too early
            logger.info("a login from %s failed", address)
            raise
        login_limits.succeeded(name, address)
        return data


def _address(request: HttpRequest | None) -> str:
    if request is None:
        return ""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return login_limits.address_of(request.META.get("REMOTE_ADDR", ""), forwarded, behind_proxy=settings.HTTPS_ONLY)


def _told(wait: float) -> str:
    minutes = math.ceil(wait / 60)
    text = ngettext(
        "Too many attempts: the password was not looked at. Try again in %(count)s minute.",
        "Too many attempts: the password was not looked at. Try again in %(count)s minutes.",
        minutes,
    )
    return text % {"count": minutes}
