PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .legacy_sync/bench-venv
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet)

.PHONY: help setup check audit test demo up bench latency chaos clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with everything (PYTHON=python3.12 picks an interpreter)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo '"$(PYTHON)" is not Python 3.11, 3.12 or 3.13: install one and run `make setup PYTHON=python3.12`'; exit 1; }
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV) # one that was never finished starts over
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

check: $(STAMP) ## lint, format, types, dependencies and what is known against them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict legacy_sync
	$(BIN)/python -m pip check
	@$(MAKE) --no-print-directory audit

audit: $(STAMP) ## ask osv.dev for known vulnerabilities in the pinned dependencies; without the network says so
	$(BIN)/python -m legacy_sync_tests.audit

test: $(STAMP) ## all tests (ARGS="-k name" picks some)
	$(BIN)/python -m pytest -n 2 --maxschedchunk=8 $(ARGS)

demo: $(STAMP) ## the journey from an empty database to a synchronised ERP, then exit
	$(BIN)/legacy-sync demo

up: $(STAMP) ## the demo servers and Dagster's UI until Ctrl-C
	$(BIN)/legacy-sync up

bench: $(STAMP) $(if $(SLICE),,$(PEERS)/.installed) ## rows per second, against other tools (SLICE=ci for a short one)
	$(BIN)/python -m legacy_sync_tests.bench $(if $(SLICE),--slice $(SLICE)) $(ARGS)

$(PEERS)/.installed: constraints.txt # apart from .venv, which stays as production has it
	@test -e $@ || $(PYTHON) -m venv --clear $(PEERS)
	$(subst $(BIN),$(PEERS)/bin,$(INSTALL)) -c constraints.txt 'dlt[postgres]' orjson pyarrow
	@touch $@

latency: $(STAMP) ## how long until a change in 4D is in the ERP, with the sensor as it comes (ARGS="--changes 50")
	$(BIN)/python -m legacy_sync_tests.bench.latency $(ARGS)

chaos: $(STAMP) ## kill runs, PostgreSQL, its sessions and 4D at random moments while people work (ROUNDS=100 SEED=1)
	CHAOS_ROUNDS=$(or $(ROUNDS),100) CHAOS_SEED=$(or $(SEED),20261128) $(BIN)/python -m pytest -s \
		legacy_sync_tests/journeys/test_chaos.py legacy_sync_tests/journeys/test_kill.py --timeout=7200

clean: ## stop the demo database and delete what setup, demo and tests made
	@test ! -d .legacy_sync/postgres || test ! -x $(BIN)/python || $(BIN)/python -c 'from pathlib import Path; \
		from legacy_sync.demo.postgres import EmbeddedPostgres; EmbeddedPostgres(Path(".legacy_sync/postgres")).stop()'
	@test ! -e .legacy_sync/postgres/data/postmaster.pid || { echo 'the demo is running: end it first'; exit 1; }
	rm -rf $(VENV) .legacy_sync .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
