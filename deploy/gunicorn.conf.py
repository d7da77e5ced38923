"""The web server's settings, the same in a container and under systemd. `WEB_BIND` and `WEB_PROCESSES` change two."""

import gc
import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
# Threads wait for APIMIGO side by side; a second process keeps answering while one is restarted
worker_class = "gthread"
workers = int(os.environ.get("WEB_PROCESSES", "2"))
threads = 8
# A look-up gives up after MIGO_DEADLINE (25 s by default): longer than that, so that its answer still leaves
timeout = 60
graceful_timeout = 30
# The heartbeat file in memory: on a slow disk a worker would be taken for dead
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes a file of its own there
# A second way in that nobody uses, and a file in the home folder
control_socket_disable = True
# The proxy in front has the access log
accesslog = None
errorlog = "-"


def post_worker_init(_worker: Any) -> None:
    """What is loaded is never garbage: to search it through held up every request for a tenth of a second, at each
    ten thousandth one. Addresses come with all that answers them, which else the first request would wait for."""
    from django.conf import settings

    import_module(settings.ROOT_URLCONF)
    gc.collect()
    gc.freeze()


# --- /metrics: any process answers for all, by files that each of them counts in --------------------------------
# In the environment, as this file is read anew with each reload
MADE_HERE = "CACHE_WORKER_METRICS_FOLDER"


def on_starting(_server: Any) -> None:
    """Before the first process: what an earlier run counted is not this one's. On an upgrade it still is."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        made = tempfile.mkdtemp(prefix="cache-worker-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[MADE_HERE] = made
    elif "GUNICORN_PID" not in os.environ:
        for file in Path(folder).glob("*.db"):
            file.unlink()


def child_exit(_server: Any, worker: Any) -> None:
    """Its counts stay, or the sums would fall; gauges of the living go."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: Any) -> None:
    if made := os.environ.get(MADE_HERE):
        shutil.rmtree(made, ignore_errors=True)
