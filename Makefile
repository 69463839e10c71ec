# `make` alone explains the targets. Stamps under .venv/ make each do only the set-up that is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
MINUTES ?= 5
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-stamp
DEV_STAMP := $(VENV)/.dev-stamp
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CODE := hookline services shared tests bench protos

.PHONY: help run demo test soak bench bench-full check format protos schema lock wheel audit sbom clean

help: ## Explain the targets
	@echo "Hookline: the system of record for webhook events"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/' | expand -t 18
	@echo
	@echo "Each does its own set-up in $(VENV)/ from a bare machine with Python 3.11 or later."

run: $(RUN_STAMP) ## Bring up the whole suite, with its own PostgreSQL and Valkey, until Ctrl-C
	@exec $(BIN)/python -m services run --embedded

demo: $(RUN_STAMP) ## Ingest 10,000 sample events twice, export them, pull a shop, in a temporary directory
	@exec $(BIN)/python -m services demo

test: $(DEV_STAMP) ## Run the tests, against real servers on free ports
	@exec $(BIN)/python -m pytest -n 3

soak: $(DEV_STAMP) ## Kill processes under load for MINUTES=5, or by KILLS, SYNC_KILLS, PULL, BREAKS, CROWD, FUZZ=n; SEED=s repeats
	@exec $(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(KILLS),--kills $(KILLS)) \
	  $(if $(SYNC_KILLS),--sync-kills $(SYNC_KILLS)) $(if $(PULL),--pull $(PULL)) $(if $(BREAKS),--breaks $(BREAKS)) \
	  $(if $(CROWD),--crowd $(CROWD)) $(if $(FUZZ),--fuzz $(FUZZ)) $(if $(SEED),--seed $(SEED))

bench: $(DEV_STAMP) ## Measure against rivals in the same run; ONLY=id,id picks
	@exec $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

bench-full: $(DEV_STAMP) ## The same, also with ten million events: about an hour, 20 GB of disk
	@exec $(BIN)/python -m bench --full $(if $(ONLY),--only $(ONLY))

check: $(DEV_STAMP) ## Format, lint, types, protos, generated code, import rules
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cd protos && ../$(BIN)/buf lint
	$(BIN)/python protos/generate.py --check

format: $(DEV_STAMP) ## Format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

protos: $(DEV_STAMP) ## Generate the stubs in hookline/ from protos/
	$(BIN)/python protos/generate.py

schema: $(DEV_STAMP) ## Write shared/schema.sql, what the migrations come to
	$(BIN)/python -m tests.schema_dump

lock: $(DEV_STAMP) ## Write the hash-locked requirements anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra services --extra embedded --extra editable pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra services --extra embedded --extra editable --extra dev --constraint requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --extra services --constraint requirements.lock pyproject.toml -o requirements-image.lock
	echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  --constraint requirements.lock - -o deploy/requirements-build.lock

wheel: $(DEV_STAMP) ## Build the wheel of the client, the CLI and the stubs in dist/
	$(BIN)/python -m build --quiet --wheel --no-isolation

audit: $(DEV_STAMP) ## Ask whether the locked packages are known to be unsafe, where that data can be reached
	@$(BIN)/python -m tests.supply_chain audit

sbom: $(DEV_STAMP) ## Write what the image is made of to dist/, as CycloneDX
	@$(BIN)/python -m tests.supply_chain sbom

clean: ## Remove the virtual environment and what tools left behind; data stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Hookline needs Python 3.11 or later; PYTHON=… names another" if sys.version_info < (3, 11) else 0)'
	@# What is left of one that was not made whole would pass for one.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(VENV)/ can't be made; on Debian and Ubuntu that takes the package python3-venv" >&2; exit 1; }

$(RUN_STAMP): requirements.lock pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@ $(RUN_STAMP)
