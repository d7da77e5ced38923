"""Settings for Django's own tests: the caches they expect, on our backend."""

import os

SECRET_KEY = "only-for-tests"
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
# Django's tests/cache, from its source distribution on the path
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "cache"]
CACHES = {
    "default": {
        "BACKEND": "api_service.caches.memcached.MemcachedCache",
        "LOCATION": os.environ["MEMCACHED_ADDRESS"],
    },
}
