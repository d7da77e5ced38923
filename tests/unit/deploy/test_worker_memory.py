import gc
from collections.abc import Iterator

import pytest
from celery.signals import worker_init

from myproject.celery import leave_what_is_loaded_alone


@pytest.fixture(autouse=True)
def _collected_as_usual_afterwards() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_worker_that_starts_searches_what_it_has_loaded_for_garbage_no_more() -> None:
    connected = [receiver() for _key, receiver in worker_init.receivers]
    assert leave_what_is_loaded_alone in connected
    leave_what_is_loaded_alone()
    assert gc.get_freeze_count() > 10_000
