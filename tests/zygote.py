"""The process that processes of the project are forked from: `python -m tests.zygote DESCRIPTOR`.

It has imported the libraries, which is most of what a start costs, but nothing of the project: settings are read from
the environment of each child. Asked over a socket by `tests.project_process`; ends when that is closed.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any

# What the project imports, as far as neither settings nor the environment are read by it (prometheus_client does)
LIBRARIES = (
    "annotated_types",
    "celery.app.base",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.result",
    "cron_descriptor",
    "dj_database_url",
    "django.contrib.admin",
    "django.contrib.postgres.fields",
    "django.contrib.sessions.middleware",
    "django.core.management.commands.migrate",
    "django.core.serializers.json",
    "django.db.backends.sqlite3.base",
    "django.middleware.csrf",
    "django.template.loader_tags",
    "django.test.signals",
    "django.views.generic",
    "environs",
    "kombu.transport.redis",
    "limits.strategies",
    "openpyxl",
    "psycopg",
    "pydantic.fields",
    "pymemcache.client.hash",
    "redis.cluster",
    "requests",
    "sentry_sdk.integrations.celery",
    "sentry_sdk.integrations.django",
    "stamina",
    "stdnum.pe.ruc",
)
STANDARD_STREAMS = 3


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until the socket is closed (None); in a child: what it was asked for.

    A child is forked twice, so that the kernel gives it to the process that asked, which can wait for it.
    """
    while True:
        asked, streams, _flags, _address = socket.recv_fds(channel, 1 << 20, STANDARD_STREAMS)
        if not asked:
            return None
        if middle := os.fork():
            for stream in streams:
                os.close(stream)
            os.waitpid(middle, 0)
            channel.send(b"\n")
        elif child := os.fork():
            channel.send(str(child).encode())
            os._exit(0)
        else:
            channel.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            request: dict[str, Any] = json.loads(asked)
            return request


def become(argv: list[str], environment: dict[str, str], folder: str) -> None:
    """What `python` does with these arguments: `-c CODE …`, `-m MODULE …` or `FILE …`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    match argv:
        case ["-c", code, *_]:
            sys.argv = ["-c", *argv[2:]]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case ["-m", module, *_]:
            sys.argv = [module, *argv[2:]]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case _:
            sys.argv = argv
            runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    of_the_project = [name for name in sys.modules if name.partition(".")[0] in {"myproject", "api_service", "workers"}]
    if of_the_project:
        sys.exit(f"these would be shared by all children: {of_the_project}")
    gc.freeze()
    if (wanted := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(wanted["argv"], wanted["environment"], wanted["folder"])
