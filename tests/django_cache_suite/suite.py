"""Django's contract for a Memcached backend, held by ours; needs Django's own tests on the path (see sdist.py)."""

import unittest
from typing import Any

from cache.tests import BaseMemcachedTests, caches_setting_for_tests, memcached_excluded_caches
from django.conf import settings
from django.test import TestCase, override_settings

from tests.django_cache_suite.skipped import SKIPPED

_PARAMS: dict[str, Any] = settings.CACHES["default"]


@override_settings(CACHES=caches_setting_for_tests(base=_PARAMS, exclude=memcached_excluded_caches))
class MemcachedCacheTests(BaseMemcachedTests, TestCase):
    base_params = _PARAMS
    should_disconnect_on_close = False


for _name, _reason in SKIPPED.items():
    setattr(MemcachedCacheTests, _name, unittest.skip(_reason)(getattr(BaseMemcachedTests, _name)))
