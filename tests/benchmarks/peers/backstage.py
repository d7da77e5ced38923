"""What a candidate has besides askers, on its own packages: what is done once before, and its worker.

python -m tests.benchmarks.peers.backstage prepare|worker CANDIDATE SETTING_AS_JSON
"""

import os
import sys
from pathlib import Path

from tests.benchmarks.peers.candidates import TABLE, opened

WORKER = ("-P", "threads", "-c", "4", "--loglevel", "info", "--without-mingle", "--without-gossip")


def main(what: str, name: str, setting_as_json: str) -> None:
    candidate, (module, setting) = TABLE[name], opened(name, setting_as_json)
    if what == "prepare":
        if hasattr(module, "prepare"):
            module.prepare(setting, candidate.options)
        return
    # Its log says when it is ready
    environment = module.environment(setting, candidate.options) if hasattr(module, "environment") else {}
    os.environ.update({**environment, "LOG_LEVEL": "INFO"})
    app, options = candidate.worker[:2], candidate.worker[2:]
    celery = str(Path(sys.executable).with_name("celery"))
    os.execv(celery, [celery, *app, "worker", *options, *WORKER])


if __name__ == "__main__":
    main(*sys.argv[1:])
