"""The product's settings with a task that a test can hold, and a Beat that a test can break."""

import os

from myproject.settings import *  # noqa: F403

CELERY_IMPORTS = ("tests.acceptance.held_task",)
CELERY_BEAT_SCHEDULER = os.environ.get("TEST_BEAT_SCHEDULER", "django_celery_beat.schedulers:DatabaseScheduler")
