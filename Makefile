# Needs make and Python >= 3.10, nothing else. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
# Where another torch build comes from: make demo TORCH_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=

BIN := $(VENV)/bin
# Errors only: pip's notices would bury the one line that says what happens.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check -qq install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check docs screens format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed ## the quickstart: one small sweep
	@$(BIN)/python experiments/quickstart.py

test: check ## all checks, then the tests that are not slow
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-all: check ## all checks, then all tests
	@$(BIN)/python -m pytest

check: $(VENV)/installed-dev ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# mkdocs-material greets with a notice about MkDocs' future; a warning of ours should stand alone.
docs: $(VENV)/installed-dev ## the pages and the API reference, as site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Built site/index.html"

screens: $(VENV)/installed-dev ## the pictures of docs/screens.md; needs chromium
	@$(BIN)/python -m docs.screens

format: $(VENV)/installed-dev ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and the caches; runs/ stays
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: they are older than their inputs exactly when something has to be installed again.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing torch and the project into $(VENV): 1 to 5 minutes, once ..."
	@$(INSTALL) torch setuptools $(TORCH_ARGS)
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the tools for tests and pages into $(VENV): under a minute, once ..."
	@$(INSTALL) --no-build-isolation -e ".[dev]"
	@touch $@

# A half-made environment would pass for a whole one in the next run: take it away.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed, but $(PYTHON) is: $$($(PYTHON) -V 2>&1); try make PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
