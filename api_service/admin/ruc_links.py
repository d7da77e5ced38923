"""Links to the page of one RUC, from wherever one is named."""

from __future__ import annotations

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_service.admin import display
from api_service.services.ruc import is_eleven_digits


def ruc_url(ruc: str) -> str:
    return reverse("ruc:page", args=[ruc])


def linked(ruc: str, text: str = "") -> SafeString | str:
    """The RUC as a link to its page, or a text that stands for it; what is no RUC stays as it is."""
    if not is_eleven_digits(ruc):
        return text or ruc or display.NOTHING
    return format_html('<a href="{}">{}</a>', ruc_url(ruc), text or ruc)
