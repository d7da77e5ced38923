"""Django's settings of the candidate django-cacheback."""

import json
import os
from urllib.parse import urlsplit

from tests.benchmarks.peers.candidates import VARIABLE, Setting

SETTING = Setting(**json.loads(os.environ[VARIABLE]))
SECRET_KEY = "benchmark"
INSTALLED_APPS = ["cacheback"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": urlsplit(SETTING.memcached).netloc,
        "OPTIONS": {"no_delay": True, "ignore_exc": True, "use_pooling": True, "max_pool_size": 4},
    }
}
CACHEBACK_TASK_IGNORE_RESULT = True
CACHEBACK_VERIFY_CACHE_WRITE = False
