"""A worker that could only do harm does not start."""

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import Redis


def test_a_worker_with_a_cache_of_its_own_says_why_it_does_not_start(redis_server: Redis) -> None:
    celery = Path(sys.executable).parent / "celery"
    environment = {"CELERY_BROKER_URL": f"redis://{redis_server.address}/0", "CACHE_URL": "locmem://"}

    ended = subprocess.run(
        [str(celery), "-A", "myproject", "worker"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "worker not started: The cache is local memory" in ended.stderr
    assert "CACHE_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
