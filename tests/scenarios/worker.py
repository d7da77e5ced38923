"""A Celery worker that kills itself with -9 at one step of an alert's way, once: `FAULT_POINT`, `FAULT_FLAG`.

    celery -A tests.scenarios.worker worker …

The step's function is replaced by one that dies before or after it; a file remembers that it has happened.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init, worker_ready

from myproject.celery import app
from tests.scenarios.points import POINTS

__all__ = ["app"]


def arm(*_args: object, **_kwargs: object) -> None:
    from importlib import import_module

    from django.conf import settings

    from workers.alerts import outbox

    # A period is a second here: runs closer together than half of one would be one sign
    settings.HEALTH_PERIOD = 1
    # What a killed sender had claimed is anybody's after this: two minutes would make the suite long
    outbox.LEASE = timedelta(seconds=3)
    if point := os.environ.get("FAULT_POINT"):
        path, name, when = POINTS[point]
        module = import_module(path)
        setattr(module, name, dying(getattr(module, name), when, Path(os.environ["FAULT_FLAG"])))


def dying(function: Callable[..., Any], when: str, flag: Path) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not flag.exists():
            return function(*args, **kwargs)
        result = function(*args, **kwargs) if when == "after" else None
        # Only the way of an alert that exists: an uneventful call is passed
        if when == "after" and not result:
            return result
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


worker_process_init.connect(arm, weak=False)
# A pool of threads has no processes of its own
worker_ready.connect(arm, weak=False)
