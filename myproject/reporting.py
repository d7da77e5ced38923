"""What Django shows of settings and requests when an error page or report is made."""

from __future__ import annotations

from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from api_service.services.redaction import scrub


class RedactingReporterFilter(SafeExceptionReporterFilter):
    """Django hides by name (KEY, TOKEN, PASSWORD); a URL or DSN carries its secret under a harmless one."""

    def cleanse_setting(self, key: int | str, value: Any) -> Any:
        return scrub(super().cleanse_setting(key, value))
