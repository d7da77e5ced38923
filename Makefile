# Needs make and Python 3.11 or newer; everything else goes into .venv.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run test lint bench scenarios screenshots actions peers lock openapi clean runtime dev python

CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in $(CANDIDATES); do $$name -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done)
LOCK := uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-index-url --no-header

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: runtime ## everything in one process, on embedded defaults (ARGS="--help" shows the options)
	@exec .venv/bin/python manage.py run_all $(ARGS)

test: dev ## lint and all tests; installs the servers they need where it may (ARGS="-k ruc" selects)
	@exec scripts/test $(ARGS)

lint: dev ## ruff and mypy
	@exec scripts/lint

bench: dev ## speed, as ratios measured in one run (ARGS="cache" or "reads --sizes 10000" selects)
	@exec .venv/bin/python -m tests.benchmarks $(ARGS)

scenarios: dev ## what goes wrong at night, done to real processes: which alert, when, how often (half an hour)
	@exec .venv/bin/python -m tests.scenarios $(ARGS)

screenshots: dev ## every page in two languages, two themes and two widths, into FOLDER (ARGS="--only incident --axe")
	@exec .venv/bin/python -m tests.screenshots "$(or $(FOLDER),var/screenshots)" $(ARGS)

actions: dev ## every action of the admin by clicks in Chromium, in both languages (ARGS="-k incident" selects)
	@exec .venv/bin/python -X dev -m pytest tests/acceptance/test_actions.py --both-languages $(ARGS)

peers: python ## the libraries that `make bench ARGS=peers` compares us with, into .venv-peers
	@"$(PYTHON)" scripts/install.py peers

lock: ## the lock files anew from pyproject.toml (needs uv)
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --group dev -o requirements-dev.lock
	$(LOCK) -c requirements.lock pyproject.toml --group peers -o requirements-peers.lock

openapi: dev ## docs/openapi.json anew from the code
	@exec .venv/bin/python manage.py export_openapi_schema --api api_service.api.application.api --indent 1 --output docs/openapi.json

clean: ## removes .venv, .venv-peers and caches; the database and secrets under var/ stay
	rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime: python
	@"$(PYTHON)" scripts/install.py runtime

dev: python
	@"$(PYTHON)" scripts/install.py dev

python:
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed and was not found: install it, or name it: make run PYTHON=/path/to/python3" >&2; exit 1; }
