"""Logs: all of them to the standard error, without secrets, with the request that a line belongs to."""

from __future__ import annotations

from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "redacting": {
                "()": "api_service.services.redaction.RedactingFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s",
            }
        },
        "filters": {"request_id": {"()": "api_service.request_ids.AddRequestId"}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "redacting", "filters": ["request_id"]},
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
        },
    }
