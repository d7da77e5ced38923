import re

import pytest

from tests.django_cache_suite.sdist import run_suite
from tests.django_cache_suite.skipped import SKIPPED
from tests.servers import Memcached


@pytest.mark.timeout(240)
def test_our_memcached_backend_passes_djangos_own_cache_tests(memcached: Memcached) -> None:
    done = run_suite(memcached.address)
    assert done.returncode == 0, done.stderr[-8000:]
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    assert ran is not None
    assert int(ran[1]) >= 55
    ours = set(re.findall(r"^(test_\w+) .*\.\.\. skipped", done.stderr, re.MULTILINE))
    assert set(SKIPPED) <= ours
    # Django skips these itself: they are about backends that evict
    assert {name for name in ours - set(SKIPPED) if "cull" not in name} == set()
