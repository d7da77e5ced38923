"""How the admin looks: settings of django-unfold."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

_static = lazy(static, str)

# Teal, in unfold's own steps. Contrast by the formula of WCAG: white on 600 5.4, 600 on the light grounds 4.9 at least,
# 500 on the dark ones 6.1 at least; white on 500 would be 2.4
PRIMARY = {
    "50": "oklch(98.4% .014 180.7)",
    "100": "oklch(95.3% .051 180.8)",
    "200": "oklch(91% .096 180.4)",
    "300": "oklch(85.5% .138 181.1)",
    "400": "oklch(77.7% .152 181.9)",
    "500": "oklch(70.4% .14 182.5)",
    "600": "oklch(51.1% .096 186.4)",
    "700": "oklch(43.7% .078 188.2)",
    "800": "oklch(38.6% .063 188.4)",
    "900": "oklch(32.5% .052 189)",
    "950": "oklch(27.7% .046 192.5)",
}


def unfold_config(environment: str) -> dict[str, Any]:
    """`environment` names the deployment beside the title of every page; empty shows nothing."""
    return {
        "SITE_TITLE": _("Cache operations"),
        "SITE_HEADER": _("Cache operations"),
        "SITE_SYMBOL": "database",
        "SITE_URL": None,
        "SHOW_LANGUAGES": True,
        "SHOW_VIEW_ON_SITE": False,
        "ENVIRONMENT": [environment, environment_tone(environment)] if environment else None,
        "STYLES": [_static("api_service/admin.css")],
        # Without one each browser asks for /favicon.ico, which is not there
        "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _static("api_service/favicon.svg")}],
        "COLORS": {"primary": PRIMARY},
    }


def environment_tone(environment: str) -> str:
    """Where a mistake costs money is red."""
    return "danger" if environment.lower().startswith("prod") else "info"
