"""The web server's settings, the same in a container and under systemd. `WEB_BIND` and `WEB_PROCESSES` change two."""

import os

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
