# Two commands are enough: `make run` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV := .venv-bootstrap/bin/uv
COLLECTION ?=
ARGS ?=

.PHONY: help setup run test chaos lint format up sandbox bench lock clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(UV):
	$(PYTHON) -m venv .venv-bootstrap
	.venv-bootstrap/bin/pip install --quiet --disable-pip-version-check uv

.venv/.complete: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python .venv --require-hashes requirements.lock
	$(UV) pip install --quiet --python .venv --no-deps -e .
	touch $@

setup: .venv/.complete ## Make the environment in .venv (does nothing when it is up to date).

run: setup ## The nightly job on this machine; COLLECTION=<folder> serves your own pictures.
	@$(BIN)/enrich run $(if $(COLLECTION),--collection "$(COLLECTION)") $(ARGS)

# Tests start many processes: compiled once, each of them starts seconds sooner.
.venv/.compiled: .venv/.complete
	-$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null
	touch $@

# Two at a time, then those that need the machine to themselves. 5: of those that were asked for none is of that sort.
test: .venv/.compiled ## Every test; ARGS="tests/unit -k shards" some of them.
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone" $(ARGS); two=$$?; \
	$(BIN)/python -m pytest -m alone $(ARGS); one=$$?; \
	[ $$two -ne 5 ] || two=$$one; [ $$one -ne 5 ] || one=$$two; \
	[ $$two -eq 0 ] && [ $$one -eq 0 ]

chaos: .venv/.compiled ## The long proof: fifty kills while statements are sent, and fifty while they are taken back.
	@CHAOS_KILLS=50 $(BIN)/python -m pytest tests/integration/test_publish_killed.py $(ARGS)

lint: setup ## Format check, ruff, mypy, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code and mend what ruff can mend.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: setup ## Airflow's UI, the sandbox and the web app on localhost, until Ctrl-C.
	@$(BIN)/enrich up $(if $(COLLECTION),--collection "$(COLLECTION)")

sandbox: setup ## The stand-in servers on localhost, with commands to try them, until Ctrl-C.
	@$(BIN)/enrich sandbox serve $(if $(COLLECTION),--collection "$(COLLECTION)") $(ARGS)

bench: .venv/.compiled ## Benchmarks into var/bench/*.json; BENCH=<name> runs one.
	@$(BIN)/python -m tests.benchmarks $(BENCH) $(ARGS)

lock: $(UV) ## Resolve the dependencies again into requirements.lock.
	$(UV) pip compile --quiet --universal --generate-hashes --all-extras --python-version 3.11 --no-header --no-annotate pyproject.toml -o requirements.lock

clean: ## Remove everything that was made: environment, data, caches.
	rm -rf .venv .venv-bootstrap var build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
