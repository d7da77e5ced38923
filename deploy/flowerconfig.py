"""Flower's password comes from the project's settings, so FLOWER_BASIC_AUTH_FILE works too.

Flower alone reads only FLOWER_BASIC_AUTH and, without it, opens its pages to everybody.
"""

from django.conf import settings

basic_auth = settings.FLOWER_BASIC_AUTH.split(",")
# Of 100,000 by default, which is some hundred megabytes
max_tasks = 10_000
# A worker that was replaced leaves the list after ten minutes
purge_offline_workers = 600
