"""The Django project: settings, URLs and the Celery app. Nothing else lives here."""

from myproject.celery import app as celery_app

__all__ = ["celery_app"]
